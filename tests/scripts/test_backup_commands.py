"""What `backup create`, `list` and `restore` say and end with; what the agents answer is the tests' own."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from scripts import backup, backup_progress, backup_restore
from scripts.cli import main

NAME = "2026-11-30T02-30-00Z"
LACKS = {"journal of in": "2026-11-28T02:30:04+00:00", "grafana of view": ""}
WORDS = "it lacks journal of host in (the newest is of 2026-11-28 02:30 UTC), grafana of host view (there never was one)"
LISTED = {"name": NAME, "events": 5, "bytes": 2048, "proven": True, "damaged": False, "lacks": {}}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what the agent answers to each command; of hosts that are away nobody is asked."""
    given: dict[str, Any] = {}

    @contextmanager
    def opened(target: object, at: str, *, partly: bool = False) -> Iterator[Any]:
        def run(arguments: Sequence[str], tell: object) -> dict[str, Any]:
            return dict(given[arguments[0]])

        yield SimpleNamespace(run=run, access=None)

    for module in (backup, backup_restore):
        monkeypatch.setattr(module, "opened", opened)
    return given


def run(tmp_path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["backup", *arguments, "--inventory", str(tmp_path / "hosts.py")])


def test_one_that_lacks_something_is_not_called_complete_and_ends_with_1(
    answers: dict[str, Any], tmp_path: Path
) -> None:
    manifest: dict[str, Any] = {
        "name": NAME,
        "tables": {},
        "parts": {"tables": {"bytes": 1, "added": 1}},
        "lacks": {},
    }
    answers["create"] = {"manifest": manifest, "failures": {}}
    made = run(tmp_path, "create")
    assert (made.exit_code, f"Backup {NAME} is complete: 0 events" in made.stdout) == (0, True), made.output
    manifest["lacks"] = LACKS
    answers["create"]["failures"] = {"in": "host in: it is full"}
    made = run(tmp_path, "create")
    assert (made.exit_code, made.stderr) == (1, "cvat-analytics: host in: it is full\n")
    assert f"Backup {NAME} is INCOMPLETE, as {WORDS}: 0 events" in made.stdout
    made = run(tmp_path, "create", "--json")
    assert (made.exit_code, json.loads(made.stdout)["manifest"]["lacks"]) == (1, LACKS)


def test_the_list_says_what_each_lacks(answers: dict[str, Any], tmp_path: Path) -> None:
    answers["list"] = {"backups": [LISTED | {"lacks": LACKS}, LISTED | {"name": "2026-11-29T02-30-00Z"}]}
    _, incomplete, complete = run(tmp_path, "list").stdout.splitlines()
    assert incomplete.split("  ")[-1] == f"proven by restoring, INCOMPLETE: {WORDS}"
    assert complete.endswith("  proven by restoring")


def test_who_restores_one_that_lacks_something_is_told_before_the_question(
    answers: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cvat_analytics.operate.backup import restoring

    monkeypatch.setattr(restoring, "events", lambda access: 0)
    answers["list"] = {"backups": [LISTED | {"lacks": LACKS}]}
    told = CliRunner().invoke(
        main, ["backup", "restore", "--inventory", str(tmp_path / "hosts.py")], input="n\n"
    )
    assert told.exit_code == 1
    assert told.stderr.startswith(f"Backup {NAME} is incomplete: {WORDS}.\n")


def test_reading_all_calls_no_incomplete_one_complete(answers: dict[str, Any], tmp_path: Path) -> None:
    answers["verify"] = {"backups": [LISTED, LISTED | {"lacks": LACKS}]}
    said = run(tmp_path, "verify").stdout
    assert said == "All of the target was read: 1 complete and 1 INCOMPLETE backups, nothing is damaged.\n"
    answers["verify"]["backups"].pop()
    assert "was read: 1 complete backups" in run(tmp_path, "verify").stdout


class _Terminal(io.StringIO):
    """What is written to a terminal. A substitute for one."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_how_far_it_is_takes_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    show = backup_progress.shown(as_json=False)
    for done in (1, 2):
        show({"step": "tables", "state": "going on", "done": done, "total": 2})
    show({"step": "tables", "state": "done"})
    blanks = " " * len("tables: 100 %   ")
    assert terminal.getvalue() == f"tables: 50 %   \rtables: 100 %   \r{blanks}\rtables: done\n"
