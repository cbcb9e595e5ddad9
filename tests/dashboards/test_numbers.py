"""The numbers that the panels show, against the same numbers computed in Python from the events themselves."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from statistics import fmean
from typing import Any

import pytest

from cvat_analytics.dashboards import Dashboard, TimeRange, Values
from tests.clickhouse import Store
from tests.dashboards.events import END, MESSAGES, RANGE, REQUESTS, SCOPES, Event, text, time_of
from tests.dashboards.shown import Shown, beginning, bucket, buckets, names, payload, request_id

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
QUARTER = timedelta(minutes=15)
QUARTER_MS = QUARTER // timedelta(milliseconds=1)

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
# what is counted beforehand, what is not, and both: whole hours, odd ends, less than an hour, within one hour
TIMES = [
    (RANGE, HOUR),
    (RANGE, timedelta(minutes=10)),
    (TimeRange(RANGE.start + timedelta(hours=29, minutes=50, milliseconds=7), END - timedelta(minutes=7)), HOUR),
    (TimeRange(END - timedelta(minutes=50), END - timedelta(minutes=20)), timedelta(seconds=30)),
    (TimeRange(END - DAY, END + HOUR), 6 * HOUR),
    # of more than eight days what is counted is asked, of less the events
    (TimeRange(RANGE.start - 2 * DAY, END), timedelta(minutes=10)),
    (TimeRange(RANGE.start - timedelta(days=2, minutes=50, milliseconds=7), END - timedelta(minutes=7)), timedelta(minutes=20)),
]  # fmt: skip
every_time = pytest.mark.parametrize(
    ("time_range", "interval"), TIMES, ids=lambda value: str(getattr(value, "start", value))
)


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
@every_time
def test_overall_activity(
    all_events: Shown, management: Shown, time_range: TimeRange, interval: timedelta
) -> None:
    for shown in (all_events, management):
        shown.range, shown.interval = time_range, interval
        rows = shown.rows("Overall activity")
        assert {row["time"]: row["events"] for row in rows} == buckets(shown.chosen(), interval)


def _table(events: list[Event], chosen: list[Event]) -> list[dict[str, Any]]:
    """Return the rows of the table of all events for the events `chosen` among `events`."""
    projects, tasks = names(events, "project"), names(events, "task")
    nothing = dict.fromkeys(("access_token_id", "obj_id", "count", "user_email"))
    return [
        nothing
        | event
        | {
            "project_name": projects.get(event["project_id"], ""),
            "task_name": tasks.get(event["task_id"], ""),
            "request_id": request_id(event),
            "payload": beginning(event["payload"]),
        }
        for event in sorted(chosen, key=time_of, reverse=True)
    ]


def _shown(all_events: Shown) -> list[dict[str, Any]]:
    """Return the rows of the table of all events without what a click on a payload hands on."""
    rows = all_events.rows("All events")
    assert all(re.fullmatch(r"-?\d+_[0-9A-F]{16}", row.pop("event")) for row in rows)
    return rows


@every_choice
@pytest.mark.parametrize(("time_range", "_"), [TIMES[0], TIMES[3]], ids=["week", "half an hour"])
def test_table_of_all_events(all_events: Shown, time_range: TimeRange, _: timedelta) -> None:
    all_events.range = time_range
    assert _shown(all_events) == _table(all_events.events, all_events.chosen())


@pytest.mark.parametrize("request_", [*REQUESTS, " " + REQUESTS[0] + " ", "no such"])
@pytest.mark.parametrize("values", [{"users": ["2"], "scopes": [SCOPES[0]]}], ids=["other filters"])
def test_a_request_id_shows_the_whole_request(all_events: Shown, request_: str) -> None:
    all_events.values |= {"request_id": request_}
    expected = [event for event in all_events.events if request_id(event) == request_.strip()]
    assert _shown(all_events) == _table(all_events.events, expected)
    in_range = [event for event in expected if RANGE.start <= time_of(event) <= RANGE.end]
    rows = all_events.rows("Overall activity")
    assert {row["time"]: row["events"] for row in rows} == buckets(in_range, HOUR)


@every_choice
@pytest.mark.parametrize(
    ("title", "column", "key"), [("Browsers", "browser", "name"), ("Operating systems", "system", "os")]
)
def test_browsers_and_systems(all_events: Shown, title: str, column: str, key: str) -> None:
    visits = [event for event in all_events.chosen("scopes") if event["scope"] == "load:cvat"]
    expected = Counter(payload(event).get("platform", {}).get(key, "unknown") for event in visits)
    assert {row[column]: row["visits"] for row in all_events.rows(title)} == expected


def _label(event: Event) -> str:
    return f"{event['user_name'] or 'user'} ({event['user_id']})"


@every_choice
@every_time
def test_user_activity(management: Shown, time_range: TimeRange, interval: timedelta) -> None:
    management.range, management.interval = time_range, interval
    expected: dict[str, list[Event]] = defaultdict(list)
    for event in management.chosen():
        if event["user_id"] is not None:
            expected[_label(event)].append(event)
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    for row in management.rows("User activity"):
        counts[row["user"]][row["time"]] = row["events"]
    assert {user: {time: n for time, n in line.items() if n} for user, line in counts.items()} == {
        user: buckets(each, interval) for user, each in expected.items()
    }
    # a line has a point in every interval, also where its user did nothing
    assert {len(line) for line in counts.values()} <= {len(next(iter(counts.values()), {}))}


@every_choice
@pytest.mark.parametrize("kind", ["computed", "reported"])
def test_working_time(management: Shown, kind: str) -> None:
    management.values["working_time"] = kind
    expected = {
        key: ((worked if kind == "computed" else reported) / 3_600_000, count)
        for key, (worked, reported, count) in _sums(management, lambda event, day: _ids(event)).items()
    }
    rows = management.rows("Working time")
    keys = ("user_id", "project_id", "task_id", "job_id")
    times = {tuple(row[key] for key in keys): (row["working_time"], row["activity"]) for row in rows}
    assert times == {key: pytest.approx(value) for key, value in expected.items()}
    users = {event["user_id"]: event["user_name"] or "" for event in management.events}
    projects, tasks = names(management.events, "project"), names(management.events, "task")
    assert [(row["user_name"], row["project_name"], row["task_name"]) for row in rows] == [
        (users[row["user_id"]], projects.get(row["project_id"], ""), tasks.get(row["task_id"], ""))
        for row in rows
    ]
    assert [row["working_time"] for row in rows] == sorted(
        (row["working_time"] for row in rows), reverse=True
    )


@every_choice
@pytest.mark.parametrize("kind", ["computed", "reported"])
def test_working_hours_by_day(management: Shown, kind: str) -> None:
    management.values["working_time"] = kind
    label = {event["user_id"]: _label(event) for event in management.events}
    sums = _sums(management, lambda event, day: (f"{day} 12:00:00", label[event["user_id"]]))
    expected = {
        key: pytest.approx((worked if kind == "computed" else reported) / 3_600_000)
        for key, (worked, reported, _) in sums.items()
        if (worked if kind == "computed" else reported) and key[1] != label.get(None)
    }
    assert {
        (row["time"], row["user"]): row["hours"]
        for row in management.rows("Working hours by day (${time_zone})")
    } == expected


def _ids(event: Event) -> tuple[int | None, ...]:
    return tuple(event[column] for column in ("user_id", "project_id", "task_id", "job_id"))


def _sums(shown: Shown, key_of: Any) -> dict[Any, tuple[float, float, int]]:
    """Return milliseconds worked, milliseconds reported and events by `key_of(event, day)`, by CVAT's rule.

    The quarters of an hour that begin in the range count, as a whole.
    """
    sums: dict[Any, list[float]] = defaultdict(lambda: [0, 0, 0])
    first, last = (shown.range.start.timestamp() * 1000, shown.range.end.timestamp() * 1000)

    def add(event: Event, at_ms: float, *numbers: float) -> None:
        """Add to the bucket of `event` on the day of that quarter of an hour."""
        slot = at_ms // QUARTER_MS * QUARTER_MS
        if first <= slot < last and shown.fits(event):
            key = key_of(event, datetime.fromtimestamp(slot / 1000, UTC).date())
            sums[key] = [a + b for a, b in zip(sums[key], numbers, strict=True)]

    for user in {event["user_id"] for event in shown.events}:
        mine = [event for event in shown.events if event["user_id"] == user]
        furthest, previous = 0.0, None
        for event in sorted((event for event in mine if event["source"] == "client"), key=time_of):
            begin = time_of(event).timestamp() * 1000
            end = begin + (event["duration"] if event["scope"] == "change:frame" else 0)
            position = furthest if begin - furthest < 100_000 else begin
            while position < end:
                until = min(end, position // QUARTER_MS * QUARTER_MS + QUARTER_MS)
                add(previous or event, position, until - position, 0, 0)
                position = until
            add(event, begin, 0, 0, 1)
            furthest, previous = max(furthest, end), event
        for event in mine:
            if event["scope"] == "send:working_time" and event["duration"]:
                add(event, time_of(event).timestamp() * 1000, 0, event["duration"], 0)
    return {key: (worked, reported, int(count)) for key, (worked, reported, count) in sums.items()}


@every_choice
def test_jobs_completed(management: Shown) -> None:
    expected: dict[tuple[str, str], set[int]] = defaultdict(set)
    for event in management.chosen():
        if _job_change(event) == ("state", "completed"):
            day = max(bucket(time_of(event), DAY), text(RANGE.start)[:19])  # the first one is cut
            expected[day, _stage(management.events, event)].add(event["job_id"])
    rows = management.rows("Jobs completed (${time_zone})")
    counts = {(row["time"], row["stage"]): row["jobs"] for row in rows}
    assert len(counts) == len(rows)
    assert counts == {key: len(jobs) for key, jobs in expected.items()}
    if not management.values:
        assert len({stage for _, stage in counts}) == 4, "every stage, and unknown"


def _job_change(event: Event) -> tuple[str, str] | None:
    if event["scope"] != "update:job" or event["job_id"] is None:
        return None
    return event["obj_name"], event["obj_val"]


def _stage(events: list[Event], completion: Event) -> str:
    """Return in which stage a job was: as the same request has set it, else as it was set last. No event says what was before."""
    set_ = [
        event
        for event in sorted(events, key=time_of)
        if event["job_id"] == completion["job_id"] and (_job_change(event) or ("", ""))[0] == "stage"
    ]
    with_it = [event for event in set_ if request_id(event) == request_id(completion)]
    before = [event for event in set_ if time_of(event) < time_of(completion)]
    return str((with_it or before or [{"obj_val": "unknown"}])[-1]["obj_val"])


@every_choice
@pytest.mark.parametrize("end", [END, END - 2 * DAY, END + 30 * DAY], ids=str)
def test_active_users_now_obeys_the_time_range(monitoring: Shown, end: datetime) -> None:
    monitoring.range = TimeRange(RANGE.start, end)
    recent = [event for event in monitoring.chosen("errors") if time_of(event) > end - QUARTER]
    expected = len({event["user_id"] for event in recent} - {None})
    assert monitoring.rows("Active users (now)") == [{"users": expected}]


@every_choice
@every_time
def test_active_users_over_time(monitoring: Shown, time_range: TimeRange, interval: timedelta) -> None:
    monitoring.range, monitoring.interval = time_range, interval
    step = QUARTER if interval <= QUARTER else max(2 * QUARTER, interval)
    expected: dict[str, set[int]] = defaultdict(set)
    for event in monitoring.chosen("errors"):
        if event["user_id"] is not None:
            expected[bucket(time_of(event), step)].add(event["user_id"])
    rows = monitoring.rows("Active users")
    assert {row["time"]: row["users"] for row in rows if row["users"]} == {
        time: len(users) for time, users in expected.items()
    }
    first = int(time_range.start.timestamp() // step.total_seconds())
    assert len(rows) == -(-time_range.end.timestamp() // step.total_seconds()) - first


@every_choice
@every_time
def test_durations_and_counts(monitoring: Shown, time_range: TimeRange, interval: timedelta) -> None:
    monitoring.range, monitoring.interval = time_range, interval
    durations: dict[tuple[str, str], list[int]] = defaultdict(list)
    for event in monitoring.chosen("errors"):
        durations[event["scope"], event["source"]].append(event["duration"])
    counts = {(row["scope"], row["source"]): row["events"] for row in monitoring.rows("Number of events")}
    assert counts == {key: len(each) for key, each in durations.items()}
    timed = {key: sorted(filter(None, each)) for key, each in durations.items() if any(each)}
    rows = monitoring.rows("Duration of events")
    assert {(row.pop("scope"), row.pop("source")): row for row in rows} == {
        key: {
            "average": pytest.approx(fmean(each)),
            "slow": each[int(len(each) * 0.95)],
            "shortest": each[0],
            "longest": each[-1],
        }
        for key, each in timed.items()
    }


@every_choice
def test_exceptions(monitoring: Shown) -> None:
    exceptions = [event for event in monitoring.chosen("scopes") if event["scope"] == "send:exception"]
    counts = {row["time"]: row["exceptions"] for row in monitoring.rows("Exceptions")}
    assert counts == buckets(exceptions, HOUR)
    projects, tasks = names(monitoring.events, "project"), names(monitoring.events, "task")
    columns = ("timestamp", "user_id", "user_name", "source", "project_id", "task_id", "job_id", "payload")
    expected = [
        {column: event[column] for column in columns}
        | {
            "error": payload(event)["message"][:1000],
            "stack": payload(event)["stack"][:1000],
            "request_id": request_id(event),
            "payload": beginning(event["payload"]),
        }
        | {
            "project_name": projects.get(event["project_id"], ""),
            "task_name": tasks.get(event["task_id"], ""),
        }
        for event in sorted(exceptions, key=time_of, reverse=True)
    ]
    rows = monitoring.rows("Exceptions table")
    assert all(row.pop("event") for row in rows)
    assert rows == expected


@pytest.mark.parametrize(
    "values", [{}, {"users": ["2", "4"], "organizations": ["1"], "projects": ["2"]}], ids=str
)
def test_filters_offer_what_occurs(monitoring: Shown) -> None:
    projects, tasks = names(monitoring.events, "project"), names(monitoring.events, "task")

    def ids(column: str, known: dict[int, str], *earlier: str) -> list[list[str]]:
        others = [name for name in monitoring.values if name not in earlier]
        found = sorted({event[column] for event in monitoring.chosen(*others)} - {None}, reverse=True)
        return [[str(id_), f"{known[id_]} ({id_})" if id_ in known else str(id_)] for id_ in found]

    in_range = [event for event in monitoring.events if RANGE.start <= time_of(event) <= RANGE.end]
    assert monitoring.options("scopes") == [
        [scope] for scope in sorted({event["scope"] for event in in_range})
    ]
    assert monitoring.options("sources") == [["client"], ["server"]]
    assert monitoring.options("organizations") == [["1", "org'one (1)"], ["2", "orgtwo (2)"]]
    users = {
        str(event["user_id"]): _label(event)
        for event in monitoring.chosen("users", "projects")
        if event["user_id"]
    }
    assert sorted(monitoring.options("users")) == sorted([id_, label] for id_, label in users.items())
    assert monitoring.options("projects") == ids("project_id", projects, "organizations", "users")
    assert monitoring.options("tasks") == ids("task_id", tasks, "organizations", "users", "projects")
    jobs = ids("job_id", {}, "organizations", "users", "projects", "tasks")
    assert monitoring.options("jobs") == [[id_] for id_, _ in jobs]
    messages = {payload(e)["message"] for e in monitoring.chosen("scopes") if e["scope"] == "send:exception"}
    assert sorted(monitoring.options("errors")) == sorted([message] for message in messages - {""})


def test_times_are_written_as_clickhouse_writes_them(events: list[Event]) -> None:
    assert [event for event in events if text(time_of(event)) != event["timestamp"]] == []
