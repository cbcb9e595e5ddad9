"""The plan of an upgrade, from what hosts say of themselves (made up here; tests/hosts has a real one)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import UnreachableError
from cvat_analytics.base.project import ROOT
from cvat_analytics.checks.units import Unit
from cvat_analytics.config import inventory as inventories
from cvat_analytics.gateway import gateway
from cvat_analytics.operate import upgrade_plan
from cvat_analytics.store import migrations
from scripts import upgrade
from scripts.cli import main

SAID = """free=1048576
architecture=amd64
os=debian-12
clickhouse=26.3.9.8
clickhouse.size=600000
vector=0.58.0-1
vector.size=200000
vector.data=131072
grafana=12.4.0
grafana.size=700000
grafana.data=2048
plugin=4.20.0
"""
SCRIPTS = migrations.read(ROOT / "clickhouse")
PENDING = [script.name for script in SCRIPTS if script.kind == "once" and script.name > "migrations/0012"]


class Host:
    """A host that answers every question of sh with SAID."""

    def __init__(self, said: str) -> None:
        self.shell = SimpleNamespace(run=lambda command, patience=None: said)


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    path = tmp_path / "hosts.py"
    path.write_text("clickhouse = vector = grafana = ['a']\n")
    scripts = SCRIPTS
    applied = {script.name: script.checksum for script in scripts if script.name < "migrations/0012"} | {
        script.name: script.checksum for script in scripts if script.kind == "view"
    }
    state = SimpleNamespace(said=SAID, applied=applied, older=False, inventory=path)
    monkeypatch.setattr(
        upgrade_plan,
        "_schema",
        lambda access: upgrade_plan._Said("26.3.9.8", state.applied, 40_000_000, 2**30),
    )
    monkeypatch.setattr(
        upgrade_plan.units,
        "of",
        lambda shell, components, settings: {name: Unit(True, older=state.older) for name in components},
    )

    @contextmanager
    def reach(inventory: Path) -> Iterator[Any]:
        yield inventories.load(inventory), None, {"a": Host(state.said)}

    monkeypatch.setattr(upgrade.remote, "reach_hosts", reach)

    def run(*options: str) -> Any:
        return CliRunner().invoke(main, ["upgrade", "plan", "--inventory", str(path), *options])

    state.run = run
    return state


def test_the_plan_says_what_runs_is_there_and_is_wanted_and_what_each_step_means(asked: Any) -> None:
    result = asked.run()
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "clickhouse 26.3.9.8 26.3.9.8 26.8.19.9 26.7.2 a" in lines
    assert "vector 0.58.0-1 0.58.0-1 0.58.0-1 0.58.0 a" in lines
    assert f"schema migrations/0011_implausible_dates.sql {PENDING[-1]}" in lines
    assert "stored 40,000,000 events, 1.0 GiB in all tables" in lines
    assert "clickhouse 26.3.9.8 -> 26.8.19.9 on a" in lines
    assert "room: 1.1 GiB of 1.0 GiB free" in lines
    assert any(line.startswith("26.8 patches of lightweight updates") for line in lines)
    # ClickHouse needs more than there is, and twice its package is not there
    assert result.exit_code == 1
    assert (
        "host a: ClickHouse 26.3.9.8 -> 26.8.19.9: 1.0 GiB are free in /var/lib, and 1.1 GiB are needed for the new package and a copy of what "
        "is there now. Make room (docs/how-to/disk-is-full.md) [CVA8101]"
    ) in lines


def test_for_machines_it_is_one_object_and_nothing_refused_is_exit_code_0(asked: Any) -> None:
    asked.said = SAID.replace("free=1048576", "free=104857600")
    result = asked.run("--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [(step["part"], step["goes_back"]) for step in found["steps"]] == [
        ("clickhouse", False),
        ("grafana", False),
        ("plugin", True),
    ]
    assert [each["name"] for each in found["migrations"]] == PENDING
    assert found["refused"] == []


def test_what_runs_an_older_program_than_is_installed_has_no_version_that_runs(asked: Any) -> None:
    asked.older = True
    found = json.loads(asked.run("--json").stdout)
    assert [part["running"] for part in found["parts"]] == ["26.3.9.8", "", "", ""]


def test_a_vector_is_refused_in_the_plan_too_while_clickhouse_does_not_answer(
    asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(access: Any) -> Any:
        raise UnreachableError(Code.CLICKHOUSE_AWAY, "ClickHouse does not answer")

    asked.said = SAID.replace("free=1048576", "free=104857600").replace("vector=0.58.0-1", "vector=0.57.0-1")
    assert json.loads(asked.run("--json").stdout)["refused"] == []
    monkeypatch.setattr(upgrade_plan, "_schema", away)
    (refused,) = json.loads(asked.run("--json").stdout)["refused"]
    assert refused.startswith(
        "host a: Vector 0.57.0-1 -> 0.58.0-1: what waits in its buffer on disk is promised to no"
    )


def test_a_clickhouse_that_does_not_run_the_migrations_is_refused_in_the_plan_too(asked: Any) -> None:
    asked.said = SAID.replace("free=1048576", "free=104857600")
    (asked.inventory.parent / "group_data").mkdir()
    (asked.inventory.parent / "group_data" / "all.py").write_text("clickhouse_version = '25.8.3.1'\n")
    result = asked.run()
    assert result.exit_code == 1
    assert "host a: ClickHouse 25.8.3.1 does not run the SQL of this version" in result.stdout


def test_what_comes_with_this_project_is_a_step_like_the_others(asked: Any) -> None:
    asked.said = SAID + "events_api=0123456789abcdef\nevents_api.size=51200\ngateway=earlier\n"
    asked.inventory.write_text("clickhouse = vector = grafana = events_api = gateway = ['a']\n")
    lines = asked.run().stdout.splitlines()
    for begin, stops, room in (
        ("events_api 0123456789ab -> ", "what it is asked and takes", "100 MiB"),
        (f"gateway earlier -> {gateway.digest()} on a", "all pages", "0 MiB"),
    ):
        at = next(number for number, line in enumerate(lines) if line.startswith(begin))
        assert lines[at + 1 : at + 5] == [
            f"  stops: {stops}, for seconds",
            f"  room:  {room} of 1.0 GiB free",
            "  back:  the former checkout, and a deploy",
            "",
        ]
    asked.said = asked.said.replace("gateway=earlier", f"gateway={gateway.digest()}")
    assert "gateway " not in "".join(line for line in asked.run().stdout.splitlines() if "->" in line)
    asked.said = asked.said.replace("events_api.size=51200", "events_api.size=5120000")
    (refused,) = [line for line in json.loads(asked.run("--json").stdout)["refused"] if "events API" in line]
    assert refused.startswith("host a: the events API 0123456789ab -> ")
    assert "1.0 GiB are free in /var/lib, and 9.8 GiB are needed" in refused


def test_a_database_of_a_newer_checkout_is_refused_in_the_plan_too(asked: Any) -> None:
    asked.said = SAID.replace("free=1048576", "free=104857600")
    asked.applied = asked.applied | {"migrations/9999_newer.sql": "x"}
    result = asked.run()
    assert result.exit_code == 1
    assert "the database has migrations/9999_newer.sql, which this checkout lacks" in result.stdout
