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
from cvat_analytics.store import migrations, smoke_events, ways_in
from tests.clickhouse import Store, way_to

SCRIPTS = migrations.read(ROOT / "clickhouse")
APPLIED = {script.name: script.checksum for script in SCRIPTS}
EVENT = {"scope": "save:job", "source": "client", "timestamp": "2026-01-30 10:00:00.000"}
LETTER = {"received_at": "2026-01-30 10:00:00.000", "reason": "r", "message": "m", "original": "{}"}
LATE = EVENT | {"timestamp": "2026-01-20 10:00:00.000"}
WAYS = {
    "incoming_events_judged": ("incoming_events", "events", EVENT),
    "judged_events_let_in": ("incoming_events", "events", EVENT),
    "judged_events_late": ("incoming_events", "events", LATE),
    "late_events_let_in": ("incoming_events", "events", LATE),
    "incoming_dead_letters_let_in": ("incoming_dead_letters", "events_dead_letter", LETTER),
}
"""Of each view where its rows are inserted, where they come to, and one that it hands on: late are events from before somebody was erased."""
CHANGED = {
    "another target": "DROP TABLE {view} SYNC; CREATE OR REPLACE TABLE elsewhere AS {target}; "
    "CREATE MATERIALIZED VIEW {view} TO elsewhere AS SELECT {column} FROM {source}",
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
    engine.post("INSERT INTO erasures VALUES (99, '2026-01-25 00:00:00.000')")
    return engine


def broken(store: Store, statements: str, view: str) -> None:
    table, way = WAYS[view][0], ways_in.VIEWS[view]
    names = {"view": view, "table": table, **vars(way), "column": way.column}
    for statement in statements.format(**names).split("; "):
        store.post(statement)


def insert(store: Store, view: str, *rows: dict[str, Any], user: str = "vector") -> None:
    body = "\n".join(map(json.dumps, rows))
    store.post(
        f"INSERT INTO {store.database}.{WAYS[view][0]} FORMAT JSONEachRow\n{body}",
        user=user,
        database="default",
    )


def stored(store: Store, view: str) -> int:
    return int(json.loads(store.post(f"SELECT count() FROM {WAYS[view][1]}"))["data"][0][0])


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


@pytest.mark.parametrize("view", WAYS)
def test_without_one_of_its_views_every_insert_is_refused_and_a_deploy_makes_it_again(
    store: Store, view: str
) -> None:
    table, target, row = WAYS[view]
    insert(store, view, row)
    assert stored(store, view) == 1
    assert says(store) == ([], "")
    assert deployed(store) == 0

    broken(store, "DROP TABLE {view} SYNC", view)
    for rows in ([row], []):  # of no rows: what the deploy asks before Vector starts
        for user in ("vector", "admin"):
            with pytest.raises(AssertionError, match=f"{view} does not exist"):
                insert(store, view, *rows, user=user)
    lines, schema = says(store)
    said = f"nothing comes into {store.database}.{target}: the view {store.database}.{view}, which hands on what is inserted, is missing"
    assert [line for line in lines if line.startswith(said) and line.endswith(": deploy again")]
    assert schema.startswith(said)
    assert schema.endswith(": deploy again")

    assert deployed(store) > 0
    assert deployed(store) == 0
    assert says(store) == ([], "")
    insert(store, view, row | {"scope" if table == "incoming_events" else "reason": "again"})
    assert stored(store, view) == 2


@pytest.mark.parametrize("statements", CHANGED.values(), ids=CHANGED)
@pytest.mark.parametrize("view", WAYS)
def test_a_view_that_writes_elsewhere_is_said_and_made_again(
    store: Store, view: str, statements: str
) -> None:
    table, target, row = WAYS[view]
    # a table without its constraint is told by the view that reads from it
    named = view if "{view}" in statements else next(n for n, w in ways_in.VIEWS.items() if w.source == table)
    broken(store, statements, view)
    lines, schema = says(store)
    assert any(named in line and line.endswith(": deploy again") for line in lines), lines
    assert named in schema
    assert f"nothing comes into {store.database}.{target}: " in schema
    assert deployed(store) > 0
    assert says(store) == ([], "")
    insert(store, view, row)
    assert stored(store, view) == 1


def test_events_that_are_late_and_events_that_are_not_are_stored_once_and_known_when_they_come_again(
    store: Store,
) -> None:
    rows = [EVENT | {"user_id": 7}, LATE | {"user_id": 7}, LATE | {"user_id": 99}, EVENT | {"user_id": 99}]
    for _ in range(2):
        insert(store, "incoming_events_judged", *rows)
    answer = json.loads(
        store.post("SELECT user_id, toString(timestamp) FROM events ORDER BY timestamp, user_id")
    )
    assert [(int(id), moment) for id, moment in answer["data"]] == [
        (7, LATE["timestamp"]),
        (7, EVENT["timestamp"]),
        (99, EVENT["timestamp"]),
    ]


def test_an_earlier_version_is_brought_up_to_date(store: Store) -> None:
    """Its one view wrote into `events` what is judged now: it must not stay beside the others."""
    columns = ", ".join(name for name in EVENT)
    store.post(
        f"CREATE MATERIALIZED VIEW incoming_events_let_in TO events AS SELECT {columns} FROM incoming_events"
    )
    (script,) = (each for each in SCRIPTS if each.name == ways_in.SCRIPT)
    for statement in migrations.statements(script.text(store.database)):
        store.post(statement)
    assert "incoming_events_let_in" not in store.post("SHOW TABLES")
    insert(store, "judged_events_late", LATE | {"user_id": 99})
    assert stored(store, "judged_events_late") == 0


@pytest.mark.parametrize(
    ("view", "way", "about"),
    [
        # without its newest column nothing would be accepted
        ("late_events_let_in", "events AS SELECT scope, access_token_id FROM late_events", LATE),
        (
            "known_names_from_naming_events",
            "known_names AS SELECT scope AS kind FROM naming_events",
            EVENT | {"scope": "create:task"},
        ),
    ],
    ids=["late", "naming"],
)
def test_a_long_query_is_not_run_for_events_that_it_is_not_about(
    shared_engine: Store, view: str, way: str, about: dict[str, Any]
) -> None:
    """Its analysis costs more than thousands of events, and ClickHouse does it whenever the view is given a row."""
    ordinary = [EVENT | {"scope": scope} for scope in ("change:frame", "save:job", "update:job", "load:job")]
    with shared_engine.another() as store:
        store.post("INSERT INTO erasures VALUES (99, '2026-01-25 00:00:00.000')")
        store.post(f"DROP VIEW {view} SYNC")
        store.post(f"CREATE MATERIALIZED VIEW {view} TO {way} WHERE throwIf(scope != '', 'it is run')")
        insert(store, "incoming_events_judged", *ordinary)
        assert stored(store, "incoming_events_judged") == len(ordinary)
        with pytest.raises(AssertionError, match="it is run"):
            insert(store, "incoming_events_judged", about)
