"""In which stage a job was completed: what really happened to invented jobs, against what the events of it tell in any order."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cvat_analytics.base.project import ROOT
from cvat_analytics.store import migrations
from tests.clickhouse import Store

Event = dict[str, Any]
STAGES = ("annotation", "validation", "acceptance")
(SQL,) = (s.sql for s in migrations.read(ROOT / "clickhouse") if s.name == "views/completed_jobs.sql")


@pytest.fixture(scope="module")
def engine(shared_engine: Store) -> Iterator[Store]:
    with shared_engine.another() as store:
        yield store


@pytest.fixture
def store(engine: Store) -> Store:
    clear(engine)
    return engine


def clear(store: Store) -> None:
    for table in ("events", "job_changes"):
        store.post(f"TRUNCATE TABLE {table}")


def event(ms: int, job: int, **fields: Any) -> Event:
    return {
        "scope": "update:job",
        "source": "server",
        "timestamp": f"2025-01-01 00:{ms // 60_000:02}:{ms // 1000 % 60:02}.{ms % 1000:03}",
        "job_id": job,
        **fields,
    }


def changed(
    ms: int, job: int, prop: str, value: str, old: str | None, request: str | None, **more: Any
) -> Event:
    payload = {"old_value": old, "request": {"id": request}}
    return event(ms, job, obj_name=prop, obj_val=value, payload=json.dumps(payload), **more)


def rows(store: Store) -> list[tuple[str, int, str]]:
    """Return when which job was completed in which stage, as a reader sees it."""
    sql = "SELECT timestamp, job_id, stage FROM completed_jobs ORDER BY ALL"
    return [
        (time, int(job), stage) for time, job, stage in json.loads(store.post(sql, user="grafana"))["data"]
    ]


Lived = tuple[list[Event], list[tuple[str, int, str]]]


def lived(job: int, dice: random.Random) -> Lived:
    """Return what is known of a job's life (its beginning may not be), and when it was completed in which stage."""
    ms = job * 10_000
    stage, state = dice.choice(STAGES[:2]), "new"
    happened: list[list[Event]] = []
    completed: list[tuple[int, str, str]] = []
    created = {"obj_id": job, "payload": json.dumps({"stage": stage, "state": state})}
    if stage == "annotation" and dice.random() < 0.3:
        created["payload"] = "{}"
    happened.append([event(ms, job, scope="create:job", **created)])
    for number in range(dice.randint(0, 6)):
        ms += dice.randint(2, 900)
        new_stage = dice.choice((*STAGES, stage, stage))
        new_state = dice.choice(("in progress", "completed", "completed", "rejected", state))
        # the two events of one request come in any order, in the same or in the next millisecond
        times = [ms + dice.randint(0, 1), ms + dice.randint(0, 1)]
        request = f"request {job} {number}"
        by = {"user_id": dice.choice([None, 1, 2]), "task_id": job // 2}
        events = [changed(times[0], job, "assignee", "None", None, request, **by)] * dice.randint(0, 1)
        if new_stage != stage:
            events.append(changed(times[0], job, "stage", new_stage, stage, request, **by))
        if new_state != state:
            events.append(changed(times[1], job, "state", new_state, state, request, **by))
        stage, state = new_stage, new_state
        if events and events[-1]["obj_val"] == "completed":
            completed.append((len(happened), events[-1]["timestamp"], stage))
        happened.append(events)
    known_since = dice.choice([0, 0, dice.randint(0, len(happened) - 1)])
    events = [each for request_ in happened[known_since:] for each in request_]
    tells = any(each["scope"] == "create:job" or each["obj_name"] == "stage" for each in events)
    return events, [
        (time, job, stage if tells else "unknown")
        for number, time, stage in completed
        if number >= known_since
    ]


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), count=st.integers(1, 30), parts=st.integers(1, 4))
def test_the_stage_is_known_in_any_order_and_after_repetition(
    store: Store, seed: int, count: int, parts: int
) -> None:
    clear(store)
    dice = random.Random(seed)
    lives = [lived(job, dice) for job in range(1, count + 1)]
    events = [each for known, _ in lives for each in known]
    expected = sorted(each for _, completed in lives for each in completed)
    arriving = events + dice.sample(events, len(events) // 3)
    dice.shuffle(arriving)
    for part in range(parts):
        if arriving[part::parts]:
            store.insert(arriving[part::parts])
    assert rows(store) == expected
    store.post("TRUNCATE TABLE job_changes")
    for statement in migrations.statements(SQL):
        store.post(statement)
    assert rows(store) == expected, "made anew from the stored events"


def test_one_job_is_completed_in_each_of_its_stages(store: Store) -> None:
    """A sequence as a CVAT 2.42 sent it: completed, to validation, rejected, completed again, accepted."""
    job = 1
    store.insert(
        [
            event(0, job, scope="create:job", obj_id=job, payload='{"stage": "annotation"}'),
            changed(14_000, job, "state", "completed", "in progress", "a"),
            changed(14_400, job, "stage", "validation", "annotation", "b"),
            changed(14_400, job, "state", "new", "completed", "b"),
            changed(15_700, job, "state", "rejected", "in progress", "c"),
            changed(16_000, job, "stage", "annotation", "validation", "d"),
            changed(16_001, job, "state", "in progress", "rejected", "d"),
            changed(16_300, job, "state", "completed", "in progress", "e"),
            changed(16_600, job, "stage", "acceptance", "annotation", "f"),
            changed(16_600, job, "state", "in progress", "completed", "f"),
            changed(17_100, job, "state", "completed", "in progress", "g"),
        ]
    )
    assert [stage for _, _, stage in rows(store)] == ["annotation", "annotation", "acceptance"]


def test_events_without_a_job_or_of_other_kinds_are_no_completions(store: Store) -> None:
    store.insert(
        [
            changed(1, 1, "state", "completed", None, "a") | {"job_id": None},
            changed(1, 1, "state", "completed", None, "a") | {"scope": "update:task"},
            changed(1, 1, "status", "completed", None, "a"),
            event(2, 1, scope="create:job", obj_id=2, payload="not JSON") | {"job_id": None},
            changed(2, 2, "state", "completed", None, None),
            changed(3, 3, "state", "completed", None, None),
            # of another job, though of the same request
            changed(3, 4, "stage", "acceptance", "", None),
        ]
    )
    assert [(job, stage) for _, job, stage in rows(store)] == [(2, "annotation"), (3, "unknown")]


def test_an_installation_of_an_earlier_version_keeps_what_it_had(store: Store) -> None:
    """Its table has completions of which the events are gone, and others that are still there."""
    kept = changed(5, 1, "state", "completed", "new", "a", user_id=7)
    store.insert([kept])
    for name in ("VIEW completed_jobs_from_events", "VIEW completed_jobs", "TABLE job_changes"):
        store.post(f"DROP {name}")
    store.post(
        "CREATE TABLE completed_jobs (timestamp DateTime64(3, 'Etc/UTC'), user_id Nullable(UInt64), org_id Nullable(UInt64), "
        "project_id Nullable(UInt64), task_id Nullable(UInt64), job_id UInt64) ENGINE = ReplacingMergeTree "
        "ORDER BY (timestamp, job_id, user_id, task_id, project_id, org_id) SETTINGS allow_nullable_key = 1"
    )
    store.post(
        f"INSERT INTO completed_jobs (timestamp, user_id, job_id) VALUES ('{kept['timestamp']}', 7, 1), ('2024-01-01 00:00:00.000', 8, 2)"
    )
    statements = migrations.statements(SQL)
    for stop in range(len(statements)):  # interrupted anywhere, and done again
        for statement in statements[: stop + 1]:
            store.post(statement)
    assert rows(store) == [("2024-01-01 00:00:00.000", 2, "unknown"), (kept["timestamp"], 1, "unknown")]
    assert [
        row["user_id"] for row in store.rows("SELECT user_id FROM completed_jobs ORDER BY timestamp")
    ] == [8, 7]
    store.insert([changed(9, 1, "stage", "validation", "annotation", "b")])
    assert [stage for _, _, stage in rows(store)] == ["unknown", "annotation"]
