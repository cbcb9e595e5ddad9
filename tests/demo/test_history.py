"""The demo's team: what it sends is in order, is the same for the same day, and has what the dashboards show."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from cvat_analytics import demo
from cvat_analytics.pipeline.events import Event
from cvat_analytics.store.event_columns import COLUMNS, OPTIONAL
from tests.store.working_time import reference
from tests.vector.configuration import Run

END = datetime(2026, 3, 18, 14, 20, tzinfo=UTC)


@pytest.fixture(scope="module")
def history() -> list[Event]:
    return list(demo.history(seed=1, end=END))


def _time(event: Event) -> float:
    return float(event["timestamp"])


def test_events_are_in_order_of_time_and_end_now(history: list[Event]) -> None:
    times = [_time(event) for event in history]
    assert times == sorted(times)
    assert times[0] >= (END - timedelta(days=demo.DAYS + 1)).timestamp()
    assert END.timestamp() - 120 < times[-1] < END.timestamp()


def test_events_are_in_wire_format_and_every_one_is_accepted(history: list[Event], run: Run) -> None:
    assert {tuple(event) for event in history} == {tuple(name for name in COLUMNS if name not in OPTIONAL)}
    sent = history[-300:]
    outputs = run(json.dumps(sent))
    assert outputs["dead_letter"] == []
    assert [row["payload"] for row in outputs["normalise"]] == [event["payload"] for event in sent]


def test_a_demo_on_another_day_sends_the_same_past(history: list[Event]) -> None:
    def events(sent: list[Event]) -> set[str]:
        # the first day and the last hours are of the day of the demo
        inside = ((END - timedelta(days=20)).timestamp(), (END - timedelta(hours=3)).timestamp())
        return {json.dumps(event) for event in sent if inside[0] < _time(event) < inside[1]}

    later = list(demo.history(seed=1, end=END + timedelta(days=2)))
    assert events(later) == events(history)
    assert events(list(demo.history(seed=2, end=END))) != events(history)


@pytest.mark.parametrize("days", range(7))
def test_every_task_has_a_name_before_anybody_works_on_it(days: int) -> None:
    made: dict[int, float] = {}
    unnamed = []
    for event in demo.history(seed=1, end=END + timedelta(days=days)):
        if event["scope"] == "create:task":
            made.setdefault(event["task_id"], _time(event))
        elif event["job_id"] and event["task_id"] not in made:
            unnamed.append(event)
    assert [(event["task_id"], event["timestamp"]) for event in unnamed] == []
    assert len(made) >= 40


def test_nobody_works_on_the_job_of_another(history: list[Event]) -> None:
    owners: dict[int, set[int]] = {}
    for event in history:
        if event["job_id"]:
            owners.setdefault(event["job_id"], set()).add(event["user_id"])
    assert {job: people for job, people in owners.items() if len(people) > 1} == {}


def test_the_dashboards_have_something_to_show(history: list[Event]) -> None:
    scopes = Counter(event["scope"] for event in history)
    assert scopes.keys() >= {
        "create:project",
        "update:task",
        "export:dataset",
        "call:function",
        "create:issue",
        "load:job",
        "draw:object",
        "change:frame",
        "save:job",
        "create:shapes",
        "send:exception",
    }
    completed = [
        event
        for event in history
        if (event["scope"], event["obj_name"], event["obj_val"]) == ("update:job", "state", "completed")
    ]
    days = {datetime.fromtimestamp(_time(event), UTC).date() for event in completed}
    assert len(days) > 18
    job_changes = Counter(event["obj_val"] for event in history if event["scope"] == "update:job")
    assert job_changes["rejected"] > 3, "reviewers find something"
    assert job_changes["validation"] > job_changes["acceptance"] > job_changes["rejected"]
    nights = [event for event in history if datetime.fromtimestamp(_time(event), UTC).hour in (22, 23, 0)]
    assert {event["user_name"] for event in nights} >= {"dmitri.volkov", "femi.adeyemi"}
    payloads = [json.loads(event["payload"]) for event in history]
    assert len({payload["platform"]["name"] for payload in payloads if "platform" in payload}) >= 4
    assert {payload.get("status_code") for payload in payloads} >= {503, 400, 404, 409}
    by_hour = Counter(int(_time(event) // 3600) for event in history if event["scope"] == "send:exception")
    assert max(by_hour.values()) > 5 * sorted(by_hour.values())[len(by_hour) // 2]


def test_some_are_at_work_now_and_nobody_at_two_desks(history: list[Event]) -> None:
    active = Counter(event["user_id"] for event in history if _time(event) > END.timestamp() - 900)
    assert len(active) >= 4
    loads = Counter(
        event["user_id"]
        for event in history
        if event["scope"] == "load:cvat" and _time(event) > END.timestamp() - 7200
    )
    assert max(loads.values()) <= 3


def test_the_team_goes_on_working() -> None:
    live = demo.live(seed=1, start=END)
    events = [next(live) for _ in range(3000)]
    times = [_time(event) for event in events]
    assert times == sorted(times)
    assert END.timestamp() <= times[0] < END.timestamp() + 300
    gaps = [after - before for before, after in pairwise(times)]
    assert max(gaps) < 900


def test_reported_time_is_a_little_more_than_what_events_show(history: list[Event]) -> None:
    """By the stated rule, for each person until they reported last; what nobody saved in the evening is not reported."""
    for user in {event["user_id"] for event in history}:
        own = [event for event in history if event["user_id"] == user]
        last = max(number for number, event in enumerate(own) if event["scope"] == "send:working_time")
        reported = sum(event["duration"] for event in own if event["scope"] == "send:working_time")
        shown = reference.spans(
            reference.Event(
                user, round(_time(event) * 1000), event["scope"], event["duration"], source=event["source"]
            )
            for event in own[:last]
        )
        computed = sum(span.end_ms - span.start_ms for span in shown)
        assert 1 < reported / computed < 1.08, user
