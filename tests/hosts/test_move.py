"""ClickHouse moves to another host under load, killed on the way; no event is lost, none doubles, and the old one goes when that is wanted."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.waiting import until

from .command import PROGRAM, cvat_analytics, deploy
from .conftest import HostFactory
from .host import Host
from .repository import RepositoryServer
from .test_backup import offer_restic
from .test_deploy import sql
from .test_operations import producing, stored


def killed_at(line: str, *command: object) -> None:
    """Run a command with all that it starts until it says something, and kill them without a word."""
    with subprocess.Popen(
        [str(PROGRAM), *map(str, command)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        said = []
        for each in process.stderr or ():
            said.append(each)
            if line in each:
                os.killpg(process.pid, signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL, "".join(said)


def test_clickhouse_moves_under_load_killed_on_the_way_and_the_old_one_goes(
    deployed_host: Host,
    host_factory: HostFactory,
    inventory: Callable[..., Path],
    repository_server: RepositoryServer,
) -> None:
    old, new = deployed_host, host_factory()
    for host in (old, new):
        offer_restic(host, repository_server)
    others = {"vector": [old], "grafana": [old]}
    before = {"clickhouse": [old], **others, "spare": [new]}
    after = {"clickhouse": [new], **others}
    listening: dict[str, Any] = {"vector_listen_address": old.ip}
    deploy(inventory({"clickhouse": [old], **others}, **listening))
    sql(old, "INSERT INTO cvat.events (scope, source, timestamp, user_id, job_id) "
             "SELECT 'change:frame', 'client', now() - number * 600, number % 7, number % 100 FROM numbers(20000)")  # fmt: skip
    count = "SELECT count(), sum(cityHash64(scope, timestamp, user_id, job_id)) FROM cvat.events FINAL WHERE scope = 'change:frame'"
    there = sql(old, count)
    with producing(old, 8282) as producer:
        path = inventory(before, **listening)
        move = ("move", "clickhouse", "--to", new.name, "--inventory", path)
        preview = cvat_analytics(*move, "--dry")
        assert preview.exit_code == 0, preview.text
        assert f"clickhouse moves from {old.name} to {new.name}" in preview.text
        killed_at("ClickHouse writes its tables", *move, "--yes")
        # nobody deploys in between
        refused = cvat_analytics(
            "deploy", "--inventory", inventory({"clickhouse": [old], **others}, **listening)
        )
        assert refused.exit_code == 2, refused.text
        assert f"clickhouse is on its way from {old.name} to {new.name}" in refused.text
        inventory(before, **listening)
        killed_at(f"all hosts use clickhouse on {new.name}", *move, "--yes")
        moved = cvat_analytics(*move, "--yes", timeout=600)
        assert moved.exit_code == 0, moved.text
        assert f"  CLICKHOUSE_HOST={new.ip}\n" in moved.output
        assert "put" in moved.output
        since = len(producer.acknowledged)
        until(lambda: len(producer.acknowledged), "events go on", lambda found: found > since)
        behind = cvat_analytics(
            "deploy", "--inventory", inventory({"clickhouse": [old], **others}, **listening)
        )
        assert behind.exit_code == 2, behind.text
        assert f"put {new.name} in the place of {old.name} in the group 'clickhouse'" in behind.text
    assert stored(new, len(producer.acknowledged)) == (len(producer.acknowledged),) * 2
    assert sql(new, count) == there
    assert stored(old, 1)[0] < len(producer.acknowledged)
    # nothing of the way is left
    for host in (old, new):
        assert host.run("ls -d /var/lib/cvat-analytics/move*", check=False).output == ""
        assert "cvat-analytics-move" not in host.run("cat /home/ops/.ssh/authorized_keys").output

    path = inventory(after, **listening)
    finished = cvat_analytics(
        "move", "clickhouse", "--to", new.name, "--finish", "--yes", "--inventory", path
    )
    assert finished.exit_code == 0, finished.text
    assert old.run("systemctl is-active clickhouse-server", check=False).output.strip() != "active"
    assert old.run("ls /var/lib/clickhouse/store").output
    deploy(path)
    assert sql(new, count) == there
