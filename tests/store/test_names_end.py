"""Names and e-mail addresses of people go with the events that have told them, unless a setting says otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cvat_analytics.base.project import ROOT
from cvat_analytics.config.validation import validate
from cvat_analytics.connect.access import pairs
from cvat_analytics.store import migrations
from deploys import losses
from tests.clickhouse import Store, way_to

(SQL,) = (script.sql for script in migrations.read(ROOT / "clickhouse") if script.name == "views/names.sql")


TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
OLD, YOUNG, OLDER = (f"{TODAY - timedelta(days=days):%Y-%m-%d}" for days in (2000, 1000, 2500))


@pytest.fixture
def store(shared_engine: Store) -> Iterator[Store]:
    """Yield a database in which old events name ann, younger ones bob, and ann is given a job in one of today."""
    with shared_engine.another() as database:
        database.insert(
            [
                _event(OLD, 1, "ann", user_email="ann@example.org", org_id=3, org_slug="acme"),
                _event(YOUNG, 2, "bob", user_email="bob@example.org"),
                _event(OLD, 4, "eve", scope="create:task", task_id=9, obj_id=9, obj_name="cats"),
            ]
        )
        yield database


def _event(day: str, user: int, name: str, **fields: Any) -> dict[str, Any]:
    return {"scope": "load:job", "source": "client", "timestamp": f"{day} 00:00:00.000", "user_id": user, "user_name": name, **fields}  # fmt: skip


def engines(store: Store) -> dict[str, str]:
    return pairs(way_to(store.context).client(), migrations.engines_query(store.database))


def apply(store: Store, **values: str) -> list[str]:
    """Bring the names to the settings, as a deploy does, let ClickHouse remove what is due, and return the statements that it took."""
    chosen = validate(values | {"database": store.database}, where="test")
    statements = [each for each in migrations.retention(chosen, engines(store)) if "known_names" in each]
    for statement in statements:
        store.post(statement)
    store.post("OPTIMIZE TABLE known_names FINAL")
    return statements


def names(store: Store) -> dict[int, tuple[str, str]]:
    answer = json.loads(store.post("SELECT user_id, name, email FROM user_names ORDER BY user_id", user="grafana"))  # fmt: skip
    return {int(id_): (name, email) for id_, name, email in answer["data"]}


ANN, BOB, EVE = ("ann", "ann@example.org"), ("bob", "bob@example.org"), ("eve", "")


def test_names_of_people_go_with_the_retention_of_events_and_those_of_things_stay(store: Store) -> None:
    assert apply(store) == [], "for ever is for ever"
    assert len(apply(store, events_retention="1500d")) == 1
    assert names(store) == {2: BOB}
    assert store.rows("SELECT slug FROM organization_names") == [{"slug": "acme"}]
    assert store.rows("SELECT name FROM task_names") == [{"name": "cats"}]
    assert apply(store, events_retention="1500d") == [], "a second run changes nothing"


def test_a_name_that_a_younger_event_tells_stays_whoever_it_is_of(store: Store) -> None:
    person = json.dumps({"old_value": {"id": 1, "username": "ann"}})
    store.insert([_event(YOUNG, 2, "bob", scope="update:job", obj_name="assignee", obj_val="None", payload=person)])  # fmt: skip
    apply(store, events_retention="1500d")
    assert names(store) == {1: ("ann", ""), 2: BOB}, "the address has been told long ago only"


def test_an_old_event_that_comes_late_brings_no_name_back(store: Store) -> None:
    apply(store, events_retention="1500d")
    store.insert([_event(OLD, 7, "zoe")])
    apply(store, events_retention="1500d")
    assert names(store) == {2: BOB}


@pytest.mark.parametrize("keep", ["forever", "20y"])
def test_a_setting_keeps_names_longer_than_events(store: Store, keep: str) -> None:
    apply(store, events_retention="1500d", names_retention=keep)
    assert names(store) == {1: ANN, 2: BOB, 4: EVE}


def test_longer_again_takes_the_end_away(store: Store) -> None:
    apply(store, events_retention="4000d")
    (statement,) = apply(store, events_retention="4000d", names_retention="forever")
    assert statement == f"ALTER TABLE {store.database}.known_names REMOVE TTL"
    assert names(store) == {1: ANN, 2: BOB, 4: EVE}


def test_what_clickhouse_client_quotes_is_no_change(store: Store) -> None:
    apply(store, events_retention="1500d")
    as_told = {name: engine.replace("'", "\\'") for name, engine in engines(store).items()}
    chosen = validate({"database": store.database, "events_retention": "1500d"}, where="test")
    assert not [each for each in migrations.retention(chosen, as_told) if "known_names" in each]


def former(store: Store) -> None:
    """Make the table as earlier versions had it, with its names, of which the events are gone."""
    store.post("DROP VIEW known_objects_from_events")
    store.post("CREATE TABLE known_before AS known_names")
    store.post("ALTER TABLE known_before DROP COLUMN told_at")
    store.post("INSERT INTO known_before SELECT kind, id, name FROM known_names")
    store.post("DROP TABLE known_names SYNC")
    store.post("RENAME TABLE known_before TO known_names")
    store.post("TRUNCATE TABLE events")


def test_an_installation_of_an_earlier_version_asks_first_and_then_ends_names_too(store: Store) -> None:
    former(store)
    chosen = validate({"database": store.database, "events_retention": "1500d"}, where="test")
    (shorter,) = [each for each in losses.shorter(chosen, engines(store)) if each.setting == "names_retention"]  # fmt: skip
    answer = [[str(value) for value in row] for row in json.loads(store.post(shorter.question))["data"]]
    loss = (
        f"names_retention forever -> 1500d: 3 names and addresses of people from {OLD} 00:00:00 to {OLD} 00:00:00 UTC "
        "will be deleted"
    )
    assert shorter.loss(answer) == loss
    statements = migrations.statements(SQL)
    for _ in range(2):
        for statement in statements:
            store.post(statement)
    assert names(store) == {1: ANN, 2: BOB, 4: EVE}, "nothing goes before the settings say so"
    apply(store, events_retention="1500d")
    assert names(store) == {2: BOB}
    assert (
        shorter.loss(
            [[str(each) for each in row] for row in json.loads(store.post(shorter.question))["data"]]
        )
        == ""
    )


def test_names_of_the_version_before_last_are_as_old_as_it_says(store: Store) -> None:
    old = "kind LowCardinality(String), id UInt64, name AggregateFunction(argMax, String, DateTime64(3, 'Etc/UTC'))"
    for statement in ("VIEW known_objects_from_events", "TABLE known_names", "VIEW known_objects"):
        store.post(f"DROP {statement}")
    store.post("TRUNCATE TABLE events")
    store.post(f"CREATE TABLE known_objects ({old}) ENGINE = AggregatingMergeTree ORDER BY (kind, id)")
    store.post(
        "INSERT INTO known_objects SELECT 'user', id, argMaxState(name, at) FROM VALUES('id UInt64, name String, "
        f"at DateTime64(3, \\'Etc/UTC\\')', (5, 'fay', '{OLDER} 00:00:00'), (6, 'gus', '{YOUNG} 00:00:00')) GROUP BY id"
    )
    for statement in migrations.statements(SQL):
        store.post(statement)
    assert names(store) == {5: ("fay", ""), 6: ("gus", "")}
    apply(store, events_retention="1500d")
    assert names(store) == {6: ("gus", "")}
