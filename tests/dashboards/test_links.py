"""Where a click leads: to our dashboards with the time range and the filters that both have, and to CVAT itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from cvat_analytics.dashboards import Dashboard, load

DASHBOARDS = {dashboard.uid: dashboard for dashboard in load()}
VALUE = r'\$\{__(?:value\.raw|data\.fields\["(?P<column>\w+)"\])(?::percentencode)?\}'


def _links(dashboard: Dashboard) -> Iterator[tuple[Any, str, dict[str, str]]]:
    """Yield panel, column and link."""
    for panel in dashboard.panels:
        for override in panel.model["fieldConfig"]["overrides"]:
            for each in override["properties"]:
                if each["id"] == "links":
                    for link in each["value"]:
                        yield panel, override["matcher"]["options"], link


LINKS = [
    (dashboard, panel, column, link)
    for dashboard in DASHBOARDS.values()
    for panel, column, link in _links(dashboard)
]
TO_DASHBOARDS = [link for link in LINKS if link[3]["url"].startswith("/d/")]
TO_CVAT = [link for link in LINKS if link not in TO_DASHBOARDS]


def each_of(links: list[tuple[Dashboard, Any, str, dict[str, str]]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("dashboard", "panel", "column", "link"),
        links,
        ids=[f"{panel.title}-{column}-{link['title']}" for _, panel, column, link in links],
    )


@each_of(LINKS)
def test_a_link_uses_columns_that_the_panel_has(
    dashboard: Dashboard, panel: Any, column: str, link: dict[str, str]
) -> None:
    (query,) = panel.queries
    for name in [column, *re.findall(r'__data\.fields\["(\w+)"\]', link["url"])]:
        assert re.search(rf"\b{name}\b", query.sql), name


@each_of(TO_DASHBOARDS)
def test_a_link_to_a_dashboard_keeps_time_range_and_filters(
    dashboard: Dashboard, panel: Any, column: str, link: dict[str, str]
) -> None:
    match = re.fullmatch(r"/d/([\w-]+)/([\w-]+)\?\$\{__url_time_range\}&(.+)", link["url"])
    assert match, link["url"]
    target = DASHBOARDS[match[1]]
    assert match[2] == target.file.stem
    fixed, kept = set(), set()
    for part in match[3].split("&"):
        if keeps := re.fullmatch(r"\$\{(\w+):queryparam\}", part):
            kept.add(keeps[1])
        else:
            sets = re.fullmatch(rf"var-(?P<name>\w+)={VALUE}", part)
            assert sets, part
            fixed.add(sets["name"])
    assert fixed
    assert fixed <= target.variables.keys()
    shared = {
        name
        for name, variable in dashboard.variables.items()
        if variable.query and name in target.variables and name != "errors"
    }
    assert kept == shared - fixed


@each_of(TO_CVAT)
def test_a_link_to_cvat_is_one_of_its_pages(
    dashboard: Dashboard, panel: Any, column: str, link: dict[str, str]
) -> None:
    id_ = r'\$\{__(value\.raw|data\.fields\["(project|task|job)_id"\])\}'
    assert re.fullmatch(rf"\$\{{cvat_url\}}(projects/{id_}|tasks/{id_}(/jobs/{id_})?)", link["url"])


@pytest.mark.parametrize(
    ("title", "panel", "column", "target"),
    [
        ("All events", "All events", "user_id", "/d/w0if6WAVz/management"),
        ("All events", "All events", "request_id", "/d/EIGSTDAVz/all-events"),
        (
            "All events",
            "All events",
            "payload",
            '/d/EIGSTDAVz/all-events?${__url_time_range}&var-event=${__data.fields["event"]}',
        ),
        (
            "Monitoring",
            "Exceptions table",
            "payload",
            '/d/EIGSTDAVz/all-events?${__url_time_range}&var-event=${__data.fields["event"]}',
        ),
        ("Management", "Working time", "user_name", "/d/EIGSTDAVz/all-events"),
        ("Management", "Working time", "job_id", "/d/EIGSTDAVz/all-events"),
        ("Management", "Working time", "job_id", "${cvat_url}tasks/"),
        ("Management", "Working time", "task_id", "${cvat_url}tasks/"),
        ("Monitoring", "Exceptions table", "request_id", "/d/EIGSTDAVz/all-events"),
        ("Monitoring", "Exceptions table", "user_name", "/d/w0if6WAVz/management"),
        ("Monitoring", "Number of events", "scope", "/d/EIGSTDAVz/all-events"),
    ],
)
def test_where_people_want_to_go(
    dashboards: dict[str, Dashboard], title: str, panel: str, column: str, target: str
) -> None:
    urls = [
        link["url"]
        for found, name, link in _links(dashboards[title])
        if (found.title, name) == (panel, column)
    ]
    assert [url for url in urls if url.startswith(target)] != []
