"""The made-up annotation session is what CVAT would send."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from cvat_analytics.pipeline import events
from tests.vector.conftest import Run

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
FIELDS = (
    *("scope", "obj_name", "obj_id", "obj_val", "source", "timestamp", "count", "duration"),
    *(
        "project_id",
        "task_id",
        "job_id",
        "user_id",
        "user_name",
        "user_email",
        "org_id",
        "org_slug",
        "payload",
    ),
)


def session(seed: int = 1, **options: int) -> list[events.Event]:
    return list(events.make_session(seed=seed, start=START, duration=timedelta(hours=2), **options))


def test_a_seed_gives_one_session() -> None:
    assert session() == session()
    assert session() != session(2)


def test_events_are_in_wire_format_and_in_order_of_time() -> None:
    sent = session()
    assert {tuple(event) for event in sent} == {FIELDS}
    times = [float(event["timestamp"]) for event in sent]
    assert times == sorted(times)
    assert START.timestamp() <= times[0]
    assert times[-1] < (START + timedelta(hours=2)).timestamp()
    assert all(isinstance(json.loads(event["payload"]), dict) for event in sent)


def test_a_session_has_what_the_dashboards_show() -> None:
    sent = session()
    scopes = {event["scope"] for event in sent}
    assert scopes >= {"load:cvat", "load:job", "draw:object", "change:frame", "save:job", "send:working_time"}
    assert scopes >= {"send:exception", "create:task", "create:shapes", "update:job"}
    assert len({event["user_id"] for event in sent}) == 4
    assert any("request" in json.loads(event["payload"]) for event in sent)
    assert all("platform" in json.loads(event["payload"]) for event in sent if event["scope"] == "load:cvat")


def test_reported_working_time_is_that_of_the_client_events() -> None:
    """The rule again, in the plain form in which CVAT states it, for each user who reported last at the very end."""
    for user in range(1, 5):
        covered = worked = reported = 0.0
        for event in session():
            if event["user_id"] != user:
                continue
            if event["scope"] == "send:working_time":
                reported += event["duration"] / 1000
                assert abs(worked - reported) < 0.1
                continue
            if event["source"] != "client":
                continue
            start = float(event["timestamp"])
            end = start + (event["duration"] / 1000 if event["scope"] == "change:frame" else 0)
            if covered:
                if covered < start < covered + 100:
                    worked += start - covered
                worked += max(0.0, end - max(start, covered))
            else:
                worked += end - start
            covered = max(covered, end)
        assert reported > 0


def test_ids_can_begin_anywhere() -> None:
    assert {event["user_id"] for event in session(first_id=5000, users=2)} == {5000, 5001}


def test_every_event_is_accepted(run: Run) -> None:
    sent = session()[:300]
    outputs = run(json.dumps(sent))
    assert outputs["dead_letter"] == []
    assert [row["payload"] for row in outputs["normalise"]] == [event["payload"] for event in sent]
