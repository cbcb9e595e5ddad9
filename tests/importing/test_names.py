"""Names for ids: the latest known one, in whatever order and however often the events come, past and future."""

from __future__ import annotations

import json
import random
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from cvat_analytics.base.project import ROOT
from cvat_analytics.store import migrations
from tests.clickhouse import Store

(SQL,) = (script.sql for script in migrations.read(ROOT / "clickhouse") if script.name == "views/names.sql")


@pytest.fixture(autouse=True)
def _empty(store: Store) -> None:
    store.post("TRUNCATE TABLE known_names")


def event(second: int, scope: str = "load:job", **fields: Any) -> dict[str, Any]:
    return {"scope": scope, "source": "server", "timestamp": f"2025-01-01 00:00:{second:02}.000", **fields}


HISTORY = [
    event(1, user_id=1, user_name="ann", user_email="ann@a.example"),
    event(5, user_id=1, user_name="anna", user_email=None),
    event(3, user_id=1, user_name="annie", user_email="annie@a.example"),
    event(2, user_id=2, user_name="bob"),
    event(2, user_id=3),
    event(2, user_name="nobody"),
    event(1, org_id=1, org_slug="old"),
    event(2, org_id=1, org_slug="new"),
    event(3, org_id=1, org_slug=None),
    event(1, org_id=2),
    # as CVAT writes them: the name is in obj_name, the payload has the rest
    event(1, "create:project", project_id=7, obj_id=7, obj_name="Cats", payload='{"status": "annotation"}'),
    event(2, "update:project", project_id=7, obj_name="name", obj_val="Big cats", payload='{"old_value": "Cats"}'),
    event(3, "update:project", project_id=7, obj_name="assignee", obj_val="None"),
    event(1, "create:task", project_id=7, task_id=8, obj_id=8, obj_name="name"),
    event(2, "update:task", project_id=7, task_id=8, obj_name="name", obj_val="Lions"),
    event(4, "delete:task", project_id=7, task_id=9, obj_id=9, obj_name="Tigers"),
    # as other versions might
    event(1, "create:project", obj_id=10, payload='{"name": "From the payload"}'),
    event(1, "create:project", project_id=11, payload="not JSON"),
    event(1, "update:task", obj_id=12, obj_name="name", obj_val="whose?"),
    event(1, "create:job", project_id=13, task_id=13, obj_id=13, obj_name="no task"),
    event(1, "create:label", project_id=14, task_id=14, obj_id=14, obj_name="no task either"),
]  # fmt: skip

EXPECTED = {
    "SELECT toUInt8(user_id), name, email FROM user_names ORDER BY user_id": [
        [1, "anna", "annie@a.example"],
        [2, "bob", ""],
    ],
    "SELECT toUInt8(org_id), slug FROM organization_names ORDER BY org_id": [[1, "new"]],
    "SELECT toUInt8(project_id), name FROM project_names ORDER BY project_id": [
        [7, "Big cats"],
        [10, "From the payload"],
    ],
    "SELECT toUInt8(task_id), name FROM task_names ORDER BY task_id": [[8, "Lions"], [9, "Tigers"]],
}


def names(store: Store) -> dict[str, list[Any]]:
    return {sql: json.loads(store.post(sql, user="grafana"))["data"] for sql in EXPECTED}


@pytest.mark.parametrize("seed", range(3))
def test_the_latest_name_is_known_in_any_order_and_after_repetition(store: Store, seed: int) -> None:
    history = HISTORY + HISTORY[::2]
    random.Random(seed).shuffle(history)
    for begin in range(0, len(history), 5):
        store.insert(history[begin : begin + 5])
    assert names(store) == EXPECTED


def test_names_of_events_that_were_there_before_are_found_when_the_views_are_made_again(store: Store) -> None:
    store.insert(HISTORY[::2])
    store.post("TRUNCATE TABLE known_names")
    for statement in migrations.statements(SQL):
        store.post(statement)
    store.insert(HISTORY[1::2])
    assert names(store) == EXPECTED
    for statement in migrations.statements(SQL):
        store.post(statement)
    assert names(store) == EXPECTED


def test_a_name_from_the_future_gives_way_to_one_that_comes_later(store: Store) -> None:
    store.insert([event(1, user_id=1, user_name="before")])
    store.insert([{**event(1, user_id=1, user_name="wrong clock"), "timestamp": "2099-01-01 00:00:00.000"}])
    assert [row["name"] for row in store.rows("SELECT name FROM user_names")] == ["wrong clock"]
    time.sleep(2)  # the time of arrival is known to the second
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}.999"
    store.insert([{**event(1, user_id=1, user_name="after"), "timestamp": now}])
    assert [row["name"] for row in store.rows("SELECT name FROM user_names")] == ["after"]


def test_an_insert_needs_no_right_but_that_on_the_events(store: Store) -> None:
    store.insert([event(1, user_id=1, user_name="ann")])
    with pytest.raises(AssertionError, match="ACCESS_DENIED"):
        store.post("INSERT INTO known_names (id) VALUES (1)", user="vector")
