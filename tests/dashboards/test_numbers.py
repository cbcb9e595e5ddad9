"""The numbers that the panels show, against the same numbers computed in Python from the events themselves."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from statistics import fmean
from typing import Any

import pytest

from cvat_analytics.dashboards import Dashboard, TimeRange, Values, expand
from tests.dashboards.events import END, MESSAGES, RANGE, SCOPES, Event, text, time_of
from tests.store import Store

INTERVAL = timedelta(hours=1)
QUARTER = timedelta(minutes=15)

_COLUMNS = {
    "scopes": lambda event: event["scope"],
    "sources": lambda event: event["source"],
    "users": lambda event: event["user_id"],
    "projects": lambda event: event["project_id"],
    "tasks": lambda event: event["task_id"],
    "jobs": lambda event: event["job_id"],
    "organizations": lambda event: event["org_id"],
    "errors": lambda event: payload(event).get("message", ""),
}

CHOICES: list[dict[str, Sequence[str]]] = [
    {},
    {"users": ["2"]},
    {"users": ["1", "4", "5"], "sources": ["client"]},
    {"scopes": [SCOPES[-1], "send:exception", "load:cvat"], "organizations": ["1", "2"]},
    {"projects": ["1"], "tasks": ["1", "2"], "jobs": ["2", "3"]},
    {"errors": [MESSAGES[1], MESSAGES[3]]},
    {"users": ["999"]},
]
every_choice = pytest.mark.parametrize("values", CHOICES, ids=lambda values: "+".join(values) or "all")


def payload(event: Event) -> dict[str, Any]:
    """Return an event's payload; what is not JSON is empty."""
    try:
        return dict(json.loads(event["payload"]))
    except (TypeError, ValueError):
        return {}


class Shown:
    """What one choice shows: the panels' rows, and the events that they are made of."""

    def __init__(
        self,
        store: Store,
        dashboard: Dashboard,
        events: list[Event],
        values: Values,
        time_range: TimeRange = RANGE,
    ) -> None:
        self.store, self.dashboard, self.events, self.range = store, dashboard, events, time_range
        self.values = {name: value for name, value in values.items() if name in dashboard.variables}

    def rows(self, title: str) -> list[dict[str, Any]]:
        """Return the rows of the panel `title`."""
        (query,) = next(panel for panel in self.dashboard.panels if panel.title == title).queries
        return self.store.rows(
            expand(query, self.dashboard, self.range, interval=INTERVAL, values=self.values)
        )

    def chosen(self, *ignored: str) -> list[Event]:
        """Return the events that the time range and the filters leave, but for the `ignored` filters."""
        return [
            event
            for event in self.events
            if self.range.start <= time_of(event) <= self.range.end and self.fits(event, *ignored)
        ]

    def fits(self, event: Event, *ignored: str) -> bool:
        """Return whether an event fits the filters."""
        return all(
            str(_COLUMNS[name](event)) in value for name, value in self.values.items() if name not in ignored
        )


def buckets(events: Iterable[Event], width: timedelta) -> dict[str, int]:
    """Return the number of events by the start of their interval, as ClickHouse writes it."""
    return dict(sorted(Counter(bucket(time_of(event), width) for event in events).items()))


def bucket(time: datetime, width: timedelta) -> str:
    """Return the start of the interval that `time` is in."""
    seconds = width.total_seconds()
    return f"{datetime.fromtimestamp(time.timestamp() // seconds * seconds, time.tzinfo):%Y-%m-%d %H:%M:%S}"


@pytest.fixture
def all_events(store: Store, dashboards: dict[str, Dashboard], events: list[Event], values: Values) -> Shown:
    return Shown(store, dashboards["All events"], events, values)


@pytest.fixture
def management(store: Store, dashboards: dict[str, Dashboard], events: list[Event], values: Values) -> Shown:
    return Shown(store, dashboards["Management"], events, values)


@pytest.fixture
def monitoring(store: Store, dashboards: dict[str, Dashboard], events: list[Event], values: Values) -> Shown:
    return Shown(store, dashboards["Monitoring"], events, values)


@every_choice
def test_overall_activity(all_events: Shown, management: Shown) -> None:
    for shown in (all_events, management):
        rows = shown.rows("Overall activity")
        assert {row["time"]: row["Events"] for row in rows} == buckets(shown.chosen(), INTERVAL)


@every_choice
def test_table_of_all_events(all_events: Shown) -> None:
    expected = sorted(all_events.chosen(), key=time_of, reverse=True)
    rows = all_events.rows("All events")
    for row in rows:
        assert row.pop("user_email") is None
        row["access_token_id"], row["obj_name"], row["obj_id"], row["obj_val"] = [None] * 4
    nothing = dict.fromkeys(("access_token_id", "obj_name", "obj_id", "obj_val", "count"))
    assert rows == [nothing | event for event in expected]


@every_choice
@pytest.mark.parametrize(
    ("title", "column", "key"), [("Browsers", "Browser", "name"), ("Operating systems", "OS", "os")]
)
def test_browsers_and_systems(all_events: Shown, title: str, column: str, key: str) -> None:
    visits = [event for event in all_events.chosen("scopes") if event["scope"] == "load:cvat"]
    expected = Counter(payload(event).get("platform", {}).get(key, "unknown") for event in visits)
    assert {row[column]: row["Visits"] for row in all_events.rows(title)} == expected


@every_choice
def test_user_activity(management: Shown) -> None:
    expected: dict[str, list[Event]] = defaultdict(list)
    for event in management.chosen():
        if event["user_id"] is not None:
            expected[event["user_name"] or f"user {event['user_id']}"].append(event)
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for row in management.rows("User activity"):
        found[row["user"]][row["time"]] = row["Events"]
    assert {user: {time: n for time, n in line.items() if n} for user, line in found.items()} == {
        user: buckets(each, INTERVAL) for user, each in expected.items()
    }
    # a line has a point in every interval, also where its user did nothing
    assert {len(line) for line in found.values()} <= {7 * 24}


@every_choice
def test_working_time(management: Shown) -> None:
    expected = _working_time(management)
    found = {
        (row["User ID"], row["Project"], row["Task"], row["Job"]): (
            row["Working time (h)"],
            row["Reported (h)"],
            row["Activity"],
        )
        for row in management.rows("Working time")
    }
    assert found == {key: pytest.approx(value) for key, value in expected.items()}
    names = {event["user_id"]: event["user_name"] or "" for event in management.events}
    assert [row for row in management.rows("Working time") if row["User"] != names[row["User ID"]]] == []


def _working_time(shown: Shown) -> dict[tuple[int | None, ...], tuple[float, float, int]]:
    """Return hours worked, hours reported and events by user, project, task and job, by CVAT's rule."""
    sums: dict[tuple[int | None, ...], list[float]] = defaultdict(lambda: [0, 0, 0])

    def add(event: Event, at: Event, worked: float, reported: float, count: int) -> None:
        """Add to the bucket of `event` on the day of `at`."""
        if shown.range.start.date() <= time_of(at).date() <= shown.range.end.date() and shown.fits(event):
            key = tuple(event[column] for column in ("user_id", "project_id", "task_id", "job_id"))
            sums[key] = [a + b for a, b in zip(sums[key], (worked, reported, count), strict=True)]

    for user in {event["user_id"] for event in shown.events}:
        mine = [event for event in shown.events if event["user_id"] == user]
        furthest, previous = 0.0, None
        for event in sorted((event for event in mine if event["source"] == "client"), key=time_of):
            begin = time_of(event).timestamp() * 1000
            end = begin + (event["duration"] if event["scope"] == "change:frame" else 0)
            pause = begin - furthest if 0 < begin - furthest < 100_000 else 0
            add(previous or event, event, pause + max(end - max(begin, furthest), 0), 0, 0)
            add(event, event, 0, 0, 1)
            furthest, previous = max(furthest, end), event
        for event in mine:
            if event["scope"] == "send:working_time" and event["duration"]:
                add(event, event, 0, event["duration"], 0)
    return {
        key: (worked / 3_600_000, reported / 3_600_000, int(count))
        for key, (worked, reported, count) in sums.items()
    }


@every_choice
@pytest.mark.parametrize("end", [END, END - timedelta(days=2), END + timedelta(days=30)], ids=str)
def test_active_users_now_obeys_the_time_range(monitoring: Shown, end: datetime) -> None:
    monitoring.range = TimeRange(RANGE.start, end)
    recent = [event for event in monitoring.chosen("errors") if time_of(event) > end - QUARTER]
    expected = len({event["user_id"] for event in recent} - {None})
    assert monitoring.rows("Active users (now)") == [{"Active users": expected}]


@every_choice
def test_active_users_over_time(monitoring: Shown) -> None:
    expected: dict[str, set[int]] = defaultdict(set)
    for event in monitoring.chosen("errors"):
        if event["user_id"] is not None:
            expected[bucket(time_of(event), QUARTER)].add(event["user_id"])
    rows = monitoring.rows("Active users")
    assert {row["time"]: row["Active users"] for row in rows if row["Active users"]} == {
        time: len(users) for time, users in expected.items()
    }
    assert len(rows) == 7 * 24 * 4


@every_choice
def test_durations_and_counts(monitoring: Shown) -> None:
    durations: dict[tuple[str, str], list[int]] = defaultdict(list)
    for event in monitoring.chosen("errors"):
        durations[event["scope"], event["source"]].append(event["duration"])
    found = {(row["Scope"], row["Source"]): row["Count"] for row in monitoring.rows("Number of events")}
    assert found == {key: len(each) for key, each in durations.items()}
    timed = {key: sorted(filter(None, each)) for key, each in durations.items() if any(each)}
    rows = monitoring.rows("Duration of events")
    assert {(row.pop("Scope"), row.pop("Source")): row for row in rows} == {
        key: {
            "Average": pytest.approx(fmean(each)),
            "95 %": each[int(len(each) * 0.95)],
            "Min": each[0],
            "Max": each[-1],
        }
        for key, each in timed.items()
    }


@every_choice
def test_exceptions(monitoring: Shown) -> None:
    exceptions = [event for event in monitoring.chosen("scopes") if event["scope"] == "send:exception"]
    assert {row["time"]: row["Exceptions"] for row in monitoring.rows("Exceptions")} == buckets(
        exceptions, INTERVAL
    )
    columns = ("timestamp", "user_id", "user_name", "source", "project_id", "task_id", "job_id", "payload")
    expected = [
        {column: event[column] for column in columns}
        | {"error": payload(event)["message"], "stack": payload(event)["stack"]}
        for event in sorted(exceptions, key=time_of, reverse=True)
    ]
    assert monitoring.rows("Exceptions table") == expected


@pytest.mark.parametrize(
    "values", [{}, {"users": ["2", "4"], "organizations": ["1"], "projects": ["2"]}], ids=str
)
def test_filters_offer_what_occurs(monitoring: Shown) -> None:
    def options(name: str) -> list[list[str]]:
        query = monitoring.dashboard.variables[name].query
        assert query is not None
        return [
            list(row.values())
            for row in monitoring.store.rows(
                expand(query, monitoring.dashboard, RANGE, values=monitoring.values)
            )
        ]

    def ids(column: str, *earlier: str) -> list[list[str]]:
        others = [name for name in monitoring.values if name not in earlier]
        found = {event[column] for event in monitoring.chosen(*others)} - {None}
        return [[str(each)] for each in sorted(found, reverse=True)]

    in_range = [event for event in monitoring.events if RANGE.start <= time_of(event) <= RANGE.end]
    assert options("scopes") == [[scope] for scope in sorted({event["scope"] for event in in_range})]
    assert options("sources") == [["client"], ["server"]]
    assert options("organizations") == [["1", "org'one (1)"], ["2", "orgtwo (2)"]]
    assert sorted(options("users")) == sorted(
        [str(event), f"{name or 'user'} ({event})"]
        for event, name in {
            e["user_id"]: e["user_name"] for e in monitoring.chosen("users", "projects") if e["user_id"]
        }.items()
    )
    assert options("projects") == ids("project_id", "organizations", "users")
    assert options("tasks") == ids("task_id", "organizations", "users", "projects")
    assert options("jobs") == ids("job_id", "organizations", "users", "projects", "tasks")
    messages = Counter(
        payload(e)["message"] for e in monitoring.chosen("scopes") if e["scope"] == "send:exception"
    )
    del messages[""]
    assert sorted(options("errors")) == sorted([message] for message in messages)


def test_times_are_written_as_clickhouse_writes_them(events: list[Event]) -> None:
    assert [event for event in events if text(time_of(event)) != event["timestamp"]] == []
