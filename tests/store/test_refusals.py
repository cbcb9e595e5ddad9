"""Whom ClickHouse refuses, and its own words: from its query log where there is one, else from its list of errors."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from tests.clickhouse import Store, running
from tests.waiting import until

LOG = """CREATE TABLE system.query_log (event_date Date, event_time DateTime, user LowCardinality(String), query String,
exception_code Int32, exception String, more Array(String),
type Enum8('QueryStart' = 1, 'QueryFinish' = 2, 'ExceptionBeforeStart' = 3, 'ExceptionWhileProcessing' = 4)) ENGINE = Memory"""
"""As ClickHouse's own, as far as it is read; the engine library keeps none."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Return an engine of their own: a list of errors is the whole server's."""
    with running(tmp_path_factory.mktemp("store")) as engine:
        yield engine


def counted(store: Store, component: str, status: str, *values: int) -> None:
    """Store what Vector says of answers, every 15 seconds until 30 seconds ago."""
    for index, value in enumerate(reversed(values)):
        store.post(
            "INSERT INTO pipeline_metrics (time, host, name, component, tags, value) SELECT "
            f"now() - {30 + 15 * index}, 'h', 'http_client_responses_total', '{component}', map('status', '{status}'), {value}"
        )


def heard(store: Store, ago: int = 30, uptime: int = 100_000) -> None:
    store.post(
        f"INSERT INTO pipeline_metrics (time, host, name, value) SELECT now() - {ago}, 'h', 'uptime_seconds', {uptime}"
    )


def refused(store: Store) -> dict[str, str]:
    return {row["sink"]: row["words"] for row in store.rows("SELECT * FROM refused_sinks(at = now())")}


def log(store: Store, query: str, exception: str, user: str = "vector", kind: int = 4) -> None:
    store.post(
        "INSERT INTO system.query_log (event_date, event_time, user, query, exception_code, exception, type) "
        f"SELECT today(), now() - 31, '{user}', '{query}', 117, '{exception}', {kind}"
    )


def test_the_words_are_clickhouse_s_own(store: Store) -> None:
    assert refused(store) == {}
    heard(store)
    counted(store, "events", "400", 1, 2, 3)
    counted(store, "events", "200", 5, 5, 5)
    row = '{"scope": "a", "timestamp": "x", "user_name": "anna"}'
    with pytest.raises(AssertionError, match="CANNOT_PARSE_DATETIME"):
        store.post(f"INSERT INTO incoming_events FORMAT JSONEachRow\n{row}", user="vector")
    # others' mistakes, of which the list of errors does not say whose they are, give another status
    with pytest.raises(AssertionError, match="UNKNOWN_TABLE"):
        store.post("SELECT * FROM no_such_table")
    # and what they have asked is shown to nobody
    for query in ("SELECT anna FROM events", "SELEKT anna"):
        with pytest.raises(AssertionError):
            store.post(query)
    assert "anna" not in store.post("SELECT * FROM insert_errors", user="grafana")
    words = refused(store)["events"]
    assert words.startswith("Cannot read DateTime")
    assert "anna" not in words
    store.post(LOG)
    try:
        log(
            store,
            "INSERT INTO incoming_events FORMAT JSONEachRow",
            "Code: 117. DB::Exception: Too\n\x07large (at row 1) before: anna: (x). (INCORRECT_DATA) (version 26.8)",
        )
        log(
            store,
            "INSERT INTO incoming_dead_letters FORMAT JSONEachRow",
            "Code: 117. DB::Exception: the other sink",
        )
        log(
            store,
            "INSERT INTO incoming_events FORMAT JSONEachRow",
            "Code: 117. DB::Exception: somebody else",
            user="admin",
        )
        log(store, "INSERT INTO incoming_events FORMAT JSONEachRow", "", kind=2)
        counted(store, "dead_letters", "500", 1, 2, 3)
        refusals = refused(store)
    finally:
        store.post("DROP TABLE system.query_log SYNC")
    assert refusals == {"events": "Too large (at row 1)", "dead_letters": "the other sink"}


def gone_away(store: Store) -> None:
    """Ask for much, and go away with a reset when it begins to come."""
    options = {"user": "admin", "password": store.context.secrets["clickhouse_admin"]}
    query = "SELECT repeat('x', 1000) FROM numbers(10000000)"
    with socket.create_connection(("127.0.0.1", store.http_port)) as connection:
        connection.sendall(
            f"GET /?{urlencode(options | {'query': query})} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        )
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_a_client_that_went_away_is_not_what_is_answered(store: Store) -> None:
    store.post("TRUNCATE TABLE pipeline_metrics")
    heard(store)
    counted(store, "events", "500", 1, 2, 3)
    store.post("ALTER TABLE events ADD CONSTRAINT poison CHECK scope != 'poison'")
    try:
        with pytest.raises(AssertionError, match="VIOLATED_CONSTRAINT"):
            store.post('INSERT INTO incoming_events FORMAT JSONEachRow\n{"scope": "poison"}', user="vector")
    finally:
        store.post("ALTER TABLE events DROP CONSTRAINT poison")
    words = refused(store)["events"]
    assert words.startswith("Constraint")

    def noticed() -> bool:
        """Go away once more, and return whether ClickHouse has noted one in a later second than the refusal."""
        gone_away(store)
        query = (
            "SELECT minIf(last_error_time, code IN (210, 236)) > maxIf(last_error_time, name = 'VIOLATED_CONSTRAINT') "
            "FROM system.errors WHERE NOT remote FORMAT TSV"
        )
        return store.post(query).strip() == "1"

    until(noticed, "ClickHouse notes that a client went away")
    assert refused(store)["events"] == words


def test_words_are_bounded_and_nobody_needs_a_right_on_the_system_s_tables(store: Store) -> None:
    store.post(LOG)
    try:
        log(
            store, "INSERT INTO incoming_events FORMAT JSONEachRow", "Code: 117. DB::Exception: " + "x" * 5000
        )
        lengths = [
            row["length(words)"]
            for row in store.rows("SELECT length(words) FROM insert_errors WHERE from_log")
        ]
    finally:
        store.post("DROP TABLE system.query_log SYNC")
    assert [int(length) for length in lengths] == [300]


def test_a_login_that_is_refused_is_told_although_no_reading_comes(store: Store) -> None:
    store.post("TRUNCATE TABLE pipeline_metrics")
    store.post(
        "INSERT INTO pipeline_metrics (time, host, name, value) SELECT now() - 90, 'h', 'uptime_seconds', 1"
    )
    assert refused(store) == {}
    secret = store.context.secrets.__class__({**store.context.secrets, "clickhouse_vector": "wrong"})
    wrong = type(store)(
        type(store.context)(store.context.host, store.context.topology, secret, store.context.paths)
    )
    with pytest.raises(AssertionError, match="AUTHENTICATION_FAILED"):
        wrong.post("INSERT INTO incoming_events FORMAT JSONEachRow", user="vector")
    assert refused(store)["everything"].startswith("vector: Authentication failed")
    store.post(
        "INSERT INTO pipeline_metrics (time, host, name, value) SELECT now(), 'h', 'uptime_seconds', 2"
    )
    assert refused(store) == {}, "Vector says something again"
