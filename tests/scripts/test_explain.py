"""`explain`, and the code at the end of what a command says when it fails."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cvat_analytics.base.codes import Code
from cvat_analytics.base.project import ROOT
from scripts.cli import main


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def test_a_code_is_explained() -> None:
    code, said, _ = run("explain", "cva3103")
    assert code == 0
    assert said.startswith("CVA3103: A port is taken by another program\n")
    assert "docs/how-to/move-a-port.md" in said
    _, plain, _ = run("explain", "3103", "--json")
    assert json.loads(plain)["code"] == "CVA3103"
    assert json.loads(plain)["text"] in said


def test_all_codes_are_listed() -> None:
    code, said, _ = run("explain")
    assert code == 0
    assert [each for each in Code if f"  {each}  " not in said] == []
    _, plain, _ = run("explain", "--json")
    assert [each["code"] for each in json.loads(plain)] == [each.value for each in Code]


def test_a_code_that_there_is_not_is_refused_with_what_is_near() -> None:
    code, _, said = run("explain", "CVA3130")
    assert code == 2
    assert "did you mean CVA" in said
    assert "CVA3103 (A port is taken by another program)" in said
    code, _, said = run("explain", "nonsense")
    assert code == 2
    assert "`cvat-analytics explain` lists all" in said


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["deploy", "--inventory", "none.py"], Code.INVENTORY_MISSING),
        (["status", "--dir", "none"], Code.STACK_MISSING),
        (["status", "--nonsense"], Code.COMMAND_LINE),
        (["nonsense"], Code.COMMAND_LINE),
        (["--nonsense"], Code.COMMAND_LINE),
        (["secrets", "rotate", "nobody"], Code.COMMAND_LINE),
        (["uninstall", "--keep-data", "--purge"], Code.COMMAND_LINE),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value.value,
)
def test_what_is_refused_ends_with_its_code(command: list[str], expected: Code) -> None:
    code, _, said = run(*command)
    assert code == 2
    assert said.rstrip("\n").endswith(f" [{expected}]")
    assert len(said.split(f"[{expected}]")) == 2, "once"


def test_a_deploy_that_is_refused_says_of_each_reason_which_it_is(tmp_path: Path) -> None:
    """What a host refuses comes from pyinfra's process, in the report."""
    (tmp_path / "hosts.py").write_text('clickhouse = vector = grafana = ["one.invalid"]\n')
    code, _, said = run("deploy", "--inventory", str(tmp_path / "hosts.py"))
    assert code == 2
    away, refused = said.splitlines()
    assert away.startswith("cvat-analytics: host one.invalid: cannot be reached: ")
    assert away.endswith(f" [{Code.HOST_UNREACHABLE}]")
    assert refused == "cvat-analytics: refused before the first change; the hosts are as they were"


def test_a_person_is_told_once_where_more_is_and_a_log_is_not() -> None:
    """A person is who reads it on a terminal."""
    command = [sys.executable, "-m", "cvat_analytics", "status", "--dir", "/nowhere"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    leader, follower = pty.openpty()
    try:
        subprocess.run(command, env=environment, stderr=follower, check=False)
        told = os.read(leader, 65536).decode().splitlines()
    finally:
        os.close(leader)
        os.close(follower)
    logged = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert told == [*logged.stderr.splitlines(), f"More: cvat-analytics explain {Code.STACK_MISSING}"]
    assert run("explain", Code.STACK_MISSING)[0] == 0, "it can be pasted"
