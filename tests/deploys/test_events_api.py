"""The events API in a deploy, on pyinfra's fake hosts."""

import pytest

EVERYTHING = {name: ["@fake/a"] for name in ("clickhouse", "vector", "grafana", "events_api")}
UNIT = "cvat-analytics-events-api"


@pytest.fixture(autouse=True)
def _archives(monkeypatch):
    monkeypatch.setattr("cvat_analytics.plugin.archive", lambda settings, architecture: b"archive")


def test_it_is_unpacked_before_it_is_configured_and_started_after_the_store(run_deploy):
    run = run_deploy(groups=EVERYTHING)
    assert run.failed == set()
    unpacked = run.position(r"mv /opt/cvat-analytics/events-api\.new /opt/cvat-analytics/events-api")
    store, started = (
        run.position("systemctl restart clickhouse-server"),
        run.position(f"systemctl restart {UNIT}"),
    )
    assert unpacked < store < started
    assert run.matching(rf"{UNIT} did not become healthy")[0].count("GET /health") == 1


def test_a_stack_without_it_has_nothing_of_it(run_deploy):
    run = run_deploy()
    assert run.failed == set()
    assert run.matching("events-api") == []


def test_on_a_host_of_its_own_it_reaches_store_and_vector_there(run_deploy):
    hosts = {
        "clickhouse": ["@fake/a"],
        "vector": ["@fake/a"],
        "grafana": ["@fake/a"],
        "events_api": ["@fake/b"],
    }
    addresses = {
        "@fake/a": {"address": "10.0.0.1", "vector_listen_address": "0.0.0.0"},
        "@fake/b": {"address": "10.0.0.2"},
    }
    run = run_deploy(groups=hosts, host_settings=addresses)
    assert run.failed == set()
    assert run.matching(f"systemctl restart {UNIT}", "@fake/b")
    assert not run.matching(UNIT, "@fake/a")


def test_no_password_is_in_a_command(run_deploy):
    run = run_deploy(groups=EVERYTHING)
    text = "\n".join(command for commands in run.commands.values() for command in commands)
    assert [name for name in run.secrets if run.secrets[name] in text] == []
