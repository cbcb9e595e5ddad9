"""No login of ClickHouse reads or writes a file of the machine, or reaches another server, through the engine's library."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from cvat_analytics.embedded import confinement, engine, starting
from cvat_analytics.embedded.engine import PACKAGE_FILES
from tests.clickhouse import Store

LOGINS = ("admin", "cvat", "default", "events_api", "grafana", "vector")
READING = (
    "SELECT file('{file}')",
    "SELECT * FROM file('{file}', 'LineAsString')",
    "SELECT * FROM file('{file}*', 'LineAsString')",
    "SELECT * FROM '{file}'",
    "DESCRIBE TABLE file('{file}', 'LineAsString')",
    "SELECT * FROM url('file://{file}', 'LineAsString')",
    "SELECT * FROM filesystem('{file}')",
    "SELECT 1 SETTINGS format_template_row = '{file}' FORMAT Template",
    "SELECT 1 SETTINGS format_schema = '{file}:Message' FORMAT Protobuf",
    "SELECT * FROM format(LineAsString, file('{file}'))",
    "INSERT INTO {database}.events_dead_letter (original) FROM INFILE '{file}' FORMAT LineAsString",
    "CREATE TEMPORARY TABLE stolen (line String) ENGINE = File(LineAsString, '{file}')",
    "CREATE VIEW {database}.stolen AS SELECT * FROM file('{file}', 'LineAsString')",
    "SELECT * FROM executable('{file}', 'LineAsString', 'line String')",
    "SELECT * FROM sqlite('{file}', 'stolen')",
)
WRITING = (
    "INSERT INTO FUNCTION file('{file}', 'LineAsString') SELECT 'theirs'",
    "SELECT 1 INTO OUTFILE '{file}'",
    "INSERT INTO {database}.events_dead_letter (original) SETTINGS input_format_allow_errors_num = 9, "
    "input_format_record_errors_file_path = '{file}' FORMAT CSV\n1,2,3\n",
    "BACKUP TABLE {database}.events TO File('{file}')",
)
ELSEWHERE = (
    "import socket, sys\n"
    "family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET\n"
    "server = socket.create_server((sys.argv[1], 0), family=family)\n"
    "print(server.getsockname()[1], flush=True)\n"
    "sys.stdin.read()\n"
)
"""A program that listens on the address that it is told, prints the port, and ends with its input."""
REACHING = (
    "SELECT * FROM url('http://127.0.0.1:{port}/', 'LineAsString') SETTINGS http_max_tries = 1",
    "INSERT INTO FUNCTION url('http://127.0.0.1:{port}/', 'LineAsString') SELECT 'theirs'",
    "SELECT * FROM remote('127.0.0.1:{port}', system.one)",
    "SELECT * FROM s3('http://127.0.0.1:{port}/bucket/key', NOSIGN, 'LineAsString')",
    "SELECT * FROM postgresql('127.0.0.1:{port}', 'a', 'b', 'c', 'd')",
    "SELECT * FROM mysql('127.0.0.1:{port}', 'a', 'b', 'c', 'd')",
    "SELECT * FROM redis('127.0.0.1:{port}', 'a', 'a String')",
    "CREATE DICTIONARY {database}.elsewhere (a String, b String) PRIMARY KEY a "
    "SOURCE(HTTP(URL 'http://127.0.0.1:{port}/' FORMAT CSV)) LAYOUT(COMPLEX_KEY_DIRECT())",
    "CREATE DICTIONARY {database}.elsewhere (a String, b String) PRIMARY KEY a "
    "SOURCE(CLICKHOUSE(HOST '127.0.0.1' PORT {port} TABLE 'one' DB 'system')) LAYOUT(COMPLEX_KEY_DIRECT())",
    "CREATE NAMED COLLECTION elsewhere AS url = 'http://127.0.0.1:{port}/'",
    "CREATE TABLE {database}.elsewhere (a String) ENGINE = URL('http://127.0.0.1:{port}/', CSV)",
    "CREATE TABLE {database}.elsewhere (a UInt8) ENGINE = MySQL('127.0.0.1:{port}', 'a', 'b', 'c', 'd')",
    "CREATE DATABASE elsewhere ENGINE = MySQL('127.0.0.1:{port}', 'a', 'b', 'c')",
    "CREATE TABLE {database}.elsewhere (a UInt8) ENGINE = MergeTree ORDER BY a "
    "SETTINGS disk = disk(type = web, endpoint = 'http://127.0.0.1:{port}/')",
    "CREATE VIEW {database}.elsewhere (a String) DEFINER = default SQL SECURITY DEFINER AS "
    "SELECT * FROM url('http://127.0.0.1:{port}/', CSV, 'a String')",
)
REFUSALS = ("ACCESS_DENIED", "SETTING_CONSTRAINT_VIOLATION")


@pytest.mark.parametrize("address", ["127.0.0.2", "::1"])
def test_somebody_elses_port_of_the_same_number_is_not_the_engines(address: str) -> None:
    """On it the engine would lose its working directory before it has started, and end without a word."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with subprocess.Popen(
        [sys.executable, "-c", ELSEWHERE, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin
        assert other.stdout
        port = int(other.stdout.readline())
        assert not engine._listens(port)
        with socket.create_server(("127.0.0.3", port)):
            assert engine._listens(port)
        assert not engine._listens(port)
        other.stdin.close()
    with socket.create_server((address, 0), family=family) as ours:
        assert engine._listens(ours.getsockname()[1])


def ask(store: Store, login: str, sql: str, **options: str) -> tuple[int, str]:
    """Return status and text of an answer, whatever it is."""
    name = {**options, "user": login, "password": store.context.secrets.get(f"clickhouse_{login}", "")}
    url = f"http://127.0.0.1:{store.http_port}/?{urllib.parse.urlencode(name)}"
    try:
        with urllib.request.urlopen(url, data=sql.encode(), timeout=120) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize("login", LOGINS)
def test_no_login_reads_a_file(shared_engine: Store, login: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("only mine\n")
    data = Path(shared_engine.context.paths.clickhouse_data)
    users = Path(shared_engine.context.paths.clickhouse_config, "users.xml")
    own = next(file for file in data.rglob("*.sql") if file.is_file())
    shut_in = bool(confinement.version())
    for file in (secret, users, own):
        contents = file.read_text().splitlines()[0]
        for statement in READING:
            if not shut_in and login == "admin" and "INFILE" in statement:
                continue  # no grant is in the way of that, and `up` says so
            if file != secret and "INFILE" in statement:
                continue  # of its own data the engine reads more than SQL, and no login sees what comes of it
            sql = statement.format(file=file, database=shared_engine.database)
            status, text = ask(shared_engine, login, sql)
            assert status != 200, sql
            assert contents not in text, sql


@pytest.mark.parametrize("login", LOGINS)
def test_no_login_writes_a_file(shared_engine: Store, login: str, tmp_path: Path) -> None:
    file = tmp_path / "theirs"
    for statement in WRITING:
        sql = statement.format(file=file, database=shared_engine.database)
        assert ask(shared_engine, login, sql)[0] != 200, sql
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("login", LOGINS)
def test_no_login_reaches_another_server(shared_engine: Store, login: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        for statement in REACHING:
            sql = statement.format(port=server.getsockname()[1], database=shared_engine.database)
            assert ask(shared_engine, login, sql)[0] != 200, sql
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize("statement", REACHING)
def test_it_is_its_rights_that_keep_the_administrator_from_other_servers(
    shared_engine: Store, statement: str
) -> None:
    """As on a host, where no kernel does. The one asked for is the engine itself: remote() to itself would end the library."""
    port = shared_engine.context.settings.clickhouse_native_port
    said = ask(shared_engine, "admin", statement.format(port=port, database=shared_engine.database))[1]
    assert any(refusal in said for refusal in REFUSALS), said


def test_an_administrator_s_table_is_on_no_other_disk_whatever_profile_is_named(shared_engine: Store) -> None:
    disk = "disk(type = web, endpoint = 'http://127.0.0.1:1/')"
    with shared_engine.another() as store:
        ask(store, "admin", f"CREATE TABLE {store.database}.mine (a UInt8) ENGINE = MergeTree ORDER BY a")
        moved = f"ALTER TABLE {store.database}.mine MODIFY SETTING disk = {disk}"
        assert "SETTING_CONSTRAINT_VIOLATION" in ask(store, "admin", moved)[1]
        for profile in ("default", "cvat_writer", "cvat_server"):
            made = f"CREATE TABLE {store.database}.elsewhere (a UInt8) ENGINE = MergeTree ORDER BY a SETTINGS disk = {disk}"
            assert "SETTING_CONSTRAINT_VIOLATION" in ask(store, "admin", made, profile=profile)[1]


def test_the_administrator_of_the_library_has_a_host_s_rights(shared_engine: Store) -> None:
    """What is written for the library alone is of its own user; whatever else is tried here would prove nothing of a host."""
    for name in PACKAGE_FILES:
        users = ElementTree.parse(engine.ROOT / "cvat_analytics/embedded/package_files" / name).find("users")
        assert users is None or [user.tag for user in users] == ["default"]
    rights = ask(shared_engine, "admin", "SHOW GRANTS")[1]
    assert "GRANT OPTION" not in rights
    granted = rights.split("REVOKE")[0]
    for right in (
        "CREATE USER",
        "ROLE ADMIN",
        "TABLE ENGINE ON *",
        "CREATE DICTIONARY",
        "NAMED COLLECTION",
        "SET DEFINER",
    ):
        assert right not in granted
    for statement in (
        "CREATE USER intruder",
        "GRANT SELECT ON *.* TO cvat",
        "CREATE TABLE intruder (a UInt8) ENGINE = File(CSV)",
    ):
        assert "ACCESS_DENIED" in ask(shared_engine, "admin", statement)[1], statement


def test_the_user_of_the_engine_itself_sees_nothing(shared_engine: Store) -> None:
    """It has no password, and may do what opens the engine's ports."""
    assert ask(shared_engine, "default", "SHOW GRANTS")[1].splitlines() == [
        "GRANT SYSTEM LISTEN ON *.* TO default",
        "GRANT SELECT ON system.numbers TO default",
    ]
    assert (
        "ACCESS_DENIED" in ask(shared_engine, "default", f"SELECT 1 FROM {shared_engine.database}.events")[1]
    )


def test_the_kernel_shuts_the_engine_in(shared_engine: Store) -> None:
    """Not only grants do: what is in the way is known to be there where it is tested."""
    if not confinement.version():
        pytest.skip("this kernel has no Landlock of Linux 5.19")
    into = f"{shared_engine.database}.events_dead_letter (original)"
    sql = f"INSERT INTO {into} FROM INFILE '/etc/passwd' FORMAT LineAsString"
    assert "Permission denied" in ask(shared_engine, "admin", sql)[1]


@pytest.mark.parametrize(
    ("landlock", "said"),
    [
        (0, "can read and write files of yours"),
        (1, "can read and write files of yours"),
        (2, "connecting elsewhere"),
        (4, ""),
    ],
)
def test_what_a_kernel_leaves_open_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, landlock: int, said: str
) -> None:
    """By `up`, before anything starts: a log of the engine's nobody reads."""

    def none_here(name: str) -> None:
        """Stand for a machine without an installed server."""

    class NothingStarted(Exception):
        """Ends `up` where it would begin to start."""

    def ends(path: Path) -> None:
        raise NothingStarted

    monkeypatch.setattr(shutil, "which", none_here)
    monkeypatch.setattr(confinement, "_libc", lambda: SimpleNamespace(syscall=lambda *call: landlock))
    monkeypatch.setattr(starting.secrets, "init", ends)
    told: list[str] = []
    with pytest.raises(NothingStarted):
        starting.up(tmp_path / "stack", tell=told.append)
    assert (said in told[0]) if said else not told
