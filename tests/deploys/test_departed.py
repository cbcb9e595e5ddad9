"""A part whose group a host has left is stopped and removed by the next deploy, with what deploys have made for it and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pyinfra.api.exceptions import PyinfraError

from deploys.report import AGREED, HAS_LEFT
from tests.deploys.conftest import Deploy

GROUPS = {"clickhouse": ["@fake/a"], "vector": ["@fake/a"], "grafana": ["@fake/b"]}
ADDRESSES = {"@fake/a": {"address": "10.0.0.1"}, "@fake/b": {"address": "10.0.0.2"}}
THERE = """record package grafana
record path /var/lib/grafana
record user grafana
record path /etc/grafana
file /var/lib/cvat-analytics/made
directory /etc/grafana
directory /var/lib/grafana
directory /etc/cvat-analytics/dashboards
file /etc/grafana/cvat-analytics.ini
file /etc/grafana/grafana.ini
file /etc/vector/vector.toml
size 4096 /var/lib/grafana
package grafana\t13.2.3\tinstalled\t, \t
package vector\t0.58.0-1\tinstalled\t, \t
user grafana
unit grafana-server.service active enabled
unit vector.service active enabled""".splitlines()


def answers(*components: str, there: list[str] | None = None) -> dict[str, Any]:
    """Return the answers of hosts on which `components` were deployed."""
    return {
        "cat /var/lib/cvat-analytics/deployed.json": [json.dumps({"components": components, "settings": {}})],
        "record=": there or THERE,
    }


def test_it_is_removed_when_all_else_is_at_work_and_its_data_stays(run_deploy: Deploy) -> None:
    run = run_deploy(
        groups=GROUPS, host_settings=ADDRESSES, answers=answers("clickhouse", "vector", "grafana")
    )
    stop = run.position("systemctl disable -q --now grafana-server.service")
    purge = run.position("dpkg --purge grafana ")
    files = run.position("rm -f /etc/grafana/cvat-analytics.ini")
    assert run.position("systemctl restart vector") < stop < purge < files
    last = [n for n, command in enumerate(run.commands["@fake/a"]) if "base64 -d | tar" in command][-1]
    assert files < last, "what is deployed is noted when it has left"
    text = "\n".join(run.commands["@fake/a"][stop:])
    assert "rm -rf /etc/cvat-analytics/dashboards" in text
    for other in ("/var/lib/grafana", "userdel", "--now vector", "/etc/vector/vector.toml"):
        assert f"rm -rf {other}" not in text
        assert f"rm -f {other}" not in text
    assert "userdel" not in text
    # which only an uninstall listens to
    assert ">&3" not in text
    assert "systemctl disable -q --now vector" not in text


def test_where_nothing_has_left_nothing_is_asked(run_deploy: Deploy) -> None:
    run = run_deploy(groups=GROUPS, host_settings=ADDRESSES, answers=answers("clickhouse", "vector"))
    assert run.matching("record=") == []
    assert run.matching("dpkg --purge") == []


def test_the_store_and_vector_do_not_leave_their_host_without_a_word(
    run_deploy: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = GROUPS | {"clickhouse": ["@fake/b"], "vector": ["@fake/b"], "grafana": ["@fake/a"]}
    there = [
        *THERE,
        # a disk's, mounted before the first deploy
        "directory /var/lib/clickhouse",
        "record path /var/lib/vector",
        "record package vector",
        "directory /var/lib/vector",
        "size 1073741824 /var/lib/clickhouse",
    ]
    told = answers("clickhouse", "vector", there=there)
    with pytest.raises(PyinfraError) as refused:
        run_deploy(groups=moved, host_settings=ADDRESSES, answers=told, limit=["@fake/a"])
    said = f"host @fake/a: clickhouse {HAS_LEFT}: it is stopped and removed. /var/lib/clickhouse stays (1.0 GiB), but what is in it"
    assert said in str(refused.value)
    alone = moved | {"clickhouse": ["@fake/a"]}
    with pytest.raises(PyinfraError) as refused:
        run_deploy(groups=alone, host_settings=ADDRESSES, answers=told, limit=["@fake/a"])
    assert (
        f"vector {HAS_LEFT}: it is stopped and removed. /var/lib/vector stays (0 MiB), but it takes no"
        in str(refused.value)
    )
    monkeypatch.setenv(AGREED, "yes")
    run_deploy(groups=moved, host_settings=ADDRESSES, answers=told, limit=["@fake/a"])
