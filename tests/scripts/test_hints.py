"""Commands that are named in what is printed can be pasted into the shell where the program was started."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from cvat_analytics.base.errors import InputError
from cvat_analytics.base.project import ROOT
from cvat_analytics.store import migrations
from scripts import hints
from scripts.cli import main
from scripts.target import Target

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
PROGRAM = Path(sys.executable).parent / hints.NAME


def run(program: str, *arguments: str, cwd: Path, path: str = "/usr/bin:/bin") -> str:
    """Run the command as a shell does whose PATH is `path`, and return all that it says."""
    done = subprocess.run(
        [program, *arguments],
        cwd=cwd,
        env=os.environ | {"PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout


def hint(text: str) -> list[str]:
    """Return the words of the command in backticks, as a shell reads them."""
    found = re.search(r"`([^`]+)`", text)
    assert found, text
    return shlex.split(found[1])


def test_a_program_that_is_not_on_path_is_named_as_it_was_started(tmp_path: Path) -> None:
    directory = tmp_path / "my stack"
    arguments = ("status", "--dir", str(directory))
    absolute = run(str(PROGRAM), *arguments, cwd=tmp_path)
    assert hint(absolute) == [str(PROGRAM), "up", "--dir", str(directory)]
    (tmp_path / "a b").symlink_to(PROGRAM.parent)
    relative = run("a b/cvat-analytics", *arguments, cwd=tmp_path)
    assert hint(relative) == ["a b/cvat-analytics", "up", "--dir", str(directory)]


def test_a_program_that_is_on_path_is_named_by_its_name(tmp_path: Path) -> None:
    text = run(
        str(PROGRAM),
        "status",
        "--dir",
        str(tmp_path),
        cwd=tmp_path,
        path=f"{PROGRAM.parent}:/usr/bin:/bin",
    )
    assert hint(text) == ["cvat-analytics", "up", "--dir", str(tmp_path)]


def test_what_a_hint_leads_to_works_when_it_is_pasted(tmp_path: Path) -> None:
    inventory = tmp_path / "my inventory"
    text = run(str(PROGRAM), "init", str(inventory), cwd=tmp_path)
    words = shlex.split(text.splitlines()[-1])
    assert words == [str(PROGRAM), "deploy", "--inventory", str(inventory / "hosts.py"), "--dry"]
    assert "the group 'clickhouse' has no host" in run(words[0], *words[1:], cwd=tmp_path)


def test_the_message_of_an_error_names_the_stack_that_the_command_was_about(tmp_path: Path) -> None:
    file = tmp_path / "hosts.py"
    file.write_text('clickhouse = vector = grafana = ["one.example.org"]\n')
    text = run(str(PROGRAM), "smoke", "--inventory", str(file), cwd=tmp_path)
    assert hint(text) == [str(PROGRAM), "secrets", "init", "--inventory", str(file)]
    assert "generated" in run(hint(text)[0], *hint(text)[1:], cwd=tmp_path)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (Target(), "cvat-analytics buffer purge x --dir .cvat-analytics"),
        (Target(directory=Path("a b")), "cvat-analytics buffer purge x --dir 'a b'"),
        (Target(inventory=Path("b/hosts.py")), "cvat-analytics buffer purge x --inventory b/hosts.py"),
    ],
    ids=["default", "directory", "inventory"],
)
def test_a_command_about_the_same_stack(target: Target, words: str) -> None:
    assert target.hint("buffer", "purge", "x") == words


def test_no_command_is_printed_under_a_name_that_may_not_be_on_path() -> None:
    """Text for people that names the program itself is found in help and comments only, or goes through `hints`."""
    named = re.compile(r"""click\.echo\([^)]*\bcvat-analytics [a-z]""", re.DOTALL)
    found = [file.name for file in sorted((ROOT / "scripts").glob("*.py")) if named.search(file.read_text())]
    assert found == []


def test_no_command_that_is_printed_has_a_gap_to_be_filled_in() -> None:
    """A word in capitals stands for something that the program knows, or that a name can be chosen for."""
    found = []
    for folder in ("cvat_analytics", "deploys", "scripts"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(file.read_text())
            documentation = {
                ast.get_docstring(node, clean=False)
                for node in ast.walk(tree)
                if isinstance(node, _DOCUMENTED)
            }
            for node in ast.walk(tree):
                if (
                    isinstance(node, ast.Constant)
                    and isinstance(node.value, str)
                    and node.value not in documentation
                ):
                    gaps = re.findall(r"`cvat-analytics [^`]*\b[A-Z]{3,}\b[^`]*`", node.value)
                    found += [f"{file.relative_to(ROOT)}:{node.lineno}: {gap}" for gap in gaps]
    assert found == []


def test_a_refusal_of_the_deploy_names_the_command_for_this_inventory(tmp_path: Path) -> None:
    """What the library says without knowing the inventory, such as of a stock table."""
    file = tmp_path / "hosts.py"
    with click.Context(main).scope() as context:
        context.obj = Target(inventory=file)
        with pytest.raises(InputError) as refused:
            migrations.refuse_stock_table("cvat", {}, {"events": "MergeTree ORDER BY a"})
        text = hints.pasteable(str(refused.value))
    assert f"`cvat-analytics stock convert --inventory {file}`" in text
