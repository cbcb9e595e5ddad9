"""A host of a kept release is brought to today; then parts of it get other versions while events come in: one after the other, and back by themselves
when one fails."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from cvat_analytics.config.versions import PREVIOUS
from tests.waiting import until

from . import kept, packages
from .command import PROGRAM, Outcome, cvat_analytics, deploy, smoke
from .host import Host
from .repository import Repository, RepositoryServer
from .test_deploy import deploy_until, sql
from .test_operations import producing, stored

NEWER = {"clickhouse_version": "26.8.20.1", "vector_version": "0.58.1-1", "grafana_version": "13.2.4"}
CLICKHOUSE = ("clickhouse-common-static", "clickhouse-server", "clickhouse-client")
DATABASE = "/var/lib/grafana/grafana.db"
WRITES = (
    "python3 -c 'import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(\"{}\"); c.commit()' "
    + DATABASE
)


def broken(repository: Repository, name: str, version: str, program: str, text: str) -> None:
    """Add a version of the stand-in package `name` whose `program` is the script `text`."""
    package = packages.build(name, version, repository.directory)
    tree = repository.directory / "broken"
    subprocess.run(["dpkg-deb", "-R", package, tree], check=True)
    (tree / program).write_text(text)
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", tree, package],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    shutil.rmtree(tree)
    repository.publish()


def installed(host: Host) -> dict[str, str]:
    names = (*CLICKHOUSE, "vector", "grafana")
    said = host.run(f"dpkg-query -W -f '${{Package}} ${{Version}}\\n' {' '.join(names)}").output
    return dict(line.split() for line in said.splitlines())


def upgraded(path: Path) -> Outcome:
    return cvat_analytics("upgrade", "apply", "--inventory", path, timeout=900, patient=True)


def killed_between_turns(path: Path) -> None:
    """Begin an upgrade, and kill it with kill -9 when ClickHouse has had its turn and Vector's is about to begin; a deploy comes between."""
    with subprocess.Popen(
        [PROGRAM, "upgrade", "apply", "--inventory", path], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:  # fmt: skip
        assert process.stderr is not None
        said: list[str] = []
        while not (said and said[-1].startswith("upgrade 2 of 3: Vector")):
            said.append(process.stderr.readline())
            assert said[-1], f"it has ended: {''.join(said)}"
        process.send_signal(signal.SIGSTOP)
        between = cvat_analytics("deploy", "--inventory", path)
        assert (between.exit_code, "another deploy is at work there: " in between.error) == (2, True)
        assert ", an upgrade (process " in between.error
        process.kill()
    assert process.returncode == -signal.SIGKILL


def brought_to_today(host: Host, path: Path) -> None:
    """Make the host be of a release that was kept, and deploy this checkout to it: nothing is lost, and nothing of then is left."""
    count = kept.leave(host, path.parent)
    lacking = cvat_analytics("upgrade", "plan", "--inventory", path)
    assert (lacking.exit_code, "lacks backup_recovery_key. Run " in lacking.error) == (2, True), lacking.text
    assert cvat_analytics("secrets", "init", "--inventory", path).exit_code == 0
    plan = cvat_analytics("upgrade", "plan", "--inventory", path)
    assert plan.exit_code == 0, plan.text
    assert re.search(r"schema +migrations/0011_implausible_dates.sql", plan.output)
    deploy(path)
    smoke(path)
    events = "SELECT count(), uniqExact(obj_id) FROM cvat.events FINAL WHERE org_slug IN ('house', 'then')"
    until(lambda: sql(host, events).split(), "events of then", lambda found: found == [str(count)] * 2)
    assert not kept.is_left(host)
    assert re.search(r"schema +(\S+) +\1\s", cvat_analytics("upgrade", "plan", "--inventory", path).output)
    assert "Nothing to change" in deploy(path).output


def test_versions_change_one_part_at_a_time_without_loss_and_come_back_when_one_fails(
    deployed_host: Host, inventory: Callable[..., Path], repository_server: RepositoryServer
) -> None:
    host = deployed_host
    mirror = repository_server.complete()
    for name in CLICKHOUSE:
        mirror.add(name, NEWER["clickhouse_version"])
    for name in ("vector", "grafana"):
        mirror.add(name, NEWER[f"{name}_version"])
    usual = {"vector_listen_address": host.ip, "health_timeout": "40s", **mirror.settings()}
    brought_to_today(host, inventory(host, **usual))
    host.run(
        WRITES.format("CREATE TABLE dashboard AS SELECT 1 AS made_by_hand") + f"; chown grafana: {DATABASE}"
    )

    path = inventory(host, **usual, **NEWER)
    plan = cvat_analytics("upgrade", "plan", "--inventory", path)
    assert plan.exit_code == 0, plan.text
    assert [line for line in plan.output.splitlines() if " -> " in line] == [
        f"clickhouse 26.8.19.9 -> 26.8.20.1 on {host.name}",
        f"vector 0.58.0-1 -> 0.58.1-1 on {host.name}",
        f"grafana 13.2.3 -> 13.2.4 on {host.name}",
    ]
    preview = deploy(path, "--dry")
    assert f"would upgrade  Vector 0.58.0-1 -> 0.58.1-1  on {host.name}" in preview.output

    with producing(host, 8282) as producer:
        # killed in the middle of the first turn: the next run goes on, and keeps what was kept before
        deploy_until(path, "clickhouse: configuration")
        killed_between_turns(path)
        done = until(
            lambda: upgraded(path),
            "what was killed has given up its lock",
            lambda outcome: "another deploy is at work" not in outcome.text,
        )
        assert done.exit_code == 0, done.text
        turns = [line for line in done.error.splitlines() if line.startswith("upgrade ")]
        assert [line.split(": ", 1)[1].split()[0] for line in turns] == ["Vector", "Grafana"]
        assert installed(host) == {
            **dict.fromkeys(CLICKHOUSE, NEWER["clickhouse_version"]),
            "vector": NEWER["vector_version"],
            "grafana": NEWER["grafana_version"],
        }
        assert "Nothing to change" in deploy(path).output
        assert host.run(f"ls {PREVIOUS}/*/open", check=False).exit_code != 0

        # each part in a version that does not start, Vector twice
        failing = {
            "vector": ("vector", "0.58.2-1", "usr/bin/vector", '#!/bin/sh\n[ "$1" = validate ] || [ "$1" = test ] || exit 1\n'),
            "clickhouse": ("clickhouse-common-static", "26.8.21.1", "usr/bin/clickhouse", "#!/bin/sh\nexit 1\n"),
            "grafana": ("grafana", "13.2.5", "usr/share/grafana/bin/grafana", "#!/bin/sh\n" + WRITES.format("DROP TABLE dashboard") + "\nexit 1\n"),
        }  # fmt: skip
        for name in CLICKHOUSE[1:]:
            mirror.add(name, "26.8.21.1")
        for broken_package in failing.values():
            broken(mirror, *broken_package)
        for part in ("vector", *failing):
            version = failing[part][1]
            before = installed(host)
            failed = upgraded(inventory(host, **usual, **NEWER | {f"{part}_version": version}))
            assert failed.exit_code == 1, failed.text
            assert f"host {host.name}: brought back: {part}" in failed.error, failed.text
            assert installed(host) == before
        assert (
            host.run(
                f'python3 -c \'import sqlite3; print(sqlite3.connect("{DATABASE}").execute("SELECT * FROM dashboard").fetchall())\''
            ).output
            == "[(1,)]\n"
        )

        # somebody installs Vector's package once more, and nobody restarts it
        path = inventory(host, **usual, **NEWER)
        deploy(path)
        host.run(f"sleep 1; dpkg -i {PREVIOUS}/vector/vector.deb")
        told = cvat_analytics("status", "--inventory", path)
        assert "it runs the program from before vector was installed as it is now" in told.text
        assert "vector: service" in deploy(path).output
    sent = len(producer.acknowledged)
    assert stored(host, sent) == (sent, sent)
    until(
        lambda: cvat_analytics("status", "--inventory", path).exit_code,
        "a stack that works",
        lambda code: code == 0,
    )
    assert json.loads(cvat_analytics("upgrade", "plan", "--inventory", path, "--json").output)["steps"] == []
