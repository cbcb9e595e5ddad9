"""The viewer over HTTP: what its pages ask for, what they may load, and the endpoints that answer as Grafana's."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from grafana_client import GrafanaApi
from grafana_client.client import GrafanaUnauthorizedError

from cvat_analytics.dashboards import load
from cvat_analytics.embedded.viewer import config, pages
from cvat_analytics.embedded.viewer.app import Viewer as Application
from cvat_analytics.embedded.viewer.clickhouse import ClickHouse
from tests.dashboards.events import MESSAGES, RANGE, SCOPES, USERS
from tests.embedded.viewer.conftest import Viewer, get

TIMES = {"from": round(RANGE.start.timestamp() * 1000), "to": round(RANGE.end.timestamp() * 1000)}
DASHBOARDS = load()
every_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.file.stem)


def data(viewer: Viewer, path: str, **parameters: Any) -> Any:
    """Return what a page asks for, over the events' time range."""
    query = urlencode(TIMES | parameters, doseq=True)
    answer = get(f"{viewer.url}/analytics/data/{path}?{query}")
    assert answer.status == 200, answer.text
    return json.loads(answer.text)


def rows(viewer: Viewer, uid: str, title: str, **filters: Any) -> list[dict[str, Any]]:
    """Return the rows of a panel's first query, by column name."""
    (panel,) = [
        each for board in DASHBOARDS if board.uid == uid for each in board.panels if each.title == title
    ]
    variables = {f"var-{name}": value for name, value in filters.items()}
    frame = data(viewer, f"{uid}/panels/{panel.id}", **variables)["frames"][0]
    return [dict(zip(frame["names"], row, strict=True)) for row in frame["rows"]]


@contextmanager
def api(viewer: Viewer, login: tuple[str, str] | None) -> Iterator[GrafanaApi]:
    """Return grafana-client's view of the viewer."""
    grafana = GrafanaApi(
        auth=login, host="127.0.0.1", port=viewer.context.settings.grafana_port, url_path_prefix="analytics/"
    )
    try:
        yield grafana
    finally:
        grafana.client.s.close()


# Pages and what they ask for


@every_dashboard
def test_every_panel_and_filter_is_answered(viewer: Viewer, dashboard: Any) -> None:
    # as rendered: without an address of CVAT the links to it are left out
    (dashboard,) = [each for each in load(Path(viewer.context.paths.dashboards)) if each.uid == dashboard.uid]
    for each in dashboard.panels:
        answer = data(viewer, f"{dashboard.uid}/panels/{each.id}")
        assert len(answer["frames"]) == len(each.queries)
        assert answer["interval"] >= 1000
    for variable in dashboard.variables.values():
        options = data(viewer, f"{dashboard.uid}/variables/{variable.name}")
        assert all(set(option) == {"value", "text"} for option in options)
    annotations = data(viewer, f"{dashboard.uid}/annotations")
    assert [each["index"] for each in annotations] == list(range(len(annotations)))


def test_a_page_is_a_frame_for_one_dashboard(viewer: Viewer) -> None:
    for path in ("", "/analytics", "/analytics/", "/analytics/d/EIGSTDAVz/all-events?from=now-1h"):
        answer = get(viewer.url + path)
        assert answer.status == 200
        assert 'data-uid="EIGSTDAVz"' in answer.text
        assert "Viewer of the embedded stack, not Grafana" in answer.text
    for rendered in load(Path(viewer.context.paths.dashboards)):
        assert data(viewer, rendered.uid)["dashboard"] == rendered.model


def test_list_of_dashboards(viewer: Viewer) -> None:
    text = get(f"{viewer.url}/analytics/dashboards").text
    for dashboard in DASHBOARDS:
        assert (
            f'<a href="/analytics/d/{dashboard.uid}/{dashboard.file.stem}"><strong>{dashboard.title}</strong>'
            in text
        )


def test_a_filter_narrows_a_panel(viewer: Viewer) -> None:
    counts = rows(viewer, "WvDvWK04k", "Number of events", scopes=[SCOPES[-1]], users=["2", "4"])
    assert len(counts) == 1
    assert SCOPES[-1] in counts[0].values()
    everything = rows(viewer, "WvDvWK04k", "Number of events", scopes=["$__all"], users="$__all")
    assert everything == rows(viewer, "WvDvWK04k", "Number of events")
    assert len(everything) > 5


def test_filters_depend_on_each_other(viewer: Viewer) -> None:
    def jobs(**filters: str) -> list[str]:
        return [option["value"] for option in data(viewer, "w0if6WAVz/variables/jobs", **filters)]

    assert jobs(**{"var-tasks": "2"}) == ["4", "3"]
    assert len(jobs()) == 8


@pytest.mark.parametrize(
    "value", [*SCOPES, *MESSAGES[:4], *filter(None, USERS.values()), "\\", "'", "$__all$", "${users}", "%27"]
)
def test_any_filter_value_is_answered(viewer: Viewer, value: str) -> None:
    for title in ("Number of events", "Exceptions"):
        rows(viewer, "WvDvWK04k", title, scopes=value, users=value, errors=[value, "b"], jobs=value)


def test_times_are_milliseconds_and_numbers_are_numbers(viewer: Viewer) -> None:
    first = rows(viewer, "EIGSTDAVz", "All events")[0]
    assert TIMES["from"] <= first["timestamp"] <= TIMES["to"]
    assert {type(each) for row in rows(viewer, "EIGSTDAVz", "All events") for each in row.values()} <= {
        *(int, float, str, type(None)),
    }


@pytest.mark.parametrize(
    ("path", "query", "message"),
    [
        (
            "EIGSTDAVz/panels/1",
            "from=yesterday",
            "time 'yesterday': write now, now-7d or milliseconds since 1970",
        ),
        (
            "EIGSTDAVz/panels/1",
            "from=now-1h&to=now-2h",
            "time range from now-1h to now-2h: it ends before it starts",
        ),
        ("EIGSTDAVz/annotations", "from=now-999999y", "time 'now-999999y': write now"),
        ("EIGSTDAVz/variables/users", "to=999999999999999", "time '999999999999999': write now"),
        ("EIGSTDAVz/panels/99", "", "dashboard 'All events' has no panel 99"),
        ("EIGSTDAVz/variables/nobody", "", "dashboard 'All events' has no variable 'nobody'"),
        ("nobody/panels/1", "", "there is no dashboard with the uid 'nobody'"),
    ],
)
def test_a_question_that_makes_no_sense_is_explained(
    viewer: Viewer, path: str, query: str, message: str
) -> None:
    answer = get(f"{viewer.url}/analytics/data/{path}?{query}")
    assert (answer.status, message in json.loads(answer.text)["message"]) == (400, True), answer.text


def test_unknown_dashboard(viewer: Viewer) -> None:
    answer = get(f"{viewer.url}/analytics/d/nobody/x")
    assert (answer.status, "There is no such dashboard." in answer.text) == (404, True)


def test_pages_allow_nothing_but_the_viewers_own_files(viewer: Viewer) -> None:
    answer = get(f"{viewer.url}/analytics/d/EIGSTDAVz/x")
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'")
    assert re.findall("unsafe|https?:|\\*", policy) == []
    files = re.findall(r'(?:src|href)="(/analytics/public/[^"]+)"', answer.text)
    assert len(files) == 7
    for file in files:
        assert (get(viewer.url + file).status, file) == (200, file)
    assert re.findall(r"<script>|<style|style=|\bon\w+=", answer.text) == []


def test_every_script_says_what_it_is_for() -> None:
    files = sorted((Path(pages.__file__).parent / "static").rglob("*.*s"))
    assert len(files) > 10
    for file in files:
        first, lines = file.read_text().split("\n", 1)[0], file.read_text().count("\n")
        assert (file.name, first[:3]) in ((file.name, "// "), (file.name, "/* "))
        assert (file.name, lines < 400) == (file.name, True)


def test_without_the_chart_library_pages_say_so(
    viewer: Viewer, ini: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "CHARTS", Path("/nowhere/echarts.min.js"))
    settings = config.read(ini)
    application = Application(settings, ClickHouse(settings.datasource, 1), open_pages=True).application()

    async def answers() -> tuple[str, int]:
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            page = await client.get("/d/EIGSTDAVz/x")
            return page.text, (await client.get("/public/echarts.js")).status_code

    text, status = asyncio.run(answers())
    assert "The chart library is not installed here, so charts are shown as tables." in text
    assert "echarts.js" not in text
    assert status == 404


def test_a_page_of_another_site_has_nothing_asked(viewer: Viewer) -> None:
    """A browser says so, on this machine without TLS, too. A link to a dashboard is nothing but a link."""
    panel = f"/data/{DASHBOARDS[0].uid}/panels/{DASHBOARDS[0].panels[0].id}?from=now-1h&to=now"
    query = {"from": "0", "to": "1", "queries": []}
    for site, status in (("cross-site", 403), ("same-origin", 200), ("same-site", 200), ("none", 200)):
        with httpx.Client(base_url=viewer.url, headers={"Sec-Fetch-Site": site}, trust_env=False) as browser:
            assert browser.get(panel).status_code == status
            assert browser.get("/analytics" + panel).status_code == status
            assert browser.get(f"/d/{DASHBOARDS[0].uid}").status_code == 200
            answer = browser.post("/api/ds/query", json=query, auth=viewer.login)
            assert answer.status_code == (403 if status == 403 else 404)


# Grafana's endpoints


def test_health_needs_no_login(viewer: Viewer) -> None:
    for prefix in ("", "/analytics"):
        answer = get(f"{viewer.url}{prefix}/api/health")
        assert (answer.status, '"version":"13.2.0-viewer"' in answer.text) == (200, True)


def test_dashboards(viewer: Viewer) -> None:
    with api(viewer, viewer.login) as grafana:
        dashboards = grafana.search.search_dashboards(type_="dash-db")
    assert [(each["uid"], each["title"]) for each in dashboards] == [
        (each.uid, each.title) for each in DASHBOARDS
    ]


@pytest.mark.parametrize("login", [None, ("admin", "admin"), ("root", "")], ids=str)
def test_endpoints_need_the_right_login(viewer: Viewer, login: tuple[str, str] | None) -> None:
    with api(viewer, login) as grafana:
        calls: list[Callable[[], object]] = [
            lambda: grafana.client.POST("/ds/query", json={}),
            lambda: grafana.search.search_dashboards(type_="dash-db"),
        ]
        for call in calls:
            with pytest.raises(GrafanaUnauthorizedError):
                call()


def test_a_dashboard_file_that_is_broken_is_named(viewer: Viewer) -> None:
    broken = Path(viewer.context.paths.dashboards, "broken.json")
    broken.write_text("{")
    try:
        answer = get(f"{viewer.url}/analytics/dashboards")
        assert (answer.status, "broken.json: is not a dashboard" in answer.text) == (500, True)
    finally:
        broken.unlink()
