"""CVAT's own ClickHouse user may do what CVAT does at its start and for its export, and can neither stop nor bend anything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from cvat_analytics.checks import cvat_refusals
from cvat_analytics.checks.cvat_refusals import CvatRefusal
from cvat_analytics.store import migrations, rights
from cvat_analytics.store.event_columns import COLUMNS
from scripts.status import _cvat_refusal
from tests.clickhouse import Store, engine, running
from tests.waiting import until

STOCK_COLUMNS = ", ".join(f"`{name}` {type_}" for name, type_ in COLUMNS.items() if name != "access_token_id")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Run an engine of its own: the errors of a whole server are looked at."""
    with running(tmp_path_factory.mktemp("cvat")) as engine:
        yield engine


def connected(store: Store, **options: Any) -> Client:
    """Return the connection that CVAT makes (components/analytics/clickhouse/init.py, cvat/apps/events/export.py)."""
    return clickhouse_connect.get_client(
        host="127.0.0.1",
        port=store.http_port,
        username="cvat",
        password=store.context.secrets["clickhouse_cvat"],
        **options,
    )


def start(store: Store, *columns: str) -> None:
    """Do what a CVAT server does at its start, with the columns that it adds."""
    with connected(store) as client:
        client.query(f"CREATE DATABASE IF NOT EXISTS {store.database};")
        client.database = store.database
        client.query(
            f"CREATE TABLE IF NOT EXISTS events ({STOCK_COLUMNS}) ENGINE = MergeTree PARTITION BY toYYYYMM(timestamp) "
            "ORDER BY (timestamp) SETTINGS index_granularity = 8192;"
        )
        for column in columns:
            client.query(f"ALTER TABLE events\nADD COLUMN IF NOT EXISTS\n{column} DEFAULT NULL\n")


def event(**fields: Any) -> dict[str, Any]:
    return {"scope": "save:job", "source": "server", "timestamp": "2026-01-05 10:00:00.000", **fields}


def test_a_cvat_starts_and_exports(store: Store) -> None:
    start(store, "`access_token_id` Nullable(UInt64)")
    store.insert([event(user_id=7, job_id=9), event(user_id=8)])
    now = datetime(2026, 2, 1, tzinfo=UTC)
    with connected(store, database=store.database) as client:
        result = client.query(
            "SELECT * FROM events WHERE timestamp >= {from:DateTime64} AND timestamp <= {to:DateTime64} AND user_id = {user_id:UInt64} "
            "ORDER BY timestamp ASC",
            parameters={"from": (now - timedelta(days=30)).timestamp(), "to": now.timestamp(), "user_id": 7},
        )
    assert list(result.column_names) == list(COLUMNS)
    assert [row[list(COLUMNS).index("job_id")] for row in result.result_rows] == [9]


@pytest.mark.parametrize(
    "attack",
    [
        "CREATE MATERIALIZED VIEW {db}.stops ENGINE = MergeTree ORDER BY tuple() AS SELECT throwIf(1) FROM {db}.events",
        "CREATE MATERIALIZED VIEW {db}.stops TO {db}.events AS SELECT throwIf(1) FROM {db}.events",
        "CREATE VIEW {db}.bends AS SELECT 1",
        "ALTER TABLE {db}.events ADD COLUMN stops UInt8 DEFAULT throwIf(1)",
        "ALTER TABLE {db}.events ADD COLUMN IF NOT EXISTS stops UInt8 MATERIALIZED throwIf(1)",
        "ALTER TABLE {db}.events ADD COLUMN IF NOT EXISTS access_token_id UInt64, ADD COLUMN stops UInt8",
        "ALTER TABLE {db}.events ADD COLUMN IF NOT EXISTS access_token_id UInt64, MODIFY COLUMN access_token_id UInt64 DEFAULT throwIf(1)",
        "ALTER TABLE {db}.events MODIFY COLUMN access_token_id UInt64 DEFAULT throwIf(1)",
        "ALTER TABLE {db}.events DROP COLUMN access_token_id",
        "ALTER TABLE {db}.events MODIFY TTL timestamp + INTERVAL 1 SECOND",
        "ALTER TABLE {db}.events DELETE WHERE 1",
        "ALTER TABLE {db}.working_time_settings ADD COLUMN stops UInt8 DEFAULT throwIf(1)",
        "INSERT INTO {db}.working_time_settings (threshold_ms) VALUES (1)",
        "INSERT INTO {db}.events (scope) VALUES ('save:job')",
        "INSERT INTO {db}.pipeline_metrics (name) VALUES ('x')",
        "CREATE TABLE {db}.working_time_settings_2 (a UInt8) ENGINE = MergeTree ORDER BY a",
        "CREATE OR REPLACE TABLE {db}.events (a UInt8) ENGINE = MergeTree ORDER BY a",
        "TRUNCATE DATABASE IF EXISTS {db}",
        "TRUNCATE TABLE {db}.events",
        "DROP TABLE {db}.events",
        "CREATE DATABASE another",
        "SELECT count() FROM {db}.working_time_settings",
        "SELECT count() FROM {db}.events_dead_letter",
        "SELECT * FROM url('http://127.0.0.1:1/', CSV, 'a String')",
        "SELECT * FROM filesystem('x')",
        "SYSTEM STOP MERGES {db}.events",
        "SYSTEM STOP VIEW {db}.working_time_refresh",
        "CREATE USER intruder",
    ],
)
def test_it_can_stop_and_bend_nothing(store: Store, attack: str) -> None:
    before = store.post(
        "SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase() ORDER BY name"
    )
    # what it may write is used up where another test of this engine had it write
    refused = r"ACCESS_DENIED|QUOTA_EXCEEDED" if attack.startswith("INSERT") else r"ACCESS_DENIED"
    with pytest.raises(AssertionError, match=refused):
        store.post(attack.format(db=store.database), user="cvat")
    assert (
        before.split('"data"')[1].split('"statistics"')[0]
        == store.post(
            "SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase() ORDER BY name"
        )
        .split('"data"')[1]
        .split('"statistics"')[0]
    )


def test_a_throwing_default_of_a_column_that_is_there_is_none(store: Store) -> None:
    start(
        store,
        "`access_token_id` UInt64 MATERIALIZED throwIf(1), ADD COLUMN IF NOT EXISTS access_token_id UInt8",
    )
    store.insert([event(user_id=12)])
    assert store.rows("SELECT count() AS events FROM events WHERE user_id = 12") == [{"events": 1}]


@pytest.mark.parametrize("setting", ["max_execution_time", "max_memory_usage"])
@pytest.mark.parametrize(
    "profile", ["", "profile = 'default', ", "profile = 'cvat_writer', ", "profile = 'cvat_export', "]
)
@pytest.mark.parametrize("value", ["0", "1000000000000"])
def test_it_cannot_lift_its_limits(store: Store, setting: str, profile: str, value: str) -> None:
    with pytest.raises(AssertionError, match=r"SETTING_CONSTRAINT_VIOLATION|READONLY"):
        store.post(f"SELECT 1 SETTINGS {profile}{setting} = {value}", user="cvat")


def test_nor_by_a_profile_that_has_none(store: Store) -> None:
    with connected(store) as client:
        client.command("SET profile = 'cvat_writer'")
        for setting in ("max_execution_time", "max_memory_usage"):
            with pytest.raises(DatabaseError, match="SETTING_CONSTRAINT_VIOLATION"):
                client.command(f"SET {setting} = 0")
            assert float(client.command(f"SELECT getSetting('{setting}')")) > 0  # type: ignore[arg-type]


def test_a_temporary_table_takes_nothing(store: Store) -> None:
    with connected(store) as client:
        client.command("CREATE TEMPORARY TABLE fills (a UInt64) ENGINE = MergeTree ORDER BY a")
        with pytest.raises(DatabaseError, match="QUOTA_EXCEEDED"):
            client.command("INSERT INTO fills SELECT number FROM numbers(1000000)")
        with pytest.raises(DatabaseError, match="QUOTA_EXCEEDED"):
            client.command(
                "CREATE TEMPORARY TABLE fills_2 ENGINE = MergeTree ORDER BY a AS SELECT number AS a FROM numbers(1000000)"
            )
    start(store)  # what it has asked for in vain keeps no CVAT from starting


def test_merges_go_on_whatever_it_stops(store: Store) -> None:
    store.post("SYSTEM STOP MERGES", user="cvat")  # of tables that are its own to stop: none
    store.insert([event(user_id=1)])
    store.insert([event(user_id=2)])
    store.post("OPTIMIZE TABLE events FINAL SETTINGS optimize_throw_if_noop = 1")


def test_a_later_cvat_that_wants_a_column_is_told_of_and_let_in(tmp_path: Path) -> None:
    with running(tmp_path) as store:
        database = store.database

        def rows(query: str) -> Any:
            with clickhouse_connect.get_client(
                host="127.0.0.1", port=store.http_port, username="admin", database=database,
                password=store.context.secrets["clickhouse_admin"],
            ) as client:  # fmt: skip
                return client.query(query, tz_mode="aware").result_rows

        assert cvat_refusals.look(rows, ()) == []
        with pytest.raises(DatabaseError, match="ACCESS_DENIED"):
            start(store, "`access_token_id` Nullable(UInt64)", "`label_id` Nullable(UInt64)")
        store.insert([event(user_id=3)])
        assert store.rows("SELECT count() AS events FROM events") == [{"events": 1}]

        (refusal,) = until(lambda: cvat_refusals.look(rows, ()), "the refusal is known")
        assert (refusal.columns, refusal.right) == (
            ["label_id"],
            f"ALTER ADD COLUMN(label_id) ON {database}.events",
        )
        lines = _cvat_refusal(refusal)
        assert lines[0].endswith(
            "it wants to add a column to the event table that this version does not know (label_id) [CVA9107]"
        )
        assert lines[-1].strip() == 'cvat_columns = ("label_id",)'
        # the setting says it, and the deploy does it
        assert cvat_refusals.look(rows, ("label_id",)) == []
        settings = store.context.settings.model_copy(update={"cvat_columns": ("label_id",)})
        engines = {str(name): str(engine) for name, engine in rows(migrations.engines_query(database))}
        for statement in migrations.new_columns(settings, engines):
            store.post(statement)
        engines = {str(name): str(engine) for name, engine in rows(migrations.engines_query(database))}
        assert migrations.new_columns(settings, engines) == []
        store.insert([event(user_id=4)])
        shown = json.loads(store.post("SELECT * FROM events"))["meta"]
        assert [column["name"] for column in shown] == [*COLUMNS, "label_id"]


OLDER = "GRANT SELECT, INSERT, CREATE DATABASE, CREATE TABLE, ALTER ADD COLUMN ON cvat.*"
"""What an earlier version gave CVAT's user."""


def test_a_deploy_takes_the_older_rights_away(tmp_path: Path) -> None:
    """The engine library reads the file of users at its start only, a server by itself."""
    write = "INSERT INTO working_time_settings (threshold_ms) VALUES (1)"
    with running(tmp_path) as store:
        pass
    (users,) = tmp_path.rglob("users.d/cvat-analytics.xml")
    rendered = users.read_text()
    former = rendered.replace(rights.of_users("cvat")["cvat"][0].statement, OLDER).replace(
        "<quota>cvat_server</quota>", "<quota>default</quota>"
    )
    assert former != rendered
    users.write_text(former)
    with engine(store, tmp_path):
        store.post(write.replace("1)", "100000)"), user="cvat")
    users.write_text(rendered)
    with engine(store, tmp_path):
        with pytest.raises(AssertionError, match="ACCESS_DENIED"):
            store.post(write, user="cvat")
        start(store, "`access_token_id` Nullable(UInt64)")


def test_the_line_of_anything_else_is_one_line() -> None:
    refusal = CvatRefusal("SELECT ON cvat.x\n\x1b[2J", (), datetime(2026, 1, 5, 10, tzinfo=UTC), 2)
    first, _ = _cvat_refusal(refusal)
    assert first.startswith(
        "CVAT        was refused what its ClickHouse user has no right to, 2 times, last at 2026-01-05 10:00:00 UTC: SELECT ON cvat.x"
    )
    assert "\n" not in first
