"""A deploy to a host with the event table of an earlier version, while events come in."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

from cvat_analytics.store import migrations
from cvat_analytics.store.migrations import Script

from .command import cvat_analytics, deploy
from .host import Host
from .test_deploy import sql
from .test_operations import producing, stored

FORMER = Script("init.sql", "once", (Path(__file__).parents[1] / "store" / "former" / "init.sql").read_text())
HISTORY = (
    "INSERT INTO events (scope, source, timestamp, count, payload) SELECT 'create:shapes', 'server', "
    "toDateTime64('2026-01-01 00:00:00', 3, 'UTC') + number * 3600, number, toString(number) FROM numbers(3000)"
)


def script(host: Host, *statements: str) -> None:
    """Run statements as the administrator of the host."""
    text = base64.b64encode(";\n".join(statements).encode()).decode()
    client = "clickhouse-client --config-file=/etc/cvat-analytics/secrets/clickhouse-client.xml"
    host.run(f"echo {text} | base64 -d | {client} --database=cvat --multiquery")


def test_the_table_is_rebuilt_once_and_takes_greater_numbers(
    deployed_host: Host, inventory: Callable[..., Path]
) -> None:
    host = deployed_host
    path = inventory(host, vector_listen_address=host.ip)
    deploy(path)
    script(
        host,
        "DROP TABLE events SYNC",
        migrations.statements(FORMER.sql)[0],
        HISTORY,
        migrations.record(FORMER, "cvat"),
    )
    said = "is rebuilt, because `count` is to hold numbers beyond 65,535"
    preview = cvat_analytics("deploy", "--inventory", path, "--dry")
    assert said in preview.text
    assert "Nullable(UInt16)" in sql(host, "SHOW CREATE TABLE cvat.events")
    with producing(host, 8282) as producer:
        rebuilt = deploy(path)
        assert said in rebuilt.text
    assert stored(host, len(producer.acknowledged)) == (len(producer.acknowledged),) * 2
    assert sql(host, "SELECT count(), sum(count) FROM cvat.events FINAL WHERE scope = 'create:shapes'").split() == ["3000", "4498500"]  # fmt: skip
    assert "Nullable(UInt32)" in sql(host, "SHOW CREATE TABLE cvat.events")
    assert "rebuild" not in sql(host, "SHOW TABLES FROM cvat")
    assert "Nothing to change" in deploy(path).text
