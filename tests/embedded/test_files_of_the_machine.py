"""No login of ClickHouse reads or writes a file of the machine, or reaches another server, through the engine's library."""

from __future__ import annotations

import socket
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from cvat_analytics.embedded import confinement
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
REACHING = (
    "SELECT * FROM url('http://127.0.0.1:{port}/', 'LineAsString') SETTINGS http_max_tries = 1",
    "INSERT INTO FUNCTION url('http://127.0.0.1:{port}/', 'LineAsString') SELECT 'theirs'",
    "SELECT * FROM remote('127.0.0.1:{port}', system.one)",
    "SELECT * FROM s3('http://127.0.0.1:{port}/bucket/key', NOSIGN, 'LineAsString')",
    "SELECT * FROM postgresql('127.0.0.1:{port}', 'a', 'b', 'c', 'd')",
    "SELECT * FROM mysql('127.0.0.1:{port}', 'a', 'b', 'c', 'd')",
    "SELECT * FROM redis('127.0.0.1:{port}', 'a', 'a String')",
)


def ask(store: Store, login: str, sql: str) -> tuple[int, str]:
    """Return status and text of an answer, whatever it is."""
    name = {"user": login, "password": store.context.secrets.get(f"clickhouse_{login}", "")}
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
    for file in (secret, users, own):
        contents = file.read_text().splitlines()[0]
        for statement in READING:
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
            sql = statement.format(port=server.getsockname()[1])
            assert ask(shared_engine, login, sql)[0] != 200, sql
        with pytest.raises(BlockingIOError):
            server.accept()


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
