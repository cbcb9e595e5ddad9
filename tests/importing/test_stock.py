"""`cvat-analytics stock`: a stock table becomes the stack's own where it stands; nothing is lost on the way there or back."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from cvat_analytics.connect.access import Access
from cvat_analytics.importing import stock
from cvat_analytics.importing.tables import Table
from cvat_analytics.store.event_columns import COLUMNS
from tests.clickhouse import Store, running
from tests.importing.samples import STOCK_COLUMNS, content, events, fill, stock_table
from tests.killing import killed

Run = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Return an engine of their own: the database is one as CVAT makes it, by its name."""
    with running(tmp_path_factory.mktemp("stock")) as store:
        yield store


@pytest.fixture
def store(engine: Store) -> Store:
    """Return the store as a stock installation would be, without any table."""
    engine.post("DROP DATABASE IF EXISTS cvat SYNC", database="system")
    engine.post("DROP DATABASE IF EXISTS cvat_conversion SYNC", database="system")
    engine.post("CREATE DATABASE cvat", database="system")
    return engine


def stock_installation(store: Store, columns: int = 18, count: int = 3000) -> list[dict[str, Any]]:
    """Make a stock table in the stack's own database, with repetitions in it, and return its events."""
    made = events(count)
    store.post(
        f"CREATE TABLE cvat.events ({', '.join(f'{name} {kind}' for name, kind in list(STOCK_COLUMNS.items())[:columns])}) "
        "ENGINE = MergeTree PARTITION BY toYYYYMM(timestamp) ORDER BY timestamp"
    )
    fill(store, made + made[:500], "cvat", columns)
    return made


def rows(store: Store, query: str) -> list[dict[str, Any]]:
    """Return the rows as who may see everything: a conversion's tables are nobody else's. Each event once, as readers see it."""
    answer = json.loads(store.post(f"{query} SETTINGS final = 1"))
    names = [column["name"] for column in answer["meta"]]
    return [dict(zip(names, row, strict=True)) for row in answer["data"]]


def tables(store: Store) -> dict[str, str]:
    query = "SELECT name, engine FROM system.tables WHERE database = 'cvat' AND name LIKE 'events%' AND name NOT IN ('events_dead_letter', 'events_as_stored')"
    return {row["name"]: row["engine"] for row in rows(store, query)}


def count(store: Store, table: str) -> int:
    return int(rows(store, f"SELECT count() AS n FROM {table}")[0]["n"])


NEW = {"scope": "save:job", "source": "client", "user_id": 1, "user_name": "new"}


@pytest.mark.parametrize("columns", [17, 18])
def test_there_and_back_and_there_for_good(store: Store, run: Run, columns: int) -> None:
    stock_installation(store, columns)
    names = ", ".join(list(COLUMNS)[:columns])
    before = content(store, "cvat.events", names)
    raw = count(store, "cvat.events")

    code, output = run("stock", "convert")
    assert code == 0, output
    assert tables(store) == {"events": "ReplacingMergeTree", "events_stock": "MergeTree"}
    assert content(store, "cvat.events", names) == before
    assert rows(store, "SELECT name FROM system.databases WHERE name LIKE '%conversion'") == []

    arrived = [{**NEW, "timestamp": f"2026-01-01 00:00:00.{number:03}"} for number in range(20)]
    arrived[0]["access_token_id"] = 5
    store.insert(arrived)
    converted = content(store, "cvat.events")
    code, output = run("stock", "rollback")
    assert code == 0, output
    assert "20 events that had arrived in the meantime" in output
    assert tables(store) == {"events": "MergeTree"}
    assert count(store, "cvat.events") == raw + 20
    assert content(store, "cvat.events") == converted

    for _ in range(2):
        code, output = run("stock", "convert")
        assert code == 0, output
    store.insert([{**NEW, "timestamp": "2026-02-01 00:00:00.000"}])
    code, output = run("stock", "confirm", "--yes")
    assert code == 0, output
    assert tables(store) == {"events": "ReplacingMergeTree"}
    assert len(content(store, "cvat.events")) == len(converted) + 1
    assert rows(store, "SELECT name FROM user_names WHERE user_id = 1") == [{"name": "new"}]


def test_a_table_that_has_a_column_of_a_newer_cvat_since_goes_back_all_the_same(
    store: Store, access: Access, run: Run
) -> None:
    stock_installation(store, count=50)
    run("stock", "convert")
    store.post("ALTER TABLE cvat.events ADD COLUMN label_id Nullable(String)")
    store.insert([{**NEW, "timestamp": "2026-01-01 00:00:00.000"}])
    settings = access.clickhouse.settings.model_copy(update={"cvat_columns": ("label_id",)})
    deployed = replace(access, clickhouse=replace(access.clickhouse, settings=settings))
    assert stock.convert(deployed).pending() == {}
    assert stock.rollback(deployed, lambda rows: None) == 1
    assert tables(store) == {"events": "MergeTree"}


def test_what_the_stock_table_could_not_hold_comes_back_to_it_unwrapped(store: Store, run: Run) -> None:
    made = stock_installation(store, count=50)
    run("stock", "convert")
    store.insert([{**NEW, "timestamp": "2026-01-01 00:00:00.000", "count": number} for number in (5, 90_007)])
    converted = content(store, "cvat.events")
    for _ in range(2):  # the second finds nothing to do
        _, output = run("stock", "rollback")
    assert "is the stock table already" in output
    assert tables(store) == {"events": "MergeTree"}
    assert content(store, "cvat.events") == converted
    assert rows(store, "SELECT max(count) AS n FROM cvat.events") == [{"n": 90_007}]
    assert count(store, "cvat.events") == 2 * len(made) + 2


def interrupt_after(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    """Let the connection be lost after the first statement that begins with `words` has been executed."""
    original = stock._Database.run

    def failing(self: stock._Database, statement: str) -> None:
        original(self, statement)
        if statement.startswith(words):
            raise ConnectionResetError("gone")

    monkeypatch.setattr(stock._Database, "run", failing)


@pytest.mark.parametrize(
    "words",
    ["DROP TABLE", "DROP DATABASE", "CREATE DATABASE", "RENAME TABLE cvat_conversion", "EXCHANGE", "RENAME TABLE cvat.events_new"],
)  # fmt: skip
def test_a_conversion_interrupted_after_any_statement_is_completed(
    store: Store, run: Run, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    stock_installation(store, count=200)
    before = content(store, "cvat.events")
    with monkeypatch.context() as patch:
        interrupt_after(patch, words)
        code, output = run("stock", "convert")
        assert (code, "the connection is lost" in output) == (3, True)
    assert run("stock", "convert")[0] == 0
    assert tables(store) == {"events": "ReplacingMergeTree", "events_stock": "MergeTree"}
    assert content(store, "cvat.events") == before


@pytest.mark.parametrize(
    "words", ["ALTER", "DROP VIEW", "EXCHANGE", "RENAME", "ALTER TABLE cvat.schema_migrations"]
)
def test_a_rollback_interrupted_after_any_statement_is_completed(
    store: Store, run: Run, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    stock_installation(store, count=100)
    run("stock", "convert")
    store.insert([{**NEW, "timestamp": "2026-01-01 00:00:00.000"}])
    converted = content(store, "cvat.events")
    with monkeypatch.context() as patch:
        interrupt_after(patch, words)
        code, output = run("stock", "rollback")
        assert (code, "the connection is lost" in output) == (3, True)
    assert run("stock", "rollback")[0] == 0
    assert tables(store) == {"events": "MergeTree"}
    assert content(store, "cvat.events") == converted


def test_a_rollback_leaves_tables_of_an_earlier_version_that_are_views_now(store: Store, run: Run) -> None:
    stock_installation(store, count=50)
    run("stock", "convert")
    for name in ("known_objects", "completed_jobs"):
        store.post(f"CREATE OR REPLACE TABLE {name} (id UInt64) ENGINE = MergeTree ORDER BY id")
    try:
        assert run("stock", "rollback")[0] == 0
        assert tables(store) == {"events": "MergeTree"}
        assert store.post("EXISTS TABLE known_objects FORMAT TSV").strip() == "1"
    finally:
        for name in ("known_objects", "completed_jobs"):
            store.post(f"DROP TABLE IF EXISTS {name}")


def test_an_interrupted_copy_is_resumed(
    store: Store, run: Run, access: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock_installation(store)
    before = content(store, "cvat.events")
    copy = stock.convert(access, chunk_rows=100)
    insert = Table.insert
    parts: list[int] = []

    def failing(self: Table, source: Table, part: Any) -> None:
        if len(parts) == 5:
            raise ConnectionResetError("gone")
        parts.append(part.rows)
        insert(self, source, part)

    monkeypatch.setattr(Table, "insert", failing)
    with pytest.raises(ConnectionResetError):
        copy.run(lambda rows: None)
    monkeypatch.undo()
    again = stock.convert(access, chunk_rows=100)
    assert sum(again.pending().values()) == sum(again.days.values()) - sum(parts)
    again.run(lambda rows: None)
    assert all(month.source_events == month.stored_events for month in again.compare(lambda rows: None))
    assert content(store, "cvat.events") == before


def test_events_go_on_arriving_all_the_while(store: Store, run: Run) -> None:
    stock_installation(store, count=2000)
    before = len(content(store, "cvat.events"))
    stop = threading.Event()
    sent: list[str] = []
    refused: list[str] = []

    def send() -> None:
        while not stop.is_set() and len(sent) < 5000:
            moment = f"2026-03-01 00:{len(sent) // 1000:02}:00.{len(sent) % 1000:03}"
            try:
                # as the Vector of a stock installation
                store.post(
                    f"INSERT INTO events FORMAT JSONEachRow\n{json.dumps({**NEW, 'timestamp': moment})}"
                )
                sent.append(moment)
            except (AssertionError, OSError) as error:
                # ClickHouse answers 500 to an insert in the very moment of the exchange, and Vector repeats it
                if "(TABLE_UUID_MISMATCH)" not in str(error):
                    refused.append(repr(error))
                    return

    sender = threading.Thread(target=send)
    sender.start()
    try:
        for command in ("convert", "rollback", "convert"):
            code, output = run("stock", command)
            assert code == 0, output
    finally:
        stop.set()
        sender.join()
    assert refused == []
    assert len(sent) > 20
    assert len(content(store, "cvat.events")) == before + len(sent)


def test_an_unknown_column_is_refused_before_anything_is_changed(store: Store, run: Run) -> None:
    stock_installation(store, count=10)
    store.post("ALTER TABLE cvat.events ADD COLUMN mood String")
    code, output = run("stock", "convert")
    assert (code, "has the column mood" in output) == (2, True)
    assert tables(store) == {"events": "MergeTree"}


@pytest.mark.parametrize("command", [["convert"], ["rollback"], ["confirm", "--yes"]])
def test_without_a_stock_table_there_is_nothing_to_do(store: Store, run: Run, command: list[str]) -> None:
    code, output = run("stock", *command)
    assert (code, "nothing" in output) == (2, True)


def test_two_stock_tables_are_not_touched(store: Store, run: Run) -> None:
    stock_installation(store, count=10)
    store.post("CREATE TABLE cvat.events_stock AS cvat.events")
    for command in ("convert", "rollback"):
        code, output = run("stock", command)
        assert (code, "rename or drop" in output) == (2, True)
    assert tables(store) == {"events": "MergeTree", "events_stock": "MergeTree"}


def test_an_interrupted_rollback_is_not_followed_by_a_conversion(
    store: Store, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock_installation(store, count=10)
    run("stock", "convert")
    with monkeypatch.context() as patch:
        interrupt_after(patch, "RENAME")
        run("stock", "rollback")
    code, output = run("stock", "convert")
    assert (code, " stock rollback" in output) == (2, True)


def test_what_is_missing_keeps_the_stock_table_from_being_dropped(store: Store, run: Run) -> None:
    stock_installation(store)
    run("stock", "convert")
    store.post("DELETE FROM events WHERE toYYYYMM(timestamp) = 202402")
    code, output = run("stock", "confirm", "--yes")
    assert (code, "2024-02: fewer events are stored" in output) == (1, True)
    assert "events_stock" in tables(store)


def test_dropping_the_stock_table_needs_a_yes(store: Store, run: Run) -> None:
    stock_installation(store, count=10)
    run("stock", "convert")
    code, output = run("stock", "confirm")
    assert (code, "Drop the table cvat.events_stock for good?" in output) == (1, True)
    assert "events_stock" in tables(store)


def test_an_import_into_a_stock_table_is_refused(store: Store, run: Run, login: list[object]) -> None:
    stock_installation(store, count=10)
    store.post("DROP DATABASE IF EXISTS old SYNC")
    stock_table(store)
    code, output = run("import", *login)
    assert (code, " stock convert" in output) == (2, True)


def test_texts_that_are_not_utf8_are_refused_before_anything_is_changed(store: Store, run: Run) -> None:
    stock_installation(store, count=50)
    for column in ("obj_name", "scope"):
        store.post(
            f"INSERT INTO cvat.events (scope, source, timestamp, {column}) VALUES ('a', 'client', '2024-02-03 04:05:06', unhex('52656ee9'))"
            if column != "scope"
            else "INSERT INTO cvat.events (scope, source, timestamp) VALUES (unhex('52656ee9'), 'client', '2024-02-03 04:05:06')"
        )
    before = tables(store)
    for column in ("scope", "obj_name"):
        code, output = run("stock", "convert")
        assert (code, f"column {column} has 1 texts that are not utf-8" in output) == (2, True), output
        assert tables(store) == before
        assert "rewrites the column" in output, "and needs room"
        assert "docs/how-to/disk-is-full.md" in output
        # what it says can be pasted
        store.post(output.split("`")[1])
    assert run("stock", "convert")[0] == 0
    assert rows(
        store, "SELECT countIf(scope = 'René') AS a, countIf(obj_name = 'René') AS b FROM events"
    ) == [{"a": 1, "b": 1}]


def test_a_conversion_that_is_killed_is_completed_and_so_is_the_way_back(store: Store, run: Run) -> None:
    """kill -9 in the middle of either; what is left after each statement is above."""
    made = stock_installation(store, count=100)
    before = content(store, "cvat.events")
    statement = "cvat_analytics.importing.stock:_Database.run"
    killed(statement, "stock", "convert", times=3, done=True, context=store.context)
    assert run("stock", "convert")[0] == 0
    assert content(store, "cvat.events") == before
    killed(statement, "stock", "rollback", times=3, done=True, context=store.context)
    assert run("stock", "rollback")[0] == 0
    assert tables(store) == {"events": "MergeTree"}
    assert count(store, "cvat.events") == 2 * len(made)


def test_a_confirmation_that_is_killed_has_dropped_the_stock_table_or_not(store: Store, run: Run) -> None:
    stock_installation(store, count=100)
    before = content(store, "cvat.events")
    assert run("stock", "convert")[0] == 0
    confirm = ("stock", "confirm", "--yes")
    killed("cvat_analytics.importing.stock:confirm", *confirm, context=store.context)
    assert "events_stock" in tables(store)
    killed("cvat_analytics.importing.stock:_Database.run", *confirm, done=True, context=store.context)
    code, output = run(*confirm)
    assert (code, "there is nothing to confirm" in output) == (2, True), output
    assert tables(store) == {"events": "ReplacingMergeTree"}
    assert content(store, "cvat.events") == before
