"""The turns that parts take when versions change: in order, each proved, and back when one fails. pyinfra and hosts are made up here."""

from __future__ import annotations

import fcntl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError, InputError, UnreachableError
from cvat_analytics.checks.flow import Buffer
from cvat_analytics.operate import upgrade
from deploys.report import HELD, LEAVING
from scripts import deploy as deploying
from scripts import upgrading
from scripts.deploy import Outcome, PartlyError, Upgrade

UPGRADES = [
    Upgrade("b", "grafana", "Grafana 13.2.3 -> 13.2.4"),
    Upgrade("b", "vector", "Vector 0.58.0-1 -> 0.58.1-1"),
    Upgrade("a", "clickhouse", "ClickHouse 26.3.9.8 -> 26.8.19.9"),
]
_kept_back, _back_up, _other_changes = upgrade.bring_back, upgrade.back_up, upgrade.other_changes
HOSTS = Path("hosts.py")


class Stack:
    """What is done to a stack, in order; `fails`: the part whose deploy does, `smoke`: what fails after the part of that name."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.fails: dict[str, CvatAnalyticsError] = {}
        self.smoke: dict[str, dict[str, str]] = {"": {}}
        self.others: list[str] = []
        self.turns = ["clickhouse", "vector", "grafana"]
        self._part = ""
        self.lost = False
        monkeypatch.setattr(upgrade, "back_up", lambda inventory, say: self.done.append("backup"))
        for name in ("failing", "deliver", "close", "bring_back"):
            monkeypatch.setattr(upgrade, name, getattr(self, name))
        monkeypatch.setattr(upgrade, "other_changes", lambda inventory: self.others)
        monkeypatch.setattr(upgrading, "bring", self.bring)
        monkeypatch.setattr(upgrading.deploy_lock, "held", self.held)

    @contextmanager
    def held(self, inventory: Path) -> Iterator[Any]:
        self.done.append("lock")
        yield SimpleNamespace(name="an upgrade", look=self.look)
        self.done.append("unlock")

    def look(self) -> None:
        if self.lost:
            raise InputError(Code.CONNECTION_LOST, "host a: this command has lost its lock there")

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
        assert environment[HELD] == "an upgrade"
        self.done.append(f"deploy without {left}")
        self._part = self.turns[-1 - len(list(filter(None, left.split(","))))]
        if self._part in self.fails:
            raise self.fails[self._part]
        first = self._part == "clickhouse"
        key = {"host": "a", "login": "x", "key": "y", "new": "yes"}
        return Outcome(
            {"results": {"operations": [self._part]}}, [self._part], {self._part: "is new"}, ["a loss"], [self._part],
            begins_backups=first, keys=[key] if first else [],
        )  # fmt: skip


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Stack:
    return Stack(monkeypatch)


def test_the_store_comes_before_those_who_write_to_it_and_each_is_proved(stack: Stack) -> None:
    outcome = upgrading.by_parts(HOSTS, UPGRADES, [], agreed=False)
    assert stack.done == [
        "lock", "backup", "smoke",
        "deploy without vector,grafana", "smoke", "close clickhouse ['a']",
        "deliver", "deploy without grafana", "smoke", "close vector ['b']",
        "deploy without ", "smoke", "close grafana ['b']", "unlock",
    ]  # fmt: skip
    assert outcome.result["results"]["operations"] == ["clickhouse", "vector", "grafana"]
    # what only one of them tells is told
    every = ["clickhouse", "vector", "grafana"]
    assert (outcome.told, list(outcome.notes), list(outcome.files)) == (every, every, every)
    assert list(outcome.losses) == ["a loss"]
    assert outcome.begins_backups
    assert [each["key"] for each in outcome.keys] == ["y"]


def test_a_part_that_fails_is_brought_back_and_those_after_it_are_as_they_were(stack: Stack) -> None:
    # that it goes on from there is not true any more
    text = f"a step failed (see above){deploying.AGAIN}"
    stack.fails = {"vector": CvatAnalyticsError(Code.DEPLOY_STEP_FAILED, text)}
    with pytest.raises(
        PartlyError,
        match=r"^a step failed \(see above\)\nhost b: brought back: vector\nMend the cause, or set",
    ) as failed:
        upgrading.by_parts(HOSTS, UPGRADES, [], agreed=False)
    assert failed.value.told.endswith(" [CVA8104]")
    assert stack.done[-2:] == ["deploy without grafana", "back vector ['b']"]
    assert str(failed.value).endswith("\nIn their new version, and so they stay: clickhouse")
    assert failed.value.outcome.begins_backups


def test_its_own_code_stands_beside_that_of_the_cause(stack: Stack) -> None:
    stack.fails = {
        "clickhouse": CvatAnalyticsError(Code.DISK_FULL, "host a: no room [CVA4007]\na step failed")
    }
    with pytest.raises(CvatAnalyticsError, match="host a: no room") as failed:
        upgrading.by_parts(HOSTS, UPGRADES, [], agreed=False)
    assert (failed.value.code, failed.value.told[-10:]) == (Code.UPGRADE_PART_FAILED, " [CVA8104]")


@pytest.mark.parametrize("where", ["proof", "way back"])
def test_an_upgrade_that_has_lost_its_lock_proves_nothing_and_brings_nothing_back(
    stack: Stack, where: str
) -> None:
    stack.lost = True
    if where == "way back":
        stack.fails = {"clickhouse": CvatAnalyticsError(Code.DEPLOY_STEP_FAILED, "a step failed")}
    with pytest.raises(CvatAnalyticsError, match="host a: this command has lost its lock there") as failed:
        upgrading.by_parts(HOSTS, UPGRADES, [], agreed=False)
    assert stack.done[-1] == "deploy without vector,grafana"
    said = {
        "proof": "Not proved yet, which the next deploy does: clickhouse",
        "way back": "is not brought back",
    }
    assert said[where] in str(failed.value)


@pytest.mark.parametrize("where", ["deliver", "deploy"])
def test_what_is_refused_after_a_part_was_finished_does_not_say_that_nothing_was_changed(
    stack: Stack, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = InputError(Code.DISK_FULL, f"no room\n{deploying.REFUSED}")

    def deliver(inventory: Path, say: Callable[[str], object]) -> None:
        raise refused

    if where == "deliver":
        monkeypatch.setattr(upgrade, "deliver", deliver)
    else:
        stack.fails = {"vector": refused}
    with pytest.raises(PartlyError) as failed:
        upgrading.by_parts(HOSTS, UPGRADES, [], agreed=False)
    assert failed.value.exit_code == 1
    assert str(failed.value).startswith("no room\nvector is as it was. Deploy again")
    assert str(failed.value).endswith("\nIn their new version, and so they stay: clickhouse")
    assert not [each for each in stack.done if each.startswith("back ")]


def test_what_the_finished_parts_told_is_told_where_one_fails_after_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = {"name": "clickhouse: service", "success": ["a"]}
    done = Outcome({"results": {"operations": [changed]}}, [], {}, notes=["a note"], begins_backups=True)

    def brought(*arguments: Any, **options: Any) -> Outcome:
        raise PartlyError("vector failed", done)

    monkeypatch.setattr(deploying, "_brought", brought)
    stack: Any = SimpleNamespace(secrets_file="secrets.json")
    with pytest.raises(PartlyError):
        deploying._told_when_cut_off(HOSTS, False, [], False, stack)
    said = capsys.readouterr()
    assert "changed  clickhouse: service  on a" in said.out
    assert "Keep a copy of `backup_recovery_key` of secrets.json" in said.out
    assert "Note: a note." in said.err


def test_what_comes_with_this_project_takes_its_turns_last_and_comes_back(stack: Stack) -> None:
    own = [
        Upgrade("b", "gateway", "the gateway 0a -> 0b"),
        Upgrade("b", "events_api", "the events API 1a -> 1b"),
    ]
    stack.turns = ["vector", "events_api", "gateway"]
    stack.smoke["gateway"] = {"gateway": "lets nobody in"}
    with pytest.raises(
        PartlyError, match="\nhost b: brought back: gateway\nMend the cause, or take the former checkout,"
    ):
        upgrading.by_parts(HOSTS, [*own, UPGRADES[1]], [], agreed=False)
    assert [each for each in stack.done if each.startswith(("deploy", "close", "back "))] == [
        "deploy without events_api,gateway", "close vector ['b']",
        "deploy without gateway", "close events_api ['b']",
        "deploy without ", "back gateway ['b']",
    ]  # fmt: skip


def test_what_is_refused_before_the_first_change_brings_nothing_back(stack: Stack) -> None:
    stack.fails = {"clickhouse": InputError(Code.DEPLOY_REFUSED, "no")}
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


def test_what_has_no_version_in_the_settings_goes_back_with_the_checkout(stack: Stack) -> None:
    stack.turns = ["vector", "events_api"]
    stack.others = ["setting 'clickhouse_http_port'"]
    stack.smoke["events_api"] = {"events": "none come in"}
    own = Upgrade("b", "events_api", "the events API 1a -> 1b")
    with pytest.raises(
        PartlyError,
        match="\nMend the cause, or set the versions back and take the former checkout, and deploy again",
    ):
        upgrading.by_parts(HOSTS, [own, UPGRADES[1]], [], agreed=False)


def test_what_failed_before_decides_nothing_and_neither_does_the_middle_where_settings_change(
    stack: Stack,
) -> None:
    stack.smoke = {part: {"events": "none come in"} for part in ("", "clickhouse", "vector", "grafana")}
    upgrading.by_parts(HOSTS, UPGRADES, [], agreed=False)
    stack.smoke = {"clickhouse": {"events": "another port"}}
    stack.others, stack.done, stack._part = ["setting 'clickhouse_http_port'"], [], ""
    upgrading.by_parts(HOSTS, UPGRADES, [], agreed=False)
    assert stack.done.count("smoke") == 2
    closed = ["close clickhouse ['a']", "close vector ['b']", "close grafana ['b']"]
    assert stack.done[-5:] == ["smoke", *closed, "unlock"]


def test_what_the_last_proof_is_for_comes_back_in_reverse_order_where_it_fails(stack: Stack) -> None:
    stack.smoke = {"grafana": {"events": "none come in"}}
    stack.others = ["setting 'clickhouse_http_port'"]
    with pytest.raises(
        PartlyError, match="clickhouse and vector and grafana works, and the stack does not"
    ) as failed:
        upgrading.by_parts(HOSTS, UPGRADES, [], agreed=False)
    assert stack.done[-3:] == ["back grafana ['b']", "back vector ['b']", "back clickhouse ['a']"]
    assert not [each for each in stack.done if each.startswith("close")]
    assert "so they stay" not in str(failed.value)


def test_a_check_that_fails_once_and_not_again_decides_nothing(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([{}, {"grafana": "starts"}, {}, {}, {}])
    monkeypatch.setattr(upgrade, "failing", lambda inventory: next(looks))
    upgrading.by_parts(HOSTS, UPGRADES, [], agreed=False)
    assert not [each for each in stack.done if each.startswith("back ")]


def test_a_smoke_test_that_has_no_time_proves_nothing_and_brings_nothing_back(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.smoke = {"vector": {"time": "the checks have taken 60 s"}}
    upgrading.by_parts(HOSTS, UPGRADES, [], agreed=False)
    assert not [each for each in stack.done if each.startswith("back ")]
    assert (
        "Not proved: the smoke test did not come to its end (the checks have taken 60 s)"
        in capsys.readouterr().err
    )
    # the next proof is one of both
    assert stack.done[-4:] == ["smoke", "close vector ['b']", "close grafana ['b']", "unlock"]


def test_where_packages_come_from_is_no_other_change(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["setting 'package_source'", "setting 'vector_version'", "setting 'vector_port'"]

    @contextmanager
    def reach(inventory: Path) -> Iterator[Any]:
        yield SimpleNamespace(topology=None), None, {}

    monkeypatch.setattr(upgrade.remote, "reach_hosts", reach)
    monkeypatch.setattr(
        upgrade.deployed,
        "differences",
        lambda topology, there: [SimpleNamespace(name=name) for name in names],
    )
    assert _other_changes(HOSTS) == ["setting 'vector_port'"]


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
    unknown = pipeline(None)
    assert delivering(monkeypatch, unknown, pipeline(0)) == [
        "waits to be delivered before Vector is exchanged: events on b: how much is not known, as its Vector says nothing"
    ]
    monkeypatch.setattr(upgrade.flow, "of", lambda access: unknown)
    with pytest.raises(InputError, match="events on b: how much is not known"):
        upgrade._delivered(None, lambda text: None, patience=-1)  # type: ignore[arg-type]
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

    # one that cannot be asked keeps nobody else from it
    def away(command: str) -> str:
        raise UnreachableError(Code.CONNECTION_LOST, "host a: gone")

    said = iter(["brought back: grafana 1796033983"])
    gone = SimpleNamespace(shell=SimpleNamespace(run=away))

    @contextmanager
    def half(inventory: Path) -> Iterator[Any]:
        yield None, None, {"a": gone, "b": host}

    monkeypatch.setattr(upgrade.remote, "reach_hosts", half)
    assert _kept_back(HOSTS, "grafana", ["a", "b"]) == [
        "host a: grafana could not be brought back: host a: gone",
        "host b: brought back: grafana",
    ]


@pytest.mark.parametrize("state", ["nothing kept", "another deploy", "kept"])
def test_what_is_kept_is_brought_back_under_the_lock_of_deploys_and_a_unit_without_is_named_with_its_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    (tmp_path / "systemctl").write_text("#!/bin/sh\necho failed\n")
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setattr(upgrade, "PREVIOUS", str(tmp_path))
    monkeypatch.setattr(upgrade, "LOCK", str(tmp_path / "lock"))
    (tmp_path / "vector").mkdir()
    (tmp_path / "vector" / "back").write_text(
        f"flock -n {tmp_path}/lock true || echo brought back: vector 1\n"
    )
    if state != "nothing kept":
        (tmp_path / "vector" / "open").touch()
    # a deploy is waited for, for as long as it takes one to end
    flock = '#!/bin/sh\nshift 3; exec /usr/bin/flock -s -n "$@"\n'
    if state == "another deploy":
        (tmp_path / "flock").write_text(flock)
        (tmp_path / "flock").chmod(0o755)

    def run(command: str) -> str:
        return subprocess.run(
            ["bash", "-c", command], capture_output=True, text=True, check=True, timeout=60,
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        ).stdout  # fmt: skip

    host: Any = SimpleNamespace(shell=SimpleNamespace(run=run))
    with (tmp_path / "lock").open("w") as held:
        if state == "another deploy":
            fcntl.flock(held, fcntl.LOCK_EX)
        said = upgrade._brought(host, "vector")
    assert (
        said
        == {
            "nothing kept": "vector: nothing of before is kept there, so that nothing was brought back; vector is failed",
            "another deploy": "vector: another deploy is at work there, so that nothing was brought back",
            "kept": "brought back: vector 1",
        }[state]
    )


def test_a_backup_comes_first_where_one_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    newest = SimpleNamespace(started=datetime.now(UTC), why="", problems=[])
    settings = SimpleNamespace(backup_target="")

    said: list[Any] = [
        UnreachableError(Code.BACKUP_TARGET_FULL, "it is full"),
        {"failures": {"b": "host b: away"}, "manifest": {}},
        {"failures": {}, "manifest": {"lacks": {"journal of b": ""}}},
        {"failures": {}, "manifest": {"lacks": {}}},
    ]
    is_todays = True

    def create(*arguments: Any) -> Any:
        asked.append(" ".join(arguments[3]))
        if isinstance(answer := said.pop(0), Exception):
            raise answer
        return answer

    def run(command: str) -> str:
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
    monkeypatch.setattr(upgrade.over_ssh, "run", create)
    monkeypatch.setattr(upgrade.over_ssh, "backing_up", lambda stack: ["a"])
    monkeypatch.setattr(upgrade.over_ssh, "is_todays", lambda shell: is_todays)
    make_a_backup = _back_up
    make_a_backup(HOSTS, asked.append)
    settings.backup_target = "/backups"
    make_a_backup(HOSTS, asked.append)
    assert asked == []
    newest.started -= timedelta(days=2)
    for reason in ("it is full", "host b: away", r"it lacks journal of host b \(there never was one\)"):
        with pytest.raises(
            InputError, match=rf"nothing was changed: the backup before the upgrade failed \({reason}\)"
        ):
            make_a_backup(HOSTS, asked.append)
    make_a_backup(HOSTS, asked.append)
    looks, due = "systemctl cat ", "A backup is made before, as the newest good one is older than a day"
    assert [each for each in asked if not each.startswith(looks)] == [due, "create"] * 4
    # agents of before may not know what this version asks of them
    asked.clear()
    is_todays = False
    for problem in ("backup x is INCOMPLETE", ""):
        newest.problems = [problem]
        with pytest.raises(InputError, match=problem or "is not known as complete"):
            make_a_backup(HOSTS, asked.append)
    start = "! systemctl cat cvat-analytics-backup.service >/dev/null 2>&1 || systemctl start cvat-analytics-backup.service"
    assert [each for each in asked if not each.startswith(looks)] == [due, start] * 2
