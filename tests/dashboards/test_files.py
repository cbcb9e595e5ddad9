"""What must be true of every dashboard file beside the rules of lint, and that no element of CVAT's own dashboards is missing."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from cvat_analytics.config.settings import Settings
from cvat_analytics.dashboards import Dashboard, load, tidy

DASHBOARDS = load()
every_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.file.stem)

ALL_EVENTS_FILTERS = ["Scope", "Source", "User", "Project", "Task", "Job", "Organization"]


def options(panel: Any, name: str) -> dict[str, Any]:
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
        "cvat-pipeline": "Pipeline",
    }


# what CVAT's own dashboards have, and what this project adds
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
            [
                ("timeseries", "User activity"),
                ("timeseries", "Overall activity"),
                ("table", "Working time"),
                ("status-history", "Working hours by day (${time_zone})"),
                ("timeseries", "Jobs completed (${time_zone})"),
            ],
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
        (
            "Pipeline",
            [
                ("stat", "Newest event"),
                ("stat", "Vector's last report"),
                ("stat", "Events waiting"),
                ("stat", "Dead letters"),
                ("stat", "Events dropped"),
                ("stat", "Days until the disk is full"),
                ("timeseries", "Events per second"),
                ("timeseries", "Delay until readable"),
                ("timeseries", "Buffer"),
                ("timeseries", "Buffer and journal on disk"),
                ("timeseries", "Retries, errors and drops"),
                ("table", "Refused by ClickHouse"),
                ("table", "Browsers that are heard"),
                ("table", "Events from the future"),
                ("table", "Background work that fails"),
                ("table", "Implausible dates"),
                ("timeseries", "Dead letters by reason"),
                ("table", "Newest dead letters"),
                ("timeseries", "Events and bytes per day"),
                ("table", "Storage"),
                ("table", "Disks"),
                ("table", "Versions"),
            ],
        ),
    ],
)
def test_every_element_is_there_from_top_to_bottom(
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
        ("Pipeline", []),
    ],
)
def test_every_filter_of_cvat_is_there(
    dashboards: dict[str, Dashboard], title: str, labels: list[str]
) -> None:
    filters = [variable for variable in dashboards[title].variables.values() if variable.query]
    assert [variable.label for variable in filters] == labels
    assert [v.label for v in filters if not (v.multi and v.include_all and v.description)] == []


def test_other_choices(dashboards: dict[str, Dashboard]) -> None:
    others = {
        (title, variable.type, variable.label, variable.default)
        for title, dashboard in dashboards.items()
        for variable in dashboard.variables.values()
        if not variable.query
    }
    assert others == {
        ("All events", "textbox", "Request id", ""),
        ("All events", "textbox", "Event", ""),
        ("Management", "custom", "Working time", "computed"),
        ("Management", "constant", "time_zone", "UTC"),
        *((title, "constant", "cvat_url", "") for title in ("All events", "Management", "Monitoring")),
    }


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
def test_file_is_tidy_and_of_the_current_schema(dashboard: Dashboard) -> None:
    assert dashboard.file.read_text() == tidy(json.loads(dashboard.file.read_text()))
    assert [
        each["name"] for each in dashboard.model.get("templating", {"list": []})["list"] if "options" in each
    ] == []
    # Grafana 13.2, apps/dashboard/pkg/migration/schemaversion: LATEST_VERSION
    assert dashboard.model["schemaVersion"] == 42


@every_dashboard
def test_time_range_links_and_tags(dashboard: Dashboard) -> None:
    start = "now-24h" if dashboard.title == "Pipeline" else "now-7d"
    assert dashboard.model["time"] == {"from": start, "to": "now"}
    assert (dashboard.model["timezone"], dashboard.model["tags"]) == ("browser", ["cvat"])
    (link,) = dashboard.model["links"]
    assert (link["type"], link["tags"], link["keepTime"], link["includeVars"]) == (
        "dashboards",
        ["cvat"],
        True,
        True,
    )


@every_dashboard
def test_deploys_are_marked(dashboard: Dashboard) -> None:
    (annotation,) = dashboard.model["annotations"]["list"]
    assert (annotation["name"], annotation["enable"]) == ("Deploys", True)
    assert "FROM deployments\nWHERE $__timeFilter_ms(at)\n" in annotation["target"]["rawSql"]


@every_dashboard
def test_panels_have_a_description_and_fill_a_rectangle(dashboard: Dashboard) -> None:
    assert [panel.title for panel in dashboard.panels if len(panel.description) < 40] == []
    cells = [
        (x, y)
        for panel in dashboard.panels
        for grid in [panel.model["gridPos"]]
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]
    assert len(set(cells)) == len(cells) == 24 * (max(y for _, y in cells) + 1)


@every_dashboard
def test_empty_panels_say_what_to_check(dashboard: Dashboard) -> None:
    silent = [p.title for p in dashboard.panels if "noValue" not in p.model["fieldConfig"]["defaults"]]
    # what always has a value: counts, and what the server says of itself
    always = {"Active users (now)", "Dead letters", "Storage", "Disks", "Versions"}
    assert set(silent) <= always
    # Grafana shows the same text for every single value that is missing, unless the column says otherwise
    blank = {
        "matcher": {"id": "byRegexp", "options": ".*"},
        "properties": [{"id": "noValue", "value": "\u2013"}],
    }
    for panel in dashboard.panels:
        if panel.type not in ("stat", "barchart"):
            assert panel.model["fieldConfig"]["overrides"][0] == blank, panel.title


@every_dashboard
def test_colours_follow_the_theme(dashboard: Dashboard) -> None:
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b|rgba?\(", json.dumps(dashboard.model)) == []


@every_dashboard
def test_every_query_is_for_the_pinned_plugin(dashboard: Dashboard) -> None:
    pinned = Settings().grafana_plugin_version
    annotations = dashboard.model["annotations"]["list"]
    for panel in dashboard.panels:
        for target in panel.model["targets"]:
            assert target["format"] == (panel.type not in ("timeseries", "status-history"))
    targets = [t for panel in dashboard.panels for t in panel.model["targets"]] + [
        a["target"] for a in annotations
    ]
    assert {(target["editorType"], target["pluginVersion"]) for target in targets} == {("sql", pinned)}


@every_dashboard
def test_no_query_asks_for_final_or_quotes_a_value_unsafely(dashboard: Dashboard) -> None:
    for query in dashboard.queries:
        assert "FINAL" not in query.sql, f"{query.where}: the reader's profile does that"
        # a variable stands in SQL only percent-encoded, or as what $__conditionalAll looks at
        uses = re.findall(r"\$(?:\{\w+(?::[^}]*)?\}|(?!__)\w+\)?)", query.sql)
        assert [
            use for use in uses if not (use.endswith(":customqueryparam:v}") or use.endswith(")"))
        ] == [], query.where


LONG = {
    "Overall activity", "User activity", "Active users", "Duration of events", "Number of events", "Browsers", "Operating systems",
    "Events and bytes per day",
}  # fmt: skip
"""Panels that would have to count all events of the time range."""


@every_dashboard
def test_what_would_count_all_events_reads_what_is_counted_beforehand(dashboard: Dashboard) -> None:
    for panel in dashboard.panels:
        tables = {t for query in panel.queries for t in re.findall(r"\b(?:FROM|JOIN)\s+(\w+)", query.sql)}
        if panel.title in LONG:
            assert tables & {"event_counts", "event_counts_settled"}, panel.title
        if panel.title.startswith("Working"):
            assert tables & {"working_time_in_range", "events"} == {"working_time_in_range"}, panel.title
    variables = [variable.query for variable in dashboard.variables.values() if variable.query]
    heavy = [
        query.where
        for query in variables
        if "FROM events\n" in query.sql and "send:exception" not in query.sql
    ]
    assert heavy == []


CUT_OFF = re.compile(
    r"timestamp < first_hour OR timestamp >= last_hour|timestamp >= since|request_id = wanted|one != ''"
    r"|scope = '(?:load:cvat|send:exception)'|- INTERVAL (?:15 MINUTE|1 DAY|7 DAY|30 DAY)"
)
"""What keeps a question to `events` from reading all of a long time range: docs/reference/tables.md, "How to ask"."""


@every_dashboard
def test_no_query_reads_all_events_of_a_long_time(dashboard: Dashboard) -> None:
    for query in dashboard.queries:
        _, *rest = re.split(r"\bFROM events\n", query.sql)
        for conditions in (re.split(r"\n\s*(?:GROUP BY|ORDER BY|UNION|\))", each)[0] for each in rest):
            assert CUT_OFF.search(conditions), f"{query.where}: {conditions}"


@every_dashboard
def test_every_panel_obeys_the_time_range_and_every_filter(dashboard: Dashboard) -> None:
    filters = {variable.name for variable in dashboard.variables.values() if variable.query}
    for panel in dashboard.panels:
        for query in panel.queries:
            missing = {name for name in filters if f", ${name})" not in query.sql}
            # these look at one scope
            if re.search(r"\bscope = '(load:cvat|send:exception)'", query.sql):
                missing -= {"scopes"}
            if not panel.title.startswith("Exceptions"):
                missing -= {"errors"}
            assert (panel.title, missing) == (panel.title, set())
            obeys = re.search(r"\$__(timeFilter\w*\(|dateFilter\(|fromTime)", query.sql)
            assert (
                obeys
                or "whatever the time range" in panel.description
                or "from now" in panel.description
                or panel.title == "Versions"
            )


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
        ("Working time", "working_time"),
        ("Working time", "activity"),
        ("Number of events", "events"),
        ("Storage", "bytes"),
    }


def test_units_and_cells(dashboards: dict[str, Dashboard]) -> None:
    panels = {panel.title: panel for dashboard in dashboards.values() for panel in dashboard.panels}
    assert panels["Duration of events"].model["fieldConfig"]["defaults"]["unit"] == "ms"
    assert options(panels["All events"], "duration")["unit"] == "ms"
    for title in ("All events", "Exceptions table"):
        assert options(panels[title], "timestamp")["unit"] == "time:YYYY-MM-DD HH:mm:ss.SSS"
        assert options(panels[title], "payload")["custom.cellOptions"] == {"type": "json-view"}
