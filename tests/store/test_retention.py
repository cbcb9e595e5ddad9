"""What the settings say of retention reaches tables that are there already, ClickHouse's own logs too, and then nothing is left to do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cvat_analytics.config.validation import validate
from cvat_analytics.connect.access import pairs
from cvat_analytics.store import migrations
from tests.clickhouse import Store, running, way_to

LOG = "(event_date Date, event_time DateTime) ENGINE = MergeTree PARTITION BY event_date ORDER BY event_time"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Return an engine of their own: ClickHouse's logs are the whole server's."""
    with running(tmp_path_factory.mktemp("store")) as store:
        yield store


def apply(store: Store, **values: str) -> list[str]:
    """Bring the tables to the settings, as a deploy does, and return the statements that it took."""
    client = way_to(store.context).client()
    engines = pairs(client, migrations.engines_query("cvat"))
    statements = migrations.retention(validate(values, where="test"), engines)
    for statement in statements:
        client.command(statement)
    return statements


def test_a_changed_setting_acts_on_what_is_there(engine: Store) -> None:
    apply(engine)
    assert apply(engine) == []
    engine.post(f"CREATE TABLE system.query_log {LOG} TTL event_date + INTERVAL 14 DAY DELETE")
    # as ClickHouse leaves them when its configuration has changed: one with rows of old, one from which all have gone
    for name in ("system.query_log_0", "system.part_log_1"):
        engine.post(f"CREATE TABLE {name} {LOG}")
    engine.post("INSERT INTO system.query_log_0 VALUES (today(), now()), (today() - 5, now())")

    assert apply(engine, system_logs_retention="14d") == [
        "DROP TABLE system.part_log_1",
        "ALTER TABLE system.query_log_0 MODIFY TTL event_date + toIntervalDay(14)",
    ]
    assert apply(engine, system_logs_retention="14d") == []

    assert len(apply(engine, system_logs_retention="3d", events_retention="30d")) == 5
    assert apply(engine, system_logs_retention="3d", events_retention="30d") == []
    engine.post("OPTIMIZE TABLE system.query_log_0 FINAL")
    assert '"rows": 1,' in engine.post("SELECT event_date FROM system.query_log_0")

    assert len(apply(engine, system_logs_retention="forever", events_retention="forever")) == 5
    assert apply(engine, system_logs_retention="forever", events_retention="forever") == []
