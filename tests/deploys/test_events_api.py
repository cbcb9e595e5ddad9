"""The events API in a deploy, on pyinfra's fake hosts."""

from pathlib import Path

import pytest

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.rendering import events_api_archive
from tests.deploys.conftest import OFFERS, Deploy
from tests.deploys.test_deploy import refusal

ARCHIVE = events_api_archive.archive
EVERYTHING = {name: ["@fake/a"] for name in ("clickhouse", "vector", "grafana", "events_api")}
UNIT = "cvat-analytics-events-api"


def test_it_is_unpacked_before_it_is_configured_and_started_after_the_store(run_deploy: Deploy) -> None:
    run = run_deploy(groups=EVERYTHING)
    assert run.failed == set()
    unpacked = run.position(r"mv /opt/cvat-analytics/events-api\.new /opt/cvat-analytics/events-api")
    store, started = (
        run.position("systemctl restart clickhouse-server"),
        run.position(f"systemctl restart {UNIT}"),
    )
    assert unpacked < store < started
    assert run.matching(rf"{UNIT} did not become healthy")[0].count("GET /health") == 1


def test_a_stack_without_it_has_nothing_of_it(run_deploy: Deploy) -> None:
    run = run_deploy()
    assert run.failed == set()
    assert run.matching("events-api") == []


def test_on_a_host_of_its_own_it_reaches_store_and_vector_there(run_deploy: Deploy) -> None:
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


def test_no_password_is_in_a_command(run_deploy: Deploy) -> None:
    run = run_deploy(groups=EVERYTHING)
    text = "\n".join(command for commands in run.commands.values() for command in commands)
    assert [name for name in run.secrets if run.secrets[name] in text] == []


def test_a_bundle_without_its_wheels_is_refused_before_any_change(
    run_deploy: Deploy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("cvat_analytics.rendering.events_api_archive.archive", ARCHIVE)
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    for offer in OFFERS.splitlines():
        _, name, version = offer.split()
        (bundle / f"{name}_{version}_amd64.deb").touch()
    text = refusal(run_deploy, groups=EVERYTHING, settings={"package_source": str(bundle)})
    assert text.startswith(
        f"package_source {bundle}: lacks wheels of the events API for Python 3.11 on amd64: annotated-doc "
    )
    assert text.endswith(
        f"`cvat-analytics bundle wheels {bundle} --system debian-12 --architecture amd64` gets them"
    )


def test_a_machine_that_cannot_get_the_wheels_is_refused_before_any_change(
    run_deploy: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def archive(*about: object) -> bytes:
        raise InputError(Code.FETCH_FAILED, "no index")

    monkeypatch.setattr("cvat_analytics.rendering.events_api_archive.archive", archive)
    assert refusal(run_deploy, groups=EVERYTHING) == "no index"
    # and where a host has them already nothing is made
    there = {"events-api.sha256": [events_api_archive.digest("3.11", "amd64")]}
    run = run_deploy(groups=EVERYTHING, answers=there)
    assert run.failed == set()
    assert run.matching("events-api.new") == []
