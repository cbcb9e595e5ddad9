"""A dead letter is read once however often its producer has sent it, also one from before that was so."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from cvat_analytics.base.project import ROOT
from cvat_analytics.store import migrations
from tests.clickhouse import Store

MIGRATION = "migrations/0005_dead_letters_once.sql"


@pytest.fixture(scope="module")
def engine(shared_engine: Store) -> Iterator[Store]:
    with shared_engine.another() as store:
        yield store


def insert(
    engine: Store, when: str, original: str, *, database: str | None = None, user: str = "vector"
) -> None:
    letter = {"received_at": when, "reason": "bad count", "message": "must be", "original": original}
    # an older database has no other table
    table = "incoming_dead_letters" if user == "vector" else "events_dead_letter"
    engine.post(
        f"INSERT INTO {table} FORMAT JSONEachRow\n{json.dumps(letter)}",
        user=user,
        database=database,
    )


def test_a_letter_that_comes_again_is_read_once_also_in_another_month(engine: Store) -> None:
    for when in ("2026-01-31 23:59:59.999", "2026-02-01 00:00:02.000", "2026-02-01 00:00:02.000"):
        insert(engine, when, '{"a":1}')
    insert(engine, "2026-01-01 00:00:00.000", '{"a":2}')
    assert engine.rows(
        "SELECT original, toString(received_at) AS at FROM events_dead_letter ORDER BY original"
    ) == [
        {"original": '{"a":1}', "at": "2026-02-01 00:00:02.000"},
        {"original": '{"a":2}', "at": "2026-01-01 00:00:00.000"},
    ]


def statements(name: str) -> list[str]:
    (script,) = [each for each in migrations.read(ROOT / "clickhouse") if each.name == name]
    return migrations.statements(script.sql)


@pytest.mark.parametrize("done", range(len(statements(MIGRATION)) + 1))
def test_older_letters_are_kept_wherever_the_migration_is_interrupted(engine: Store, done: int) -> None:
    database = f"older_{done}"
    engine.post(f"CREATE DATABASE {database}", database="default")
    for statement in statements("init.sql"):
        engine.post(statement, database=database)
    for when in ("2026-01-01 00:00:00.000", "2026-01-01 00:00:02.000"):
        insert(engine, when, "before", database=database, user="admin")
    for statement in statements(MIGRATION)[:done]:
        engine.post(statement, database=database)
    insert(engine, "2026-01-01 00:00:03.000", "meanwhile", database=database, user="admin")
    for statement in statements(MIGRATION):
        engine.post(statement, database=database)
    letters = engine.post(
        "SELECT original FROM events_dead_letter FINAL ORDER BY original", database=database
    )
    assert json.loads(letters)["data"] == [["before"], ["meanwhile"]]
    tables = json.loads(engine.post("SHOW TABLES", database=database))["data"]
    assert ["events_dead_letter_other"] not in tables
