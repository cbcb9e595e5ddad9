"""How a deploy brings TLS to hosts: its commands and their order, on pyinfra's fake hosts."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from cvat_analytics.config import topology
from cvat_analytics.credentials import secrets
from cvat_analytics.credentials.certificates import Authority
from cvat_analytics.rendering import render
from cvat_analytics.rendering.context import Context
from deploys import vector_operations
from tests.deploys.conftest import Deploy

GROUPS = {"clickhouse": ["@fake/store"], "vector": ["@fake/rest"], "grafana": ["@fake/rest"]}
OWN = {"@fake/store": {"address": "10.0.0.1"}, "@fake/rest": {"address": "10.0.0.2"}}
TLS = {"clickhouse_tls": True, "vector_tls": True, "grafana_tls": True}


def test_what_runs_beside_clickhouse_s_clients_asks_through_tls_and_verifies(
    run_deploy: Deploy, tmp_path: Path
) -> None:
    run = run_deploy(GROUPS, TLS, OWN)
    tool = run.position(r"apt-get .* install openssl", "@fake/rest")
    verified = "openssl s_client .*-verify_return_error .*-CAfile /etc/cvat-analytics/ca.pem -verify_ip "
    insert = run.position(
        rf"INSERT\+INTO\+cvat\.incoming_events\+.*{verified}10.0.0.1 -connect 10.0.0.1:8443", "@fake/rest"
    )
    vector = run.position(rf"GET /ping .*{verified}127.0.0.1 -connect 127.0.0.1:8282", "@fake/rest")
    grafana = run.position(
        rf"GET /analytics/api/health .*{verified}127.0.0.1 -connect 127.0.0.1:3000", "@fake/rest"
    )
    assert tool < insert < vector < grafana
    # on its own host ClickHouse is asked without
    assert run.matching(r"/dev/tcp/127\.0\.0\.1/8123", "@fake/store")
    assert not run.matching("openssl", "@fake/store")

    issued = Authority(tmp_path / "certificates").issued()
    assert set(issued) == {"ca", "clickhouse-fake-store", "vector-fake-rest", "grafana-fake-rest"}
    text = "\n".join(command for commands in run.commands.values() for command in commands)
    assert [name for name, pair in issued.items() if pair.key.splitlines()[1] in text] == []


def test_without_tls_nothing_is_issued_and_no_tool_is_needed(run_deploy: Deploy, tmp_path: Path) -> None:
    run = run_deploy(GROUPS, {}, OWN)
    assert not (tmp_path / "certificates").exists()
    assert not run.matching("openssl", "@fake/rest")


def test_what_is_left_over_goes_once_all_services_run_without_it(run_deploy: Deploy) -> None:
    left = {
        "/etc/cvat-analytics/ca.pem": "root",
        "/etc/clickhouse-server/cvat-analytics-key.pem": "clickhouse",
    }
    answers = {
        "cvat-analytics-key.pem": [
            f"{'0' * 64} 640 {user} {user} 1793000000 {path}" for path, user in left.items()
        ]
    }
    run = run_deploy(answers=answers)
    removal = run.position(f"rm -f {' '.join(left)}")
    for unit in ("clickhouse-server", "vector", "grafana-server"):
        assert run.position(f"{unit} did not become healthy") < removal


def test_vector_proves_its_configuration_with_the_authority_that_is_not_there_yet(tmp_path: Path) -> None:
    stack = topology.build(GROUPS, {host: {**own, **TLS} for host, own in OWN.items()}, where="test")
    context = Context("@fake/rest", stack, secrets.generate(), authority=Authority(tmp_path))
    tried = {file.path: file for file in vector_operations.candidates(context, render.vector_files(context))}
    configuration = tomllib.loads(tried[f"{vector_operations.CANDIDATE}/vector.toml"].content)
    named = configuration["sinks"]["events"]["tls"]["ca_file"]
    assert tried[named].content == Authority(tmp_path).make().certificate
    for file in ("crt_file", "key_file"):
        assert configuration["sources"]["cvat_8282"]["tls"][file] in tried


@pytest.mark.parametrize(
    ("optional", "restarted"), [([], "grafana-server"), (["events_api", "gateway"], "cvat-analytics-gateway")]
)
def test_a_renewed_certificate_restarts_those_that_read_theirs_at_their_start_and_not_clickhouse(
    run_deploy: Deploy, tmp_path: Path, optional: list[str], restarted: str
) -> None:
    everything = {name: ["@fake/a"] for name in ("clickhouse", "vector", "grafana", *optional)}
    settings = {**TLS, "grafana_tls": not optional, "grafana_root_url": "https://cvat.example.org/analytics/"}

    def started_with() -> dict[str, str]:
        run = run_deploy(everything, settings)
        noted = run.matching(r"echo [0-9a-f]{64} > /var/lib/cvat-analytics/\S+\.applied")
        found = re.findall(r"echo (\w{64}) > \S+/(\S+)\.applied", "\n".join(noted))
        return {unit: digest for digest, unit in found}

    before = started_with()
    assert started_with() == before
    for file in (tmp_path / "certificates").glob("*.pem"):
        if not file.name.startswith("ca"):
            file.unlink()
    after = started_with()
    changed = {unit for unit in before if after[unit] != before[unit]}
    assert {"vector", restarted} <= changed
    assert "clickhouse-server" in before.keys() - changed
