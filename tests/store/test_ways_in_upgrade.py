"""An upgrade loses no event: what is inserted after each of its statements is refused, so that it comes again, or stored as it is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import jinja2
import pytest

from cvat_analytics.base.project import ROOT
from cvat_analytics.connect.access import pairs
from cvat_analytics.store import erasures, migrations, ways_in
from cvat_analytics.store.event_columns import COLUMNS
from tests.clickhouse import Store, way_to
from tests.store import former_table

FORMER = Path(__file__).parent / "former"
"""The scripts of before events were judged first, and of before there were projections."""
MIGRATION = "migrations/0012_counts_by_projection.sql"
NEW = "subscription_id"
"""A column that a newer version may add."""
ORDINARY, LATE = "2026-01-30 10:00:00.000", "2026-01-20 10:00:00.000"


class Inserting:
    """Vector, which inserts an event of now and a late one whenever it is told to, and knows what has been accepted."""

    def __init__(self, store: Store, *columns: str) -> None:
        self.store, self.columns = store, columns
        self.number, self.accepted = 0, list[int]()

    def insert(self) -> bool:
        """Return whether an event of now and a late one were accepted, which are inserted with the texts of `columns`."""
        self.number += 1
        told = f"told {self.number}"
        rows = [
            {"scope": "save:job", "source": "client", "timestamp": moment, "obj_id": self.number}
            | dict.fromkeys(self.columns, told)
            for moment in (ORDINARY, LATE)
        ]
        names = ", ".join(rows[0])
        body = "\n".join(map(json.dumps, rows))
        try:
            self.store.post(
                f"INSERT INTO incoming_events ({names}) FORMAT JSONEachRow\n{body}", user="vector"
            )
        except AssertionError:
            return False
        self.accepted.append(self.number)
        return True

    def check(self, statement: str) -> None:
        """Assert that all that was accepted is stored, and as it was."""
        told = f"count({', '.join(self.columns)})" if self.columns else "count()"
        query = f"SELECT obj_id, {told} FROM events FINAL GROUP BY obj_id HAVING {told} = 2 ORDER BY obj_id"
        stored = [int(id) for id, _ in json.loads(self.store.post(query))["data"] if int(id) in self.accepted]
        assert stored == self.accepted, statement


@pytest.fixture
def store(shared_engine: Store) -> Iterator[Store]:
    """Return a database to whose views what is older than an erasure is late."""
    with shared_engine.another() as made:
        made.post("INSERT INTO erasures VALUES (99, '2026-01-25 00:00:00.000')")
        yield made


def upgraded(store: Store, statements: Iterable[str], *inserting: Inserting) -> list[bool]:
    """Run `statements` and return of each whether all that was inserted after it was accepted."""
    found = []
    for statement in statements:
        store.post(statement)
        found.append(all(list(map(Inserting.insert, inserting))))
        for each in inserting:
            each.check(statement)
    return found


def test_events_are_let_in_by_the_tables_of_the_version_before_until_these_are_replaced(store: Store) -> None:
    """ClickHouse has the new version's users from the beginning; until the schema is up to date, events of many months are counted anew."""
    scripts = {script.name: script for script in migrations.read(ROOT / "clickhouse")}
    for table in (*ways_in.VIEWS, "judged_events", "late_events", "incoming_events"):
        store.post(f"DROP TABLE {table} SYNC")
    former_table.drop_counts(store)
    former = [
        scripts["migrations/0002_event_counts.sql"].sql,
        *(
            jinja2.Template((FORMER / name).read_text()).render(erasures=erasures, database=store.database)
            for name in ("event_counts.sql", "incoming.sql")
        ),
    ]
    for script in former:
        for statement in migrations.statements(script):
            store.post(statement)

    vector = Inserting(store)
    assert vector.insert()
    before = [
        script for name, script in scripts.items() if name.startswith("views/") and name < ways_in.SCRIPT
    ]
    for script in (scripts[MIGRATION], *before):
        statements = migrations.statements(script.text(store.database))
        assert all(upgraded(store, statements, vector)), script.name
    *replacing, last = migrations.statements(scripts[ways_in.SCRIPT].text(store.database))
    let_in = upgraded(store, replacing, vector)
    assert let_in[0]
    assert all(upgraded(store, [last], vector))
    for name in ("views/names.sql", "views/working_time.sql"):
        assert all(upgraded(store, migrations.statements(scripts[name].text(store.database)), vector)), name


def test_a_new_column_comes_into_an_installed_schema_and_no_event_is_stored_without_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(COLUMNS, NEW, "Nullable(String)")
    (script,) = (each for each in migrations.read(ROOT / "clickhouse") if each.name == ways_in.SCRIPT)
    vector, newer = Inserting(store), Inserting(store, NEW)
    newer.number = 1_000_000
    assert vector.insert()
    assert not newer.insert()
    upgraded(store, [f"ALTER TABLE events ADD COLUMN {NEW} Nullable(String)"], vector, newer)
    statements = migrations.statements(script.text(store.database))
    let_in = upgraded(store, statements, vector, newer)
    assert let_in[-1]
    # and again, as a deploy does that was cut off
    assert all(upgraded(store, statements, vector, newer))


def test_dead_letters_with_a_new_column_wait_for_a_view_that_knows_it(store: Store) -> None:
    """Here the view is of before there was the newest column of today."""
    (script,) = (each for each in migrations.read(ROOT / "clickhouse") if each.name == ways_in.SCRIPT)
    letter = {"received_at": ORDINARY, "reason": "r", "message": "m", "original": "{}", "sender": "cvat"}
    store.post(
        "ALTER TABLE incoming_dead_letters_let_in MODIFY QUERY SELECT received_at, reason, message, original FROM incoming_dead_letters"
    )

    def inserted() -> bool:
        try:
            store.post(
                f"INSERT INTO incoming_dead_letters FORMAT JSONEachRow\n{json.dumps(letter)}", user="vector"
            )
        except AssertionError:
            return False
        return True

    accepted = 0
    for statement in migrations.statements(script.text(store.database)):
        store.post(statement)
        accepted += inserted()
        kept = json.loads(store.post("SELECT count() FROM events_dead_letter WHERE sender = 'cvat'"))["data"]
        assert int(kept[0][0]) == min(accepted, 1), statement
    assert inserted()


def test_a_table_without_its_constraint_loses_nothing_while_a_deploy_makes_it_again(store: Store) -> None:
    store.post(
        "CREATE OR REPLACE TABLE incoming_events ENGINE = `Null` AS SELECT * FROM incoming_events LIMIT 0"
    )
    scripts = migrations.read(ROOT / "clickhouse")
    client = way_to(store.context).client()
    client.database = store.database
    statements = migrations.ways_in_anew(
        store.database,
        {script.name: script.checksum for script in scripts},
        pairs(client, migrations.engines_query(store.database)),
        scripts,
    )
    assert statements
    assert upgraded(store, statements, Inserting(store))[-1]


def test_names_are_read_from_a_column_that_the_installed_table_lacked(store: Store) -> None:
    """What the script is applied to is a table of before there were all the columns that it reads today."""
    (script,) = (each for each in migrations.read(ROOT / "clickhouse") if each.name == "views/names.sql")
    store.post("DROP VIEW known_names_from_naming_events SYNC")
    store.post("DROP VIEW naming_events_from_events SYNC")
    store.post("CREATE OR REPLACE TABLE naming_events (scope String) ENGINE = `Null`")
    for number, statement in enumerate(migrations.statements(script.text(store.database)), 1):
        store.post(statement)
        store.insert(
            [
                {
                    "scope": "create:task",
                    "source": "server",
                    "timestamp": ORDINARY,
                    "task_id": number,
                    "obj_name": f"task {number}",
                }
            ]
        )
    known = store.rows("SELECT task_id, name FROM task_names ORDER BY task_id")
    assert {int(row["task_id"]): row["name"] for row in known} == {
        each: f"task {each}" for each in range(1, number + 1)
    }
