"""Without the view behind it nothing is accepted and lost: each insert is refused, it is said, and the next deploy makes it again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.base.project import ROOT
from cvat_analytics.checks import smoke, work
from cvat_analytics.checks.units import Unit
from cvat_analytics.connect.access import Access, pairs
from cvat_analytics.store import migrations, smoke_events
from tests.clickhouse import Store, way_to

SCRIPTS = migrations.read(ROOT / "clickhouse")
APPLIED = {script.name: script.checksum for script in SCRIPTS}
EVENT = {"scope": "save:job", "source": "client", "timestamp": "2026-01-30 10:00:00.000"}
LETTER = {"received_at": "2026-01-30 10:00:00.000", "reason": "r", "message": "m", "original": "{}"}
WAYS = {
    "incoming_events": ("incoming_events_let_in", "events", EVENT),
    "incoming_dead_letters": ("incoming_dead_letters_let_in", "events_dead_letter", LETTER),
}
CHANGED = {
    "another target": "DROP TABLE {view} SYNC; CREATE OR REPLACE TABLE elsewhere AS {target}; "
    "CREATE MATERIALIZED VIEW {view} TO elsewhere AS SELECT * FROM {table}",
    "another source": "DROP TABLE {view} SYNC; CREATE OR REPLACE TABLE elsewhere AS {target}; "
    "CREATE MATERIALIZED VIEW {view} TO {target} AS SELECT * FROM elsewhere",
    "a table in its place": "DROP TABLE {view} SYNC; CREATE TABLE {view} AS {target}",
    "a table without its constraint": "CREATE OR REPLACE TABLE {table} ENGINE = `Null` AS SELECT * FROM {table} LIMIT 0",
}


@pytest.fixture(scope="module")
def engine(shared_engine: Store) -> Iterator[Store]:
    with shared_engine.another() as store:
        for script in SCRIPTS:
            store.post(migrations.record(script, store.database))
        yield store


@pytest.fixture
def store(engine: Store) -> Store:
    """Return a database with the ledger of a deploy and nothing else; each test leaves it as a deploy does."""
    for table in ("events", "events_dead_letter"):
        engine.post(f"TRUNCATE TABLE {table} SYNC")
    return engine


def broken(store: Store, statements: str, table: str) -> None:
    view, target, _ = WAYS[table]
    for statement in statements.format(view=view, target=target, table=table).split("; "):
        store.post(statement)


def insert(store: Store, table: str, *rows: dict[str, Any], user: str = "vector") -> None:
    body = "\n".join(map(json.dumps, rows))
    store.post(
        f"INSERT INTO {store.database}.{table} FORMAT JSONEachRow\n{body}", user=user, database="default"
    )


def stored(store: Store, table: str) -> int:
    return int(json.loads(store.post(f"SELECT count() FROM {WAYS[table][1]}"))["data"][0][0])


def deployed(store: Store) -> int:
    """Bring the database to what a deploy, or `up`, makes of it, and return how many statements that took."""
    client, settings = way_to(store.context).client(), store.context.settings
    client.database = store.database
    engines = pairs(client, migrations.engines_query(store.database))
    statements = migrations.ways_in_anew(settings.database, APPLIED, engines, SCRIPTS)
    for statement in statements:
        client.command(statement)
    return len(statements)


def says(store: Store) -> tuple[list[str], str]:
    """Return what `status` says of ClickHouse, and what the smoke test's check of the schema does."""
    access: Access = way_to(store.context)
    found = work.works(access, "clickhouse", Unit(active=True))
    assert (found.state == "failing") == bool(found.problem), found
    run = smoke.Smoke(access, smoke_events.new_marker())
    (check,) = (check for check in run.checks() if check.name == "schema-version")
    try:
        check.do()
    except CvatAnalyticsError as error:
        return found.problem.splitlines(), str(error)
    return found.problem.splitlines(), ""


@pytest.mark.parametrize("table", WAYS)
def test_without_its_view_every_insert_is_refused_and_a_deploy_makes_it_again(
    store: Store, table: str
) -> None:
    view, target, row = WAYS[table]
    insert(store, table, row)
    assert stored(store, table) == 1
    assert says(store) == ([], "")
    assert deployed(store) == 0

    broken(store, "DROP TABLE {view} SYNC", table)
    for rows in ([row], []):  # of no rows: what the deploy asks before Vector starts
        for user in ("vector", "admin"):
            with pytest.raises(AssertionError, match=f"{view} does not exist"):
                insert(store, table, *rows, user=user)
    lines, schema = says(store)
    said = f"nothing comes into {store.database}.{target}: the view {store.database}.{view}, which hands on what is inserted, is missing"
    assert [line for line in lines if line.startswith(said) and line.endswith(": deploy again")]
    assert schema.startswith(said)
    assert schema.endswith(": deploy again")

    assert deployed(store) > 0
    assert deployed(store) == 0
    assert says(store) == ([], "")
    insert(store, table, row | {"scope" if table == "incoming_events" else "reason": "again"})
    assert stored(store, table) == 2


@pytest.mark.parametrize("statements", CHANGED.values(), ids=CHANGED)
@pytest.mark.parametrize("table", WAYS)
def test_a_view_that_writes_elsewhere_is_said_and_made_again(
    store: Store, table: str, statements: str
) -> None:
    broken(store, statements, table)
    lines, schema = says(store)
    assert any(WAYS[table][0] in line and line.endswith(": deploy again") for line in lines), lines
    assert WAYS[table][0] in schema
    assert deployed(store) > 0
    assert says(store) == ([], "")
    insert(store, table, WAYS[table][2])
    assert stored(store, table) == 1
