"""The turns that parts take when versions change: in order, each proved, and back when one fails. pyinfra and hosts are made up here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cvat_analytics.base.errors import CvatAnalyticsError, InputError, UnreachableError
from cvat_analytics.checks.flow import Buffer
from cvat_analytics.operate import upgrade
from deploys.report import LEAVING
from scripts import upgrading
from scripts.deploy import Outcome, Upgrade

UPGRADES = [
    Upgrade("b", "grafana", "Grafana 13.2.3 -> 13.2.4"),
    Upgrade("b", "vector", "Vector 0.58.0-1 -> 0.58.1-1"),
    Upgrade("a", "clickhouse", "ClickHouse 26.3.9.8 -> 26.8.19.9"),
]
_kept_back, _back_up = upgrade.bring_back, upgrade.back_up
HOSTS = Path("hosts.py")


class Stack:
    """What is done to a stack, in order; `fails`: the part whose deploy does, `smoke`: what fails after the part of that name."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.fails: dict[str, CvatAnalyticsError] = {}
        self.smoke: dict[str, dict[str, str]] = {"": {}}
        self.others: list[str] = []
        self._part = ""
        monkeypatch.setattr(upgrade, "back_up", lambda inventory, say: self.done.append("backup"))
        for name in ("failing", "deliver", "close", "bring_back"):
            monkeypatch.setattr(upgrade, name, getattr(self, name))
        monkeypatch.setattr(upgrade, "other_changes", lambda inventory: self.others)
        monkeypatch.setattr(upgrading, "bring", self.bring)

    def failing(self, inventory: Path) -> dict[str, str]:
        self.done.append("smoke")
        return self.smoke.get(self._part, {})

    def deliver(self, inventory: Path, say: Callable[[str], object]) -> None:
        self.done.append("deliver")

    def close(self, inventory: Path, component: str, names: list[str]) -> None:
        self.done.append(f"close {component} {names}")

    def bring_back(self, inventory: Path, component: str, names: list[str]) -> list[str]:
        self.done.append(f"back {component} {names}")
        return [f"host {name}: brought back: {component}" for name in names]

    def bring(
        self, inventory: Path, dry: bool, options: list[str], agreed: bool, environment: dict[str, str]
    ) -> Outcome:
        left = environment[LEAVING]
        self.done.append(f"deploy without {left}")
        self._part = {"vector,grafana": "clickhouse", "grafana": "vector", "": "grafana"}[left]
        if self._part in self.fails:
            raise self.fails[self._part]
        return Outcome({"results": {"operations": [self._part]}}, [self._part], {})


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Stack:
    return Stack(monkeypatch)


def test_the_store_comes_before_those_who_write_to_it_and_each_is_proved(stack: Stack) -> None:
    outcome = upgrading.by_parts(HOSTS, UPGRADES, [], agreed=False)
    assert stack.done == [
        "backup", "smoke",
        "deploy without vector,grafana", "smoke", "close clickhouse ['a']",
        "deliver", "deploy without grafana", "smoke", "close vector ['b']",
        "deploy without ", "smoke", "close grafana ['b']",
    ]  # fmt: skip
    assert outcome.result["results"]["operations"] == ["clickhouse", "vector", "grafana"]
    assert outcome.told == ["grafana"]


def test_a_part_that_fails_is_brought_back_and_those_after_it_are_as_they_were(stack: Stack) -> None:
    stack.fails = {"vector": CvatAnalyticsError("a step failed")}
    with pytest.raises(
        CvatAnalyticsError, match="a step failed\nhost b: brought back: vector\nMend the cause, or set"
    ):
        upgrading.by_parts(HOSTS, UPGRADES, [], agreed=False)
    assert stack.done[-2:] == ["deploy without grafana", "back vector ['b']"]


def test_what_is_refused_before_the_first_change_brings_nothing_back(stack: Stack) -> None:
    stack.fails = {"clickhouse": InputError("no")}
    with pytest.raises(InputError):
        upgrading.by_parts(HOSTS, UPGRADES, [], agreed=False)
    assert stack.done[-1] == "deploy without vector,grafana"


def test_a_part_with_which_the_stack_does_not_work_is_brought_back(stack: Stack) -> None:
    stack.smoke = {"": {"clock": "wrong"}, "clickhouse": {"clock": "wrong", "events": "none come in"}}
    with pytest.raises(
        CvatAnalyticsError, match="\nevents: none come in\nhost a: brought back: clickhouse\n"
    ):
        upgrading.by_parts(HOSTS, UPGRADES, [], agreed=False)
    assert stack.done[-1] == "back clickhouse ['a']"


def test_what_failed_before_decides_nothing_and_neither_does_the_middle_where_settings_change(
    stack: Stack,
) -> None:
    stack.smoke = {part: {"events": "none come in"} for part in ("", "clickhouse", "vector", "grafana")}
    upgrading.by_parts(HOSTS, UPGRADES, [], agreed=False)
    stack.smoke = {"clickhouse": {"events": "another port"}}
    stack.others, stack.done, stack._part = ["setting 'clickhouse_http_port'"], [], ""
    upgrading.by_parts(HOSTS, UPGRADES, [], agreed=False)
    assert stack.done.count("smoke") == 2


def delivering(monkeypatch: pytest.MonkeyPatch, *looks: Any) -> list[str]:
    """Let one look after the other be what is known of the pipeline, and return what is said."""
    answers = iter(looks)
    monkeypatch.setattr(upgrade.flow, "of", lambda access: next(answers))
    monkeypatch.setattr(upgrade, "_PAUSE", 0)
    said: list[str] = []
    upgrade._delivered(None, said.append, patience=60)  # type: ignore[arg-type]
    return said


def pipeline(size: int | None, *refusals: str) -> Any:
    buffers = [Buffer("events", "b", 5, size, 2**30)]
    return SimpleNamespace(buffers=buffers, refusals=[SimpleNamespace(sink=sink) for sink in refusals])


def test_what_waits_in_vector_is_delivered_before_it_is_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    much = pipeline(2**25)
    assert delivering(monkeypatch, much, much, pipeline(1000)) == [
        "waits to be delivered before Vector is exchanged: events on b: 5 events"
    ]
    assert delivering(monkeypatch, pipeline(None)) == []
    with pytest.raises(InputError, match=r"ClickHouse refuses what waits there \(events\)"):
        delivering(monkeypatch, pipeline(0, "events"))
    monkeypatch.setattr(upgrade.flow, "of", lambda access: much)
    with pytest.raises(InputError, match="this still waits to be delivered: events on b: 5 events"):
        upgrade._delivered(None, lambda text: None, patience=-1)  # type: ignore[arg-type]


def test_what_came_of_a_way_back_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    said = iter(
        [
            "brought back: grafana 1796033983",
            "not brought back: ClickHouse 1 -> 2: the new version has written data already (/x)",
        ]
    )
    host = SimpleNamespace(shell=SimpleNamespace(run=lambda command: f"the log\n{next(said)}\n"))

    @contextmanager
    def reach(inventory: Path) -> Iterator[Any]:
        yield None, None, {"a": host, "b": host}

    monkeypatch.setattr(upgrade.remote, "reach_hosts", reach)
    assert _kept_back(HOSTS, "grafana", ["a", "b"]) == [
        "host a: brought back: grafana",
        "host b: not brought back: ClickHouse 1 -> 2: the new version has written data already (/x)",
    ]


def test_a_backup_comes_first_where_one_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    newest = SimpleNamespace(started=datetime.now(UTC))
    settings = SimpleNamespace(backup_target="")

    def run(command: str) -> str:
        if command.startswith("systemctl start") and asked:
            raise UnreachableError("host a: a command failed with exit code 1")
        asked.append(command)
        return "there"

    host = SimpleNamespace(shell=SimpleNamespace(run=run), ensure_connected=lambda: None)

    @contextmanager
    def reach(inventory: Path) -> Iterator[Any]:
        topology = SimpleNamespace(clickhouse_host="a")
        yield (
            SimpleNamespace(topology=topology),
            SimpleNamespace(clickhouse=SimpleNamespace(settings=settings)),
            {"a": host},
        )

    monkeypatch.setattr(upgrade.remote, "reach_hosts", reach)
    monkeypatch.setattr(upgrade.backups, "of", lambda access: newest)
    make_a_backup = _back_up
    make_a_backup(HOSTS, asked.append)
    settings.backup_target = "/backups"
    make_a_backup(HOSTS, asked.append)
    assert asked == []
    newest.started -= timedelta(days=2)
    with pytest.raises(
        InputError,
        match=r"nothing was changed: the backup before the upgrade failed \(host a: a command failed",
    ):
        make_a_backup(HOSTS, asked.append)
    assert "A backup is made before, as the newest good one is older than a day" in asked
