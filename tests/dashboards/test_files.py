"""What must be true of every dashboard file, and that no element of CVAT's own dashboards is missing."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from cvat_analytics.dashboards import DATASOURCE_TYPE, DATASOURCE_UID, Dashboard, load, tidy
from cvat_analytics.settings import Settings

DASHBOARDS = load()
DATASOURCE = {"type": DATASOURCE_TYPE, "uid": DATASOURCE_UID}
every_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.file.stem)

ALL_EVENTS_FILTERS = ["Scope", "Source", "User", "Project", "Task", "Job", "Organization"]


def _options(panel: Any, name: str) -> dict[str, Any]:
    """Return the overrides of one column."""
    overrides = panel.model["fieldConfig"]["overrides"]
    return {
        p["id"]: p["value"]
        for each in overrides
        if each["matcher"]["options"] == name
        for p in each["properties"]
    }


def test_uids_and_titles_are_those_of_bookmarks() -> None:
    assert {dashboard.uid: dashboard.title for dashboard in DASHBOARDS} == {
        "EIGSTDAVz": "All events",
        "w0if6WAVz": "Management",
        "WvDvWK04k": "Monitoring",
    }


@pytest.mark.parametrize(
    ("title", "elements"),
    [
        (
            "All events",
            [
                ("timeseries", "Overall activity"),
                ("table", "All events"),
                ("barchart", "Browsers"),
                ("barchart", "Operating systems"),
            ],
        ),
        (
            "Management",
            [("timeseries", "User activity"), ("timeseries", "Overall activity"), ("table", "Working time")],
        ),
        (
            "Monitoring",
            [
                ("stat", "Active users (now)"),
                ("timeseries", "Active users"),
                ("table", "Duration of events"),
                ("table", "Number of events"),
                ("timeseries", "Exceptions"),
                ("table", "Exceptions table"),
            ],
        ),
    ],
)
def test_every_panel_of_cvat_is_there_from_top_to_bottom(
    dashboards: dict[str, Dashboard], title: str, elements: list[tuple[str, str]]
) -> None:
    panels = sorted(
        dashboards[title].panels, key=lambda panel: (panel.model["gridPos"]["y"], panel.model["gridPos"]["x"])
    )
    assert [(panel.type, panel.title) for panel in panels] == elements


@pytest.mark.parametrize(
    ("title", "labels"),
    [
        ("All events", ALL_EVENTS_FILTERS),
        ("Management", ["User", "Project", "Task", "Job"]),
        ("Monitoring", [*ALL_EVENTS_FILTERS, "Error message"]),
    ],
)
def test_every_filter_of_cvat_is_there(
    dashboards: dict[str, Dashboard], title: str, labels: list[str]
) -> None:
    variables = dashboards[title].variables.values()
    assert [variable.label for variable in variables] == labels
    assert [v.label for v in variables if not (v.multi and v.include_all and v.query and v.description)] == []


@pytest.mark.parametrize("title", ["All events", "Management", "Monitoring"])
def test_a_filter_offers_what_the_filters_before_it_leave(
    dashboards: dict[str, Dashboard], title: str
) -> None:
    variables = dashboards[title].variables
    for name, earlier in {"tasks": ["users", "projects"], "jobs": ["users", "projects", "tasks"]}.items():
        query = variables[name].query
        assert query is not None
        assert [each for each in earlier if f", ${each})" not in query.sql] == []


@every_dashboard
def test_file_is_tidy(dashboard: Dashboard) -> None:
    assert dashboard.file.read_text() == tidy(json.loads(dashboard.file.read_text()))


@every_dashboard
def test_file_carries_nothing_of_an_instance(dashboard: Dashboard) -> None:
    assert {"id", "version", "iteration", "gnetId"} & dashboard.model.keys() == set()
    assert [
        variable["name"] for variable in dashboard.model["templating"]["list"] if "options" in variable
    ] == []


@every_dashboard
def test_time_range_links_and_tags(dashboard: Dashboard) -> None:
    assert dashboard.model["time"] == {"from": "now-7d", "to": "now"}
    assert dashboard.model["tags"] == ["cvat"]
    (link,) = dashboard.model["links"]
    assert (link["type"], link["tags"], link["keepTime"], link["includeVars"]) == (
        "dashboards",
        ["cvat"],
        True,
        True,
    )


@every_dashboard
def test_panels_have_an_id_of_their_own_a_description_and_do_not_overlap(dashboard: Dashboard) -> None:
    assert len({panel.id for panel in dashboard.panels}) == len(dashboard.panels)
    assert [panel.title for panel in dashboard.panels if len(panel.description) < 40] == []
    cells = [
        (x, y)
        for panel in dashboard.panels
        for grid in [panel.model["gridPos"]]
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) == 23


@every_dashboard
def test_every_query_reads_our_datasource_with_the_pinned_plugin(dashboard: Dashboard) -> None:
    pinned = Settings().grafana_plugin_version
    for panel in dashboard.panels:
        assert panel.model["datasource"] == DATASOURCE
        (target,) = panel.model["targets"]
        expected = {
            "datasource": DATASOURCE,
            "editorType": "sql",
            "pluginVersion": pinned,
            "format": panel.type != "timeseries",
        }
        assert {key: target[key] for key in expected} == expected
    assert [v["name"] for v in dashboard.model["templating"]["list"] if v["datasource"] != DATASOURCE] == []


@every_dashboard
def test_no_query_names_a_database_or_quotes_a_value_unsafely(dashboard: Dashboard) -> None:
    for query in dashboard.queries:
        tables = re.findall(r"(?<!FILL )\b(?:FROM|JOIN)\s+([\w.`\"]+)", query.sql)
        assert set(tables) <= {"events", "user_names", "working_time"}, query.where
        assert "FINAL" not in query.sql, f"{query.where}: the reader's profile does that"
        # a variable stands in SQL only percent-encoded, or as what $__conditionalAll looks at
        uses = re.findall(r"\$(?:\{\w+(?::[^}]*)?\}|(?!__)\w+\)?)", query.sql)
        assert [
            use for use in uses if not (use.endswith(":customqueryparam:v}") or use.endswith(")"))
        ] == [], query.where


@every_dashboard
def test_every_panel_obeys_the_time_range_and_every_filter(dashboard: Dashboard) -> None:
    events_only = {"scopes"} if dashboard.title != "Management" else set()
    for panel in dashboard.panels:
        (query,) = panel.queries
        missing = {name for name in dashboard.variables if f", ${name})" not in query.sql}
        if "scope = '" in query.sql:
            missing -= events_only
        if not panel.title.startswith("Exceptions"):
            missing -= {"errors"}
        assert (panel.title, missing) == (panel.title, set())
        assert re.search(r"\$__(timeFilter_ms\(timestamp|dateFilter\(day)\)", query.sql), panel.title


@every_dashboard
def test_tables_can_be_filtered_and_inspected_and_have_pages(dashboard: Dashboard) -> None:
    for panel in dashboard.panels:
        if panel.type == "table":
            assert panel.model["fieldConfig"]["defaults"]["custom"] == {"filterable": True, "inspect": True}
            assert panel.model["options"]["enablePagination"] is True


def test_footers_total_what_can_be_added_up(dashboards: dict[str, Dashboard]) -> None:
    totals = {
        (panel.title, override["matcher"]["options"])
        for dashboard in dashboards.values()
        for panel in dashboard.panels
        for override in panel.model["fieldConfig"]["overrides"]
        if {"id": "custom.footer.reducers", "value": ["sum"]} in override["properties"]
    }
    assert totals == {
        ("Working time", "Working time (h)"),
        ("Working time", "Reported (h)"),
        ("Working time", "Activity"),
        ("Number of events", "Count"),
    }


def test_units(dashboards: dict[str, Dashboard]) -> None:
    panels = {panel.title: panel for dashboard in dashboards.values() for panel in dashboard.panels}
    assert panels["Duration of events"].model["fieldConfig"]["defaults"]["unit"] == "ms"
    assert _options(panels["All events"], "duration")["unit"] == "ms"
    for title in ("All events", "Exceptions table"):
        assert _options(panels[title], "timestamp")["unit"] == "time:YYYY-MM-DD HH:mm:ss.SSS"


@every_dashboard
def test_links_lead_to_our_dashboards_with_their_variables_and_the_time(dashboard: Dashboard) -> None:
    by_uid = {each.uid: each for each in DASHBOARDS}
    links = [
        link["url"]
        for panel in dashboard.panels
        for override in panel.model["fieldConfig"]["overrides"]
        for each in override["properties"]
        if each["id"] == "links"
        for link in each["value"]
    ]
    assert links
    for url in links:
        match = re.fullmatch(
            r"/d/(\w+)/([\w-]+)\?\$\{__url_time_range\}&var-(\w+)=\$\{__(value\.raw|data\.fields\[\"User ID\"\])\}",
            url,
        )
        assert match, url
        assert match[2] == by_uid[match[1]].file.stem
        assert match[3] in by_uid[match[1]].variables
