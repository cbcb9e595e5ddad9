"""A host makes its backups by itself, onto another host over SSH; when it is lost, another one comes back from there and the recovery key."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.waiting import until

from .backups import ASK_GRAFANA, GRAFANA, MAKE_GRAFANA, offer_restic
from .command import cvat_analytics, deploy
from .conftest import HostFactory
from .deployed import DeployedImage
from .host import Host
from .repository import RepositoryServer
from .test_deploy import sql, state

TIMER, VERIFY = "cvat-analytics-backup.timer", "cvat-analytics-backup-verify"
EVENTS = "SELECT count(), sum(cityHash64(scope, timestamp, user_id, job_id)) FROM cvat.events FINAL"


def let_in(store: Host, said: str) -> None:
    """Do what a deploy has asked for: let the host's key in."""
    (key,) = [line.strip() for line in said.splitlines() if line.strip().startswith("restrict,")]
    store.run(f"echo '{key}' >> /home/ops/.ssh/authorized_keys")


def backups(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cvat_analytics("status", "--inventory", path, "--json").output)[
        "backups"
    ]
    return found


def test_a_lost_host_comes_back_from_the_backups_that_its_timer_made(
    deployed_host: Host,
    deployed_image: DeployedImage,
    host_factory: HostFactory,
    inventory: Callable[..., Path],
    repository_server: RepositoryServer,
) -> None:
    host, store = deployed_host, host_factory()
    offer_restic(host, repository_server)
    host.run(MAKE_GRAFANA)
    sql(host, "INSERT INTO cvat.events (scope, source, timestamp, user_id, job_id) "
              "SELECT 'change:frame', 'client', now() - number * 60, number % 7, number % 100 FROM numbers(5000)")  # fmt: skip
    target = f"sftp:ops@{store.ip}:/home/ops/backup"

    # every few seconds: it fails until the host's key is let in, and says why
    path = inventory(host, backup_target=target, backup_schedule="*:*:0/5")
    said = deploy(path).text
    assert "Keep a copy of `backup_recovery_key` of " in said
    failed = until(
        lambda: backups(path), "an attempt has failed", lambda found: found["failed"], patience=120
    )
    assert "its SSH does not let root of this host in" in failed["why"]
    assert failed["too_old"]
    let_in(store, said)
    made = until(lambda: backups(path), "a backup was made", lambda found: found["last"], patience=180)
    host.run(f"systemctl stop {TIMER}")
    assert any(f"{TIMER} of {host.name} is inactive" in problem for problem in backups(path)["problems"])
    assert made["too_old"] is False
    # what restic keeps is locked: neither a name nor a password can be read there
    assert store.run("grep -rl 'change:frame\\|clickhouse_admin' /home/ops/backup", check=False).output == ""
    until(lambda: host.run("systemctl is-active cvat-analytics-backup", check=False).output.strip(), "the last run has ended",
          lambda found: found in ("inactive", "failed"), patience=120)  # fmt: skip

    # as once a month
    assert backups(path)["proven"] == ""
    host.run(f"systemctl start {VERIFY}.service")
    assert backups(path)["proven"] == backups(path)["last"]
    listed = cvat_analytics("backup", "list", "--inventory", path, "--json")
    assert listed.exit_code == 0, listed.text
    newest = json.loads(listed.output)["backups"][0]
    assert (newest["events"], newest["proven"]) == (5000, True)
    expected = sql(host, EVENTS)

    # it is lost: from what is there beside it, and the recovery key, all of it comes back to another one
    host.container.kill()
    another = host_factory(tag=deployed_image.tag)
    offer_restic(another, repository_server)
    path = inventory(another, backup_target=target)
    let_in(store, deploy(path).text)
    for _ in range(2):  # the second time nothing is lacking, and nothing doubles
        restored = cvat_analytics("backup", "restore", "--grafana", "--yes", "--inventory", path)
        assert restored.exit_code == 0, restored.text
        assert sql(another, EVENTS) == expected
        assert another.run(ASK_GRAFANA).output.split("\n")[0] == "reader made by hand"
        assert another.run("systemctl is-active grafana-server").output.strip() == "active"
    assert another.run(f"stat -c '%U %G %a' {GRAFANA}").output.split() == ["grafana", "grafana", "640"]

    # without a target nothing of it stays
    deploy(inventory(another))
    assert [name for name in state(another) if "backup" in name] == []
    assert (
        another.run("systemctl list-unit-files 'cvat-analytics-backup*' --no-legend", check=False).output
        == ""
    )
