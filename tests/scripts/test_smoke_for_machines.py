"""`smoke --json` has all that people are told, also when a connection is lost on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from click.testing import CliRunner, Result

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import UnreachableHostError
from cvat_analytics.checks import causes
from cvat_analytics.connect.clocks import Clock
from cvat_analytics.connect.volumes import Volume
from scripts import hints
from scripts.cli import main
from scripts.target import Target, look_for_room

DONE = [
    causes.Result("vector", True, "answers"),
    causes.Result("gateway", None, "this stack has no gateway"),
    causes.Result("grafana", None, "not asked, because host view cannot be reached", "host view"),
]
AWAY = "host view: cannot be reached: see `cvat-analytics status` [CVA3002]"


def smoke(monkeypatch: pytest.MonkeyPatch, run: Any, *options: str) -> Result:
    access = SimpleNamespace(away={"view": AWAY}, clocks=lambda: [Clock("in", 600.0, 601.0, None)])

    @contextmanager
    def reach(*_: object, **__: object) -> Iterator[Any]:
        yield access

    monkeypatch.setattr(Target, "reach", reach)
    monkeypatch.setattr("scripts.smoke.run", run)
    return CliRunner().invoke(main, ["smoke", "--inventory", "hosts.py", *options])


def told(result: Result) -> list[tuple[str, str]]:
    return [(each["name"], each["outcome"]) for each in json.loads(result.stdout)]


def test_machines_are_told_what_people_are(monkeypatch: pytest.MonkeyPatch) -> None:
    result = smoke(monkeypatch, lambda access: iter(DONE), "--json")
    assert result.exit_code == 3, result.output
    assert told(result) == [
        ("host view", "not asked"),
        ("vector", "passed"),
        ("gateway", "not checked"),
        ("grafana", "not asked"),
        ("clock", "not checked"),
    ]
    first, *_, clock = json.loads(result.stdout)
    assert (first["detail"], first["cause"], first["code"]) == (AWAY, "host view", "CVA3002")
    assert f"clock: {clock['detail']} [{clock['code']}]" in result.stderr.splitlines()
    assert clock["detail"].startswith("host in: ")


def test_what_is_known_when_a_connection_is_lost_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(access: object) -> Iterator[causes.Result]:
        yield DONE[0]
        raise UnreachableHostError(Code.CONNECTION_LOST, "host in: the SSH connection was lost")

    result = smoke(monkeypatch, run, "--json")
    assert result.exit_code == 3, result.output
    assert told(result) == [("host view", "not asked"), ("vector", "passed")]
    assert "the SSH connection was lost" in result.stderr


def test_what_is_said_of_a_host_can_be_pasted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hints, "program", lambda: "/opt/bin/cvat-analytics")
    result = smoke(monkeypatch, lambda access: iter(DONE))
    assert (
        "see `/opt/bin/cvat-analytics status --inventory hosts.py` [CVA3002]" in result.stderr.splitlines()[0]
    )


def test_what_is_said_of_a_disk_can_be_pasted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Little:
        is_little = True

        def __str__(self) -> str:
            return "little is free: see `cvat-analytics status`"

    monkeypatch.setattr(hints, "program", lambda: "/opt/bin/cvat-analytics")
    look_for_room([cast("Volume", Little())])
    assert capsys.readouterr().err == "little is free: see `/opt/bin/cvat-analytics status`\n"
