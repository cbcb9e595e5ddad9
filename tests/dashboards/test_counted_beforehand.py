"""Panels of counts, and the lists of filters, are the same whether days are counted beforehand, while they are asked for, or some this and some that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest

from cvat_analytics.dashboards import Dashboard, TimeRange, expand
from tests.clickhouse import Store
from tests.dashboards.events import END, MESSAGES, RANGE, SCOPES, Event, time_of
from tests.dashboards.shown import Shown

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# of a week the events themselves are asked, of more what is counted
TIMES = [
    (RANGE, timedelta(minutes=30)),
    (TimeRange(RANGE.start - 2 * DAY, END), timedelta(minutes=15)),
    (TimeRange(RANGE.start - timedelta(days=2, minutes=50, milliseconds=7), END - timedelta(minutes=7)), 6 * HOUR),
]  # fmt: skip
CHOICES: list[Mapping[str, Sequence[str]]] = [
    {},
    {"users": ["1", "4"], "scopes": [SCOPES[-1], "send:exception"], "organizations": ["1", "2"]},
    {"projects": ["1"], "tasks": ["1", "2"], "jobs": ["2", "3"]},
    {"errors": [MESSAGES[1], MESSAGES[3]]},
]
PANELS = {
    "All events": ("Overall activity", "Browsers", "Operating systems"),
    "Management": ("Overall activity", "User activity"),
    "Monitoring": ("Active users", "Duration of events", "Number of events", "Exceptions"),
}
PROJECTIONS = {
    ("All events", "Overall activity"): "people", ("All events", "Browsers"): "kinds", ("All events", "Operating systems"): "kinds",
    ("Management", "Overall activity"): "people", ("Management", "User activity"): "people", ("Monitoring", "Active users"): "people",
    ("Monitoring", "Number of events"): "kinds", ("Monitoring", "Exceptions"): "kinds",
}  # fmt: skip
"""What answers a panel without filters."""
_OF_BOTH = ("users", "projects", "tasks", "jobs")
LISTS = {
    "All events": ("scopes", "sources", "organizations", *_OF_BOTH),
    "Management": _OF_BOTH,
    "Monitoring": ("scopes", "sources", "organizations", *_OF_BOTH),
}

Rows = dict[tuple[Any, ...], list[str]]


@pytest.fixture
def team(shared_engine: Store, events: list[Event]) -> Iterator[Store]:
    """Return a database with the team's events, of which no day is counted before a test says so."""
    with shared_engine.another() as store:
        for view in ("event_counts_refresh", "event_days_refresh"):
            store.post(f"ALTER TABLE {view} MODIFY REFRESH EVERY 1 YEAR APPEND")
            store.post(f"SYSTEM WAIT VIEW {view}")
        store.post(
            "INSERT INTO working_time_settings (threshold_ms, duration_scopes, retention_seconds, settle_seconds) "
            "SELECT threshold_ms, duration_scopes, retention_seconds, 0 FROM working_time_settings"
        )
        store.insert(events)
        yield store


def settle(store: Store) -> None:
    """Count the days that are due."""
    for view in ("event_counts_refresh", "event_days_refresh"):
        for action in ("REFRESH", "WAIT"):
            store.post(f"SYSTEM {action} VIEW {view}")
    assert store.rows("SELECT count() AS days FROM event_days_state WHERE NOT is_settled") == [{"days": 0}]


def shown(store: Store, dashboards: Mapping[str, Dashboard], events: list[Event]) -> Rows:
    """Return what every panel of counts shows for every choice, and every list offers; what asks the same is asked once."""
    asked = {
        (number, *values, title, name): sql
        for number, (time_range, interval) in enumerate(TIMES)
        for values in CHOICES
        for title in PANELS
        for board in [Shown(store, dashboards[title], events, values, time_range, interval)]
        for name, sql in [
            *((panel, board.sql(panel)) for panel in PANELS[title]),
            *((name, board.options_sql(name)) for name in LISTS[title]),
        ]
    }
    answers = {sql: sorted(map(str, store.rows(sql))) for sql in set(asked.values())}
    return {name: answers[sql] for name, sql in asked.items()}


def test_panels_show_the_same_in_every_state(
    team: Store, dashboards: dict[str, Dashboard], events: list[Event]
) -> None:
    counted_while_asked = shown(team, dashboards, events)
    assert any("Chrome" in row for row in counted_while_asked[0, "All events", "Browsers"])
    settle(team)
    assert shown(team, dashboards, events) == counted_while_asked
    # what is late makes two days such as are counted while they are asked for, beside the others
    late = [
        event | {"duration": 4999, "user_id": 3}
        for event in events
        if time_of(event).date() in {(END - 2 * DAY).date(), (END - 5 * DAY).date()}
    ]
    team.insert(late)
    some_of_both = shown(team, dashboards, events)
    assert some_of_both != counted_while_asked
    settle(team)
    assert shown(team, dashboards, events) == some_of_both
    # the rows of both counts are there, and merging them anew makes projections anew
    team.post("OPTIMIZE TABLE event_counts_settled FINAL")
    assert shown(team, dashboards, events) == some_of_both


def test_a_day_that_is_dropped_is_in_no_panel(
    team: Store, dashboards: dict[str, Dashboard], events: list[Event]
) -> None:
    settle(team)
    team.post(f"ALTER TABLE events DROP PARTITION '{END:%Y%m}'")
    assert {
        panel: rows
        for panel, rows in shown(team, dashboards, events).items()
        if rows and "Active users" not in panel
    } == {}


def test_a_week_asks_the_events_and_not_which_days_are_counted(
    team: Store, dashboards: dict[str, Dashboard], events: list[Event]
) -> None:
    settle(team)

    def of(time_range: TimeRange) -> Rows:
        return {
            (title, panel): sorted(
                map(str, Shown(team, dashboards[title], events, {}, time_range).rows(panel))
            )
            for title, panels in PANELS.items()
            for panel in panels
        }

    eight_days = TimeRange(RANGE.end - 8 * DAY, RANGE.end)
    before = of(eight_days)
    # whoever asked it would be refused now, and whoever read the counts would find none
    team.post("DROP VIEW counted_days")
    team.post("TRUNCATE TABLE event_counts_settled")
    assert of(eight_days) == before
    with pytest.raises(AssertionError, match="counted_days"):
        of(TimeRange(eight_days.start - timedelta(seconds=1), RANGE.end))


def test_a_settled_history_is_read_from_the_smallest_projection(
    team: Store, dashboards: dict[str, Dashboard]
) -> None:
    settle(team)
    whole = TimeRange(RANGE.start.replace(hour=0) - 2 * DAY, RANGE.end.replace(minute=0))
    for (title, panel), projection in PROJECTIONS.items():
        (query,) = next(each for each in dashboards[title].panels if each.title == panel).queries
        plan = str(team.rows(f"EXPLAIN {expand(query, dashboards[title], whole, interval=HOUR)}"))
        assert f"ReadFromMergeTree ({projection})" in plan, (panel, plan)
        assert "event_counts_settled" not in plan, panel
    for title, names in LISTS.items():
        for name in names:
            offered = dashboards[title].variables[name].query
            assert offered
            plan = str(team.rows(f"EXPLAIN {expand(offered, dashboards[title], whole)}"))
            assert f"ReadFromMergeTree ({'kinds' if name in ('scopes', 'sources') else 'people'})" in plan, (
                name,
                plan,
            )
            assert "event_counts_settled" not in plan, name
