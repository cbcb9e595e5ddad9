"""`cvat-analytics import`: everything arrives, once, from a server or a dump, and each mistake is one clear message."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cvat_analytics.connect.access import Access
from cvat_analytics.importing import copying, files
from cvat_analytics.store import migrations
from cvat_analytics.store.event_columns import COLUMNS
from tests.clickhouse import Store
from tests.importing.samples import content, cvat_csv, dump, events, fill, stock_table
from tests.killing import killed

Run = Callable[..., tuple[int, str]]


def stored(store: Store) -> int:
    return int(store.rows("SELECT count() AS events FROM events")[0]["events"])


@pytest.mark.parametrize("columns", [17, 18])
def test_everything_arrives_once_however_often_it_is_imported(
    store: Store, run: Run, login: list[object], columns: int
) -> None:
    rows = events(3000)
    stock_table(store, columns)
    fill(store, rows + rows[:500], columns=columns)
    for number in range(2):
        code, output = run("import", *login)
        assert code == 0, output
        assert ("have been copied by an earlier run" in output) == (number == 1)
    names = ", ".join(list(COLUMNS)[:columns])
    assert content(store, f"{store.database}.events", names) == content(store, "old.events")
    assert len(content(store, f"{store.database}.events", names)) == stored(store)
    january = next(line for line in output.splitlines() if line.startswith("2024-01"))
    raw, distinct, ours = (int(word.replace(",", "")) for word in january.split()[1:])
    assert raw > distinct == ours > 0


def test_a_second_run_brings_what_is_new(store: Store, run: Run, login: list[object]) -> None:
    stock_table(store)
    fill(store, events(100))
    run("import", *login)
    fill(store, events(100, seed=2))
    assert run("import", *login)[0] == 0
    assert content(store, f"{store.database}.events") == content(store, "old.events")


def test_numbers_beyond_16_bits_are_imported(store: Store, run: Run, tmp_path: Path) -> None:
    rows = events(20)
    rows[3]["count"], rows[4]["count"] = 90_007, 2**32 - 1
    file = tmp_path / "export.csv"
    file.write_text(cvat_csv(rows))
    code, output = run("import", "--file", file)
    assert code == 0, output
    assert store.rows("SELECT count FROM events WHERE count > 65535 ORDER BY count") == [{"count": 90_007}, {"count": 2**32 - 1}]  # fmt: skip


def test_a_table_of_an_earlier_version_is_refused_as_it_would_wrap_numbers(
    store: Store, run: Run, tmp_path: Path
) -> None:
    former = Path(__file__).parents[1] / "store" / "former" / "init.sql"
    file = tmp_path / "export.csv"
    file.write_text(cvat_csv(events(20)))
    store.post("RENAME TABLE events TO events_aside")
    try:
        store.post(migrations.statements(former.read_text())[0])
        code, output = run("import", "--file", file)
    finally:
        store.post("DROP TABLE events SYNC")
        store.post("RENAME TABLE events_aside TO events")
    assert code == 2
    assert (
        f"its table {store.database}.events is one of an earlier version. Run `cvat-analytics deploy`"
        in output
    )


def test_events_that_have_gone_are_noticed_and_brought_back(
    store: Store, run: Run, login: list[object]
) -> None:
    stock_table(store)
    fill(store, events(500))
    run("import", *login)
    store.post("DELETE FROM events WHERE toYYYYMM(timestamp) = 202403")
    code, output = run("import", *login)
    assert code == 1
    assert "2024-03: fewer events are stored than" in output
    code, output = run("import", *login)
    assert code == 0, output
    assert content(store, f"{store.database}.events") == content(store, "old.events")


def test_more_than_the_source_has_is_no_mistake(store: Store, run: Run, login: list[object]) -> None:
    stock_table(store)
    fill(store, events(50, months=1))
    store.insert([{"scope": "load:job", "source": "client", "timestamp": "2024-01-31 00:00:00.000"}])
    assert run("import", *login)[0] == 0
    assert stored(store) == 51


@contextmanager
def proxy(port: int) -> Iterator[tuple[int, list[int]]]:
    """Pass connections on to `port`; close each after as many bytes of answers as the list says (empty: never)."""
    limit: list[int] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def carry(near: socket.socket) -> None:
        # whoever asked may go before having read everything, which resets the connection: any of these calls may meet that
        with contextlib.suppress(OSError), near, socket.create_connection(("127.0.0.1", port)) as far:

            def forth() -> None:
                with contextlib.suppress(OSError):
                    while data := near.recv(65536):
                        far.sendall(data)
                    far.shutdown(socket.SHUT_WR)

            threading.Thread(target=forth, daemon=True).start()
            passed = 0
            while data := far.recv(4096):
                passed += len(data)
                if limit and passed > limit[0]:
                    near.shutdown(socket.SHUT_RDWR)
                    return
                near.sendall(data)

    def accept() -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=carry, args=(near,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    with listener:
        yield listener.getsockname()[1], limit
        listener.shutdown(socket.SHUT_RDWR)  # closing alone would leave the thread waiting for connections
        thread.join(60)


def test_a_lost_connection_is_resumed(
    store: Store, run: Run, login: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    stock_table(store)
    rows = events(2000, months=3)
    heavy = [
        {**event, "timestamp": "2024-05-01 00:00:00.000", "payload": f"{number:0100000}"}
        for number, event in enumerate(events(300))
    ]
    fill(store, rows + heavy)
    with proxy(store.http_port) as (port, limit):
        login[1] = f"http://127.0.0.1:{port}"
        limit.append(3_000_000)
        code, output = run("import", *login)
        assert code == 3, output
        assert "the connection is lost" in output
        assert "Run the same command again: it goes on from there" in output
        limit.clear()
        code, output = run("import", *login)
        assert code == 0, output
    assert content(store, f"{store.database}.events") == content(store, "old.events")


def test_a_store_that_goes_away_is_resumed(
    store: Store, run: Run, login: list[object], access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock_table(store)
    fill(store, events(100))
    with proxy(store.http_port) as (port, limit):
        object.__setattr__(access.clickhouse, "port", port)
        enter = copying.Ledger.enter

        def going_away(self: copying.Ledger, days: dict[int, int]) -> None:
            limit[:] = [0]
            enter(self, days)

        monkeypatch.setattr(copying.Ledger, "enter", going_away)
        code, output = run("import", *login)
        assert (code, output.count("the stack's ClickHouse: the connection is lost")) == (3, 1)
        monkeypatch.setattr(copying.Ledger, "enter", enter)
        limit.clear()
        code, output = run("import", *login)
        assert code == 0, output
    assert content(store, f"{store.database}.events") == content(store, "old.events")


def test_a_user_who_may_not_read_the_table(
    store: Store, run: Run, login: list[object], tmp_path: Path
) -> None:
    stock_table(store)
    login[3] = "grafana"
    (tmp_path / "password").write_text(store.context.secrets["clickhouse_grafana"])
    code, output = run("import", *login)
    assert code == 2
    assert "grafana: Not enough privileges" in output


def test_an_address_without_an_answer(run: Run, login: list[object]) -> None:
    login[1] = "http://127.0.0.1:1"
    code, output = run("import", *login)
    assert (code, output.count("\n")) == (3, 1)
    assert "http://127.0.0.1:1: cannot be reached as admin" in output


def test_a_wrong_password(store: Store, run: Run, login: list[object], tmp_path: Path) -> None:
    (tmp_path / "password").write_text("wrong")
    code, output = run("import", *login)
    assert (code, output.count("\n")) == (3, 1)
    assert "Authentication failed" in output


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("DROP TABLE events", "there is no table old.events"),
        ("ALTER TABLE events DROP COLUMN payload", "lacks the column payload"),
        (
            "ALTER TABLE events ADD COLUMN mood String",
            "has the column mood, for which there is no place. If that data is not needed, say so with --leave-out mood",
        ),
        (
            "ALTER TABLE events MODIFY COLUMN job_id Nullable(String)",
            "column 'job_id' has type Nullable(String), where Nullable(UInt64) is expected",
        ),
        (
            "ALTER TABLE events MODIFY COLUMN duration UInt64",
            "column 'duration' has type UInt64, where UInt32 is expected",
        ),
    ],
)
def test_a_wrong_table_is_refused(
    store: Store, run: Run, login: list[object], change: str, message: str
) -> None:
    stock_table(store)
    fill(store, events(10))
    store.post(change, database="old")
    code, output = run("import", *login)
    assert code == 2
    assert message in output
    assert stored(store) == 0


def test_a_column_that_is_not_needed_can_be_left_out(store: Store, run: Run, login: list[object]) -> None:
    stock_table(store)
    store.post("ALTER TABLE old.events ADD COLUMN mood String")
    fill(store, events(10))
    assert run("import", *login, "--leave-out", "mood")[0] == 0
    assert stored(store) == 10
    code, output = run("import", *login, "--leave-out", "mood", "--leave-out", "payload")
    assert (code, "'payload' is part of every event" in output) == (2, True)


def test_the_18th_column_by_its_other_name(store: Store, run: Run, login: list[object]) -> None:
    stock_table(store, 17)
    store.post("ALTER TABLE old.events ADD COLUMN api_token Nullable(UInt64) DEFAULT 7")
    fill(store, events(1), columns=17)
    assert run("import", *login)[0] == 0
    assert content(store, f"{store.database}.events", "toUInt8(access_token_id)") == [[7]]


def test_the_table_itself_is_refused(store: Store, run: Run, login: list[object]) -> None:
    login[-1] = store.database
    code, output = run("import", *login)
    assert (code, "is the one to import into" in output) == (2, True)


def test_an_empty_table(store: Store, run: Run, login: list[object]) -> None:
    stock_table(store)
    code, output = run("import", *login)
    assert code == 0
    assert "the table has no events; there is nothing to import" in output


def test_days_without_events_and_times_of_wrong_clocks_are_noted_and_kept(
    store: Store, run: Run, login: list[object], tmp_path: Path
) -> None:
    times = [
        "1970-01-01 00:00:00.000", "1970-01-01 00:00:01.001", "2024-01-01 00:00:00.000", "2024-01-04 23:59:59.999",
        "2099-12-31 23:59:59.999",
    ]  # fmt: skip
    stock_table(store)
    fill(store, [{**event, "timestamp": time} for event, time in zip(events(5), times, strict=True)])
    code, output = run("import", *login)
    assert code == 0, output
    assert "2 rows have a time before there was CVAT (1970-01-01 to 1970-01-01)" in output
    assert "1 rows have a time in the future (2099-12-31 to 2099-12-31)" in output
    assert "they are kept as dead letters (implausible date)" in output
    assert "2 days between 2024-01-01 and 2024-01-04 have no events" in output
    assert [row["t"] for row in store.rows("SELECT timestamp AS t FROM events ORDER BY t")] == times[2:4]
    letters = store.rows("SELECT reason, original FROM events_dead_letter ORDER BY original")
    kept = [json.loads(letter["original"]) for letter in letters]
    assert sorted(each["timestamp"] for each in kept) == [*times[:2], times[4]]
    assert {letter["reason"] for letter in letters} == {"implausible date"}
    assert kept[0].keys() == set(COLUMNS)
    # a second run has nothing to do, nor has one that was interrupted before it had noted what it had done
    assert "5 of 5 rows have been copied by an earlier run" in run("import", *login)[1]
    store.post("TRUNCATE TABLE imported_days")
    assert run("import", *login)[0] == 0
    assert len(store.rows("SELECT original FROM events_dead_letter")) == 3
    # of a file it is the same
    store.post("TRUNCATE TABLE events_dead_letter")
    file = dump(store, tmp_path / "events.native", "Native")
    code, output = run("import", "--file", file)
    assert code == 0, output
    assert len(store.rows("SELECT original FROM events_dead_letter")) == 3


def test_what_is_older_than_the_retention_is_left_and_said(
    store: Store, run: Run, login: list[object]
) -> None:
    stock_table(store)
    fill(store, [{**event, "timestamp": time} for event, time in zip(events(2), ["2020-01-01 00:00:00.000", f"{datetime.now(UTC):%Y-%m-%d 00:00:00.000}"], strict=True)])  # fmt: skip
    settings = store.context.settings
    before = settings.events_retention
    object.__setattr__(settings, "events_retention", timedelta(days=365))
    try:
        code, output = run("import", *login)
    finally:
        object.__setattr__(settings, "events_retention", before)
    assert code == 0, output
    assert "1 rows before 2020-01-01 (inclusive) are older than the setting 'events_retention'" in output
    assert stored(store) == 1


@pytest.mark.parametrize("form", ["Native", "CSVWithNames"])
def test_a_dump_of_clickhouse_is_imported_exactly(store: Store, run: Run, tmp_path: Path, form: str) -> None:
    # ClickHouse writes the text \N in CSV as it writes NULL
    rows = [
        {name: "N" if value == "\\N" else value for name, value in event.items()} for event in events(3000)
    ]
    stock_table(store)
    fill(store, rows + rows[:100])
    path = dump(store, tmp_path / "dump", form)
    code, output = run("import", "--file", path)
    assert code == 0, output
    assert content(store, f"{store.database}.events") == content(store, "old.events")
    assert store.rows("SELECT name FROM system.tables WHERE name LIKE 'import\\\\_%'") == []


@pytest.mark.parametrize("block", [10, 400, 65409])
@pytest.mark.parametrize("form", ["Native", "CSVWithNames"])
def test_a_dump_of_this_stacks_own_table_is_imported_exactly(
    store: Store, run: Run, tmp_path: Path, form: str, block: int
) -> None:
    # enough different texts that a dictionary's numbers take one byte in small blocks, and two in large ones
    rows = [
        {name: "N" if value == "\\N" else value for name, value in event.items()}
        | {"obj_name": f"object {number}"}
        for number, event in enumerate(events(1500))
    ]
    store.insert(rows)
    before = content(store, f"{store.database}.events")
    path = dump(
        store, tmp_path / "dump", f"{form} SETTINGS max_block_size = {block}", f"{store.database}.events"
    )
    store.post("TRUNCATE TABLE events")
    code, output = run("import", "--file", path)
    assert code == 0, output
    assert content(store, f"{store.database}.events") == before


@pytest.mark.parametrize(("form", "name"), [("Parquet", "Parquet"), ("Arrow", "Arrow"), ("ArrowStream", "Arrow"), ("JSONEachRow", "JSON")])  # fmt: skip
def test_another_format_is_refused_by_its_name(
    store: Store, run: Run, tmp_path: Path, form: str, name: str
) -> None:
    store.insert(events(5))
    code, output = run("import", "--file", dump(store, tmp_path / "dump", form, f"{store.database}.events"))
    assert (code, f"is {name}, which is not read. Make it with" in output) == (2, True), output


def test_texts_of_another_clickhouse_that_are_not_utf8_are_refused_or_converted(
    store: Store, run: Run, login: list[object]
) -> None:
    stock_table(store)
    fill(store, events(50))
    store.post(
        "INSERT INTO old.events (scope, source, timestamp, user_name, payload) VALUES "
        "('a', 'client', '2024-02-03 04:05:06', unhex('52656ee9'), unhex('c383')), ('b', 'client', '2024-02-03 04:05:07', unhex('e9'), NULL)"
    )
    code, output = run("import", *login)
    assert code == 2, output
    assert (
        "column user_name has 2 texts that are not utf-8, as that of the event of 2024-02-03 04:05:06.000 UTC"
        in output
    )
    assert r"'Ren\xe9'" in output
    assert "as in --encoding cp1252" in output
    assert stored(store) == 0
    assert run("import", *login, "--encoding", "ascii")[0] == 2
    assert stored(store) == 0
    code, output = run("import", *login, "--encoding", "cp1252")
    assert code == 0, output
    rows = store.rows("SELECT user_name, payload FROM events WHERE scope IN ('a', 'b') ORDER BY scope")
    # what is UTF-8 stays as it is
    assert [(row["user_name"], row["payload"]) for row in rows] == [("René", "Ã"), ("é", None)]
    assert len(content(store, f"{store.database}.events")) == len(content(store, "old.events"))


def test_cvats_own_export_is_imported(store: Store, run: Run, tmp_path: Path) -> None:
    rows = [
        # which writes nothing for an empty text as well
        {name: None if value in ("", "\\N") else value for name, value in event.items()}
        for event in events(3000)
    ]
    path = tmp_path / "events.csv"
    path.write_text(cvat_csv(rows), newline="")
    code, output = run("import", "--file", path)
    assert code == 0, output
    stock_table(store)
    fill(store, rows)
    assert content(store, f"{store.database}.events") == content(store, "old.events")


def test_an_interrupted_load_goes_on(
    store: Store, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "CHUNK_ROWS", 100)
    rows = events(1000)
    path = tmp_path / "events.csv"
    path.write_text(cvat_csv(rows), newline="")
    insert = files._insert
    done: list[int] = []

    def failing(dump: files.Dump, table: object, first_row: int) -> str:
        if len(done) == 5:
            raise ConnectionResetError("gone")
        done.append(first_row)
        return insert(dump, table, first_row)  # type: ignore[arg-type]

    monkeypatch.setattr(files, "_insert", failing)
    code, output = run("import", "--file", path)
    assert (code, "the connection is lost" in output) == (3, True)
    assert stored(store) == 0
    done[:] = [0] * 6
    code, output = run("import", "--file", path)
    assert code == 0, output
    assert done[6:] == [501, 601, 701, 801, 901]
    assert stored(store) == len({repr(sorted(row.items(), key=str)) for row in rows})


def cut_rows(text: bytes) -> bytes:
    return text[: text.rindex(b"\r\n", 0, -2) + 20]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: b"", "is empty, without even a header"),
        (lambda text: text[:-2], "ends in the middle of row 300: the dump is truncated"),
        (cut_rows, "ends in the middle of row 300: the dump is truncated"),
        (lambda text: text + b'load:job,"', "ends in the middle of row 301: the dump is truncated"),
        (lambda text: text.replace(b"+00:00,", b"x,", 1), "column timestamp: '202"),
        (lambda text: text.replace(b"scope,", b"scop,", 1), "lacks the column scope; it has scop, obj_name"),
        (lambda text: text.replace(b",payload", b"", 1), "lacks the column payload"),
        (lambda text: text.split(b"\r\n", 1)[1], "is neither CSV with a header line nor"),
        (lambda text: b"\x1f\x8b" + text, "is neither CSV with a header line nor"),
    ],
    ids=["empty", "last line break", "last row", "quote", "time", "column name", "column", "header", "compressed"],
)  # fmt: skip
def test_a_damaged_csv_file_is_refused_and_leaves_nothing(
    store: Store, run: Run, tmp_path: Path, damage: Callable[[bytes], bytes], message: str
) -> None:
    path = tmp_path / "events.csv"
    path.write_bytes(damage(cvat_csv(events(300)).encode()))
    code, output = run("import", "--file", path)
    assert message in output
    assert code == 2
    assert stored(store) == 0
    assert store.rows("SELECT name FROM system.tables WHERE name LIKE 'import\\\\_%'") == []


@pytest.mark.parametrize("share", [0.001, 0.3, 0.9, 0.9999])
def test_a_truncated_native_file_is_refused_and_leaves_nothing(
    store: Store, run: Run, tmp_path: Path, share: float
) -> None:
    stock_table(store)
    fill(store, events(3000))
    path = dump(store, tmp_path / "dump", "Native")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    code, output = run("import", "--file", path)
    assert code == 2, output
    assert "cut off" in output or "truncated" in output
    assert stored(store) == 0
    assert store.rows("SELECT name FROM system.tables WHERE name LIKE 'import\\\\_%'") == []


def test_neither_and_both_sources_are_refused(run: Run, tmp_path: Path, login: list[object]) -> None:
    (tmp_path / "dump").touch()
    for arguments in ([], [*login, "--file", tmp_path / "dump"]):
        code, output = run("import", *arguments)
        assert (code, "give either --from or --file" in output) == (2, True)


def test_no_password_is_printed(store: Store, run: Run, login: list[object]) -> None:
    stock_table(store)
    output = run("import", *login)[1]
    assert [name for name, value in store.context.secrets.items() if value in output] == []


def test_an_import_that_is_killed_goes_on(store: Store, run: Run, tmp_path: Path) -> None:
    rows = events(400)
    path = tmp_path / "events.csv"
    path.write_text(cvat_csv(rows), newline="")
    words = ("import", "--file", path)
    # while the dump is loaded, by a version with chunks of another size; and when its events are there, but not noted
    killed(
        "cvat_analytics.importing.files:_insert", *words, times=3,
        values={"cvat_analytics.importing.files:CHUNK_ROWS": 100}, context=store.context,
    )  # fmt: skip
    assert stored(store) == 0
    killed("cvat_analytics.importing.copying:Ledger.enter", *words, context=store.context)
    code, output = run(*words)
    assert code == 0, output
    assert stored(store) == len({repr(sorted(row.items(), key=str)) for row in rows})
    left = "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name LIKE 'import%' AND name != 'imported_days' FORMAT TSV"
    assert store.post(left).strip() == "0"
