"""Root in a directory that is ClickHouse's own: links there are not followed, and what goes wrong on a host is one sentence."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.operate.backup import running
from cvat_analytics.operate.backup.agent import __main__ as agent
from cvat_analytics.operate.backup.agent import report, staging
from cvat_analytics.operate.backup.agent.config import Config
from cvat_analytics.operate.backup.agent.restic import Restic


def config(tmp_path: Path) -> Config:
    return Config(
        "host", str(tmp_path / "state"), "/srv/a place", "/password", staging=str(tmp_path / "backups")
    )


def test_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    with staging.opened(config(tmp_path)) as own:
        (own / "made").touch()
    assert (tmp_path / "backups" / "made").exists()
    (tmp_path / "backups").rename(tmp_path / "elsewhere")
    (tmp_path / "backups").symlink_to(tmp_path / "elsewhere")
    with (
        pytest.raises(report.AgentError, match="is no directory but a link"),
        staging.opened(config(tmp_path)),
    ):
        pass


def test_what_is_worked_in_stays_the_same_whatever_its_name_becomes(tmp_path: Path) -> None:
    (elsewhere := tmp_path / "elsewhere").mkdir()
    (elsewhere / "file").touch()
    with staging.private(tmp_path, "fetched") as ours:
        assert (tmp_path / "fetched").stat().st_mode & 0o777 == 0o700
        (tmp_path / "fetched").rename(tmp_path / "moved")
        (tmp_path / "fetched").symlink_to(elsewhere)
        (ours / "restored").touch()
    assert [each.name for each in (tmp_path / "moved").iterdir()] == ["restored"]
    assert [each.name for each in elsewhere.iterdir()] == ["file"]


def test_of_a_link_it_is_the_link_that_is_given_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree := tmp_path / "tree").mkdir()
    (tree / "link").symlink_to(tmp_path)
    given: list[tuple[str, bool]] = []

    def chown(path: Any, user: int, group: int, *, follow_symlinks: bool = True) -> None:
        given.append((Path(path).name, follow_symlinks))

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", chown)
    staging.hand_over(tree, tmp_path)
    assert given == [("tree", False), ("link", False)]


def test_a_file_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state").write_text("a file, where a directory is wanted")
    (file := tmp_path / "agent.json").write_text(config(tmp_path).text())
    monkeypatch.setattr(sys, "argv", ["agent", "--config", str(file), "list"])
    assert agent.main() == report.FAILED
    said = json.loads(capsys.readouterr().out)
    assert said["message"].startswith(f"{tmp_path / 'state'}: File exists. Look at that on this host")


def test_a_lock_of_another_host_is_named_with_its_age_and_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: name)
    said = [
        "unable to create lock in backend: repository is already locked exclusively by PID 4711 on store by root (UID 0, GID 0)",
        "lock was created at 2026-11-30 02:30:11 (1m2.5s ago)",
    ]
    text = str(Restic(config(tmp_path))._error(1, said))
    assert "process 4711 of store has locked it, 1m2.5s ago" in text
    assert "`restic -r '/srv/a place' --password-file /password unlock --remove-all`" in text


def test_who_finds_another_restic_at_work_waits_for_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the agent was killed a moment ago, and its restic is still taking its lock away; a stand-in for restic says so once."""
    (tmp_path / "restic").write_text(
        """#!/bin/sh
echo "$1" >> "$(dirname "$0")/asked"
[ "$1" = unlock ] && exit 0
[ "$(grep -c snapshots "$(dirname "$0")/asked")" -gt 1 ] && echo '[]' && exit 0
echo 'unable to create lock in backend: repository is already locked by PID 4711 on host by root (UID 0, GID 0)' >&2
exit 1
"""
    )
    (tmp_path / "restic").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert Restic(config(tmp_path)).run("snapshots") == "[]"
    assert (tmp_path / "asked").read_text().split() == ["snapshots", "unlock", "snapshots"]


def test_why_ssh_fails_is_heard_also_where_restic_ends_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A substitute for restic, which passes on what ssh says the third time only."""
    (programs := tmp_path / "bin").mkdir()
    (program := programs / "restic").write_text(
        f"""#!/bin/sh
echo x >> {tmp_path}/runs
[ "$(wc -l < {tmp_path}/runs)" -lt 3 ] || echo "subprocess ssh: a@b: Permission denied (publickey)." >&2
echo "Fatal: unable to start the sftp session, error: EOF" >&2
exit 1
"""
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    there = replace(config(tmp_path), target="sftp:a@b:/srv")
    with pytest.raises(report.AgentError, match="its SSH does not let root of this host in") as refused:
        Restic(there).run("cat", "config")
    assert refused.value.code is Code.BACKUP_TARGET_REFUSES
    (tmp_path / "runs").unlink()
    program.write_text(program.read_text().replace("-lt 3", "-lt 300"))
    with pytest.raises(report.AgentError, match="it cannot be reached") as unheard:
        Restic(there).run("cat", "config")
    assert unheard.value.code is Code.BACKUP_TARGET_AWAY


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"code": "CVA8006"}, Code.BACKUP_TARGET_FULL),
        ({}, Code.BACKUP_AGENT),
        ({"code": "CVA0000"}, Code.BACKUP_AGENT),
    ],
    ids=["its code", "an agent of before", "a newer agent"],
)
def test_what_an_agent_fails_at_keeps_its_code(said: dict[str, str], code: Code) -> None:
    last = json.dumps({"step": "result", "exit_code": 1, "message": "it is full", **said})
    with pytest.raises(CvatAnalyticsError) as failed:
        running.answer([last], lambda _: None)
    foreign = " (its code is CVA0000)" if said.get("code") == "CVA0000" else ""
    assert (str(failed.value), failed.value.code) == (f"it is full{foreign}", code)
