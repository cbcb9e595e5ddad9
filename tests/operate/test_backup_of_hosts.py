"""Backups of deployed hosts: what is asked of whom, what the operator's files become, and what is refused before anybody is asked."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError, InputError, UnreachableError
from cvat_analytics.config import topology
from cvat_analytics.config.deployed import Deployed
from cvat_analytics.config.inventory import Stack
from cvat_analytics.connect.remote import ReachedHost
from cvat_analytics.connect.shell import Shell
from cvat_analytics.operate.backup import grafana, inventory, on_hosts, over_ssh, own_files, running
from cvat_analytics.operate.backup.agent import report
from cvat_analytics.rendering.files import Paths

KEY = "a-recovery-key-of-32-characters-"
TARGET = "sftp:keeper@store:/srv/cvat"
FAILING = ""
GROUPS = {"clickhouse": ["store"], "vector": ["in"], "grafana": ["view"], "events_api": ["api"]}


def test_the_operator_s_files_come_back_with_the_key_and_stay_the_same_until_one_changes(
    tmp_path: Path,
) -> None:
    source = tmp_path / "source"
    for name in (
        "hosts.py",
        "beside.py",
        "group_data/all.py",
        "packages/large.deb",
        # beside the secrets, which the setting `secrets_file` has elsewhere
        "../vault/users.json",
        "../vault/erasures.json",
        "../vault/certificates/ca.pem",
        "../vault/other",
    ):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name)
    (elsewhere := tmp_path / "vault" / "passwords").write_text("secret")
    files = own_files.gathered(source / "hosts.py", elsewhere)
    archive = own_files.packed(files, KEY)
    assert b"secret" not in archive
    names = inventory.unpack(archive, KEY, tmp_path / "back")
    assert names == [
        "inventory/beside.py", "inventory/certificates/ca.pem", "inventory/erasures.json", "inventory/group_data/all.py",
        "inventory/hosts.py", "inventory/secrets.json", "inventory/users.json",
    ]  # fmt: skip
    assert (tmp_path / "back" / "inventory" / "secrets.json").read_text() == "secret"
    assert ((tmp_path / "back" / "inventory" / "secrets.json").stat().st_mode & 0o077) == 0
    before = own_files.digest(files, KEY)
    assert own_files.digest(own_files.gathered(source / "hosts.py", elsewhere), KEY) == before
    assert own_files.digest(files, "another") != before
    elsewhere.write_text("changed")
    assert own_files.digest(own_files.gathered(source / "hosts.py", elsewhere), KEY) != before


def described(*, target: str = TARGET, groups: dict[str, list[str]] | None = None) -> Stack:
    hosts = groups or GROUPS
    names = sorted({host for members in hosts.values() for host in members})
    values = {
        host: {"address": f"10.0.0.{number}", "backup_target": target} for number, host in enumerate(names, 1)
    }
    return Stack(topology.build(hosts, values, where="hosts.py"), Path("secrets.json"), [])


def reached(stack: Stack, access: Any = None) -> dict[str, ReachedHost]:
    return {
        host: ReachedHost(Shell(host, {}, None), access, Deployed(settings, stack.topology.components(host)))
        for host, settings in stack.topology.settings.items()
    }


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, list[str]]]:
    """Return who is asked for what; nobody is."""
    said: list[tuple[str, str, list[str]]] = []

    def note(shell: Shell, target: str, arguments: Sequence[str], tell: running.Tell) -> running.Said:
        said.append((shell.host, target, list(arguments)))
        if shell.host == FAILING:
            raise UnreachableError(Code.BACKUP_TARGET_AWAY, "it is away")
        return {"host": shell.host, "manifest": {"parts": {"journal": {"snapshot": f"that of {shell.host}"}}}}

    monkeypatch.setattr(over_ssh, "on_host", note)
    return said


def test_each_host_backs_up_what_it_has_and_that_of_clickhouse_completes_it(asked: list[Any]) -> None:
    stack = described()
    said = over_ssh.run(stack, reached(stack), "", ["create"], lambda said: None)
    assert (said["host"], said["failures"]) == ("store", {})
    assert [host for host, _, _ in asked] == ["in", "view", "store"]
    assert asked[-1][2] == ["create", "--with=that of in", "--with=that of view"]
    asked.clear()
    over_ssh.run(stack, reached(stack), "s3:https://other/bucket", ["list"], lambda said: None)
    assert asked == [("store", "s3:https://other/bucket", ["list"])]


def test_where_one_host_fails_the_others_are_backed_up(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "FAILING", "in")
    stack = described()
    said = over_ssh.run(stack, reached(stack), "", ["create"], lambda said: None)
    assert said["failures"] == {"in": f"host in: it is away [{Code.BACKUP_TARGET_AWAY}]"}
    assert asked[-1] == ("store", "", ["create", "--with=that of view"])
    # so is one that is not there at all; without that of ClickHouse there is none
    asked.clear()
    there = {host: each for host, each in reached(stack).items() if host != "view"}
    said = over_ssh.run(
        stack, there, "", ["create"], lambda said: None, away={"view": "no route", "api": "away"}
    )
    assert said["failures"] == {"view": "no route", "in": f"host in: it is away [{Code.BACKUP_TARGET_AWAY}]"}
    assert asked[-1] == ("store", "", ["create"])
    with pytest.raises(UnreachableError, match=r"^it burns$"):
        over_ssh.run(stack, there, "", ["create"], lambda said: None, away={"store": "it burns"})


def test_what_cannot_be_is_refused_before_anybody_is_asked(asked: list[Any]) -> None:
    stack = described()
    with pytest.raises(
        InputError,
        match="target /mnt/backup: is a directory of each host's own, and the stack is on several hosts",
    ):
        over_ssh.run(stack, reached(stack), "/mnt/backup", ["create"], lambda said: None)
    bare = described(target="")
    with pytest.raises(
        InputError, match="host in: has no agent of backups, as it was deployed without 'backup_target'"
    ):
        over_ssh.run(bare, reached(bare), TARGET, ["create"], lambda said: None)
    unknown = {host: ReachedHost(each.shell, each.access, None) for host, each in reached(stack).items()}
    with pytest.raises(InputError, match="host store: has no agent"):
        over_ssh.run(stack, unknown, "", ["list"], lambda said: None)
    assert asked == []


class _Saying(Shell):
    """A host on which the agent says what the test wants. A substitute for a host."""

    def stream(self, command: str, patience: float | None = None, content: bytes = b"") -> Any:
        assert "--target /mnt/elsewhere list" in command
        return super().stream(
            'printf \'{"step": "target", "state": "done"}\\nno JSON\\n\'; ' + self.data["says"]
        )


@pytest.mark.parametrize(
    ("says", "kind", "words"),
    [
        ("printf '{\"step\": \"result\", \"exit_code\": 3, \"message\": \"it is away\"}'; exit 3", UnreachableError, "^it is away$"),
        ("true", Exception, "ended without a word"),
    ],
    ids=["an error", "nothing"],
)  # fmt: skip
def test_what_the_agent_says_last_is_what_is_said(says: str, kind: type[Exception], words: str) -> None:
    heard: list[running.Said] = []
    with pytest.raises(kind, match=words):
        over_ssh.on_host(_Saying("a", {"says": says}, None), "/mnt/elsewhere", ["list"], heard.append)
    assert heard == [{"step": "target", "state": "done"}]


def test_an_answer_comes_through(tmp_path: Path) -> None:
    says = 'printf \'{"step": "result", "exit_code": 0, "message": "", "backups": []}\''
    said = over_ssh.on_host(_Saying("a", {"says": says}, None), "/mnt/elsewhere", ["list"], lambda line: None)
    assert said["backups"] == []


def test_a_grafana_that_is_older_than_its_database_is_refused() -> None:
    for there, backed_up in (
        ("13.2.3", "13.2.3"),
        ("13.10.0", "13.2.3"),
        ("14.0.0-1", "13.2.3"),
        ("13.2.3", ""),
    ):
        grafana.refuse_older(there, backed_up)
    with pytest.raises(
        InputError, match=r"is of version 13\.10\.0, and 13\.2\.3 is installed.*set 'grafana_version'"
    ):
        grafana.refuse_older("13.2.3", "13.10.0")


def test_a_host_s_log_has_no_line_for_each_second(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, states in (("", ["going on", "done"]), ("8:1234", ["done"])):
        if name:
            monkeypatch.setenv("JOURNAL_STREAM", name)
        else:
            monkeypatch.delenv("JOURNAL_STREAM", raising=False)
        report.say("tables", "going on", done=1, total=2)
        report.say("tables", "done")
        assert [json.loads(line)["state"] for line in capsys.readouterr().out.splitlines()] == states


def test_a_second_restore_of_grafana_keeps_what_the_first_has_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = Paths(str(tmp_path / "root"))
    programs, data = tmp_path / "programs", Path(below.grafana_data)
    programs.mkdir()
    data.mkdir(parents=True)
    # stand-ins of what needs a host; `date` counts
    for name, text in {
        "systemctl": "true",
        "install": f'for last; do before=$here here=$last; done; cp "$before" "{data}/grafana.db.new"',
        "date": f"echo x >> {tmp_path}/times; wc -l < {tmp_path}/times",
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(grafana, "Paths", lambda: below)
    (data / "grafana.db").write_text("live")
    (data / "grafana.db-wal").write_text("not taken over yet")
    for number in (1, 2):
        (place := tmp_path / "fetched.db").write_text(f"restored {number}")
        grafana.put_back(Shell("this machine", {}, None), str(place))
    kept = {path.name.partition("restore-")[2]: path.read_text() for path in data.glob("*.before-restore-*")}
    assert kept == {"1": "live", "1-wal": "not taken over yet", "2": "restored 1"}
    assert (data / "grafana.db").read_text() == "restored 2"


class _Noting(Shell):
    """A host with an agent of that digest, which ends as one does that does not know `hold`. A substitute for a host."""

    def run(self, command: str, patience: float | None = None, content: bytes = b"") -> str:
        assert command.startswith("cat /var/lib/cvat-analytics/backup.sha256 ")
        return str(self.data["digest"]) + "\n"

    def stream(self, command: str, patience: float | None = None, content: bytes = b"") -> Any:
        return super().stream("true")


def test_no_restore_begins_that_agents_of_another_version_would_not_end() -> None:
    today = {"digest": on_hosts.digest()}
    for store, view in ((today, {"digest": "0"}), ({"digest": ""}, today)):
        old = "store" if view is today else "view"
        with (
            pytest.raises(
                InputError, match=f"host {old}: has another version's agent of backups.* Deploy first"
            ),
            over_ssh.held(_Noting("store", store, None), [_Noting("view", view, None)]),
        ):
            raise AssertionError("it holds")
    # and nobody who says nothing holds anything
    with (
        pytest.raises(CvatAnalyticsError, match="ended without a word"),
        over_ssh.held(_Noting("store", today, None)),
    ):
        raise AssertionError("it holds")
