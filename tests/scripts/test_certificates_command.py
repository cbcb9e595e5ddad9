"""`cvat-analytics certificates`, as an operator runs it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cvat_analytics.config import inventory as inventories
from cvat_analytics.config import topology
from scripts.cli import main

SETTINGS: dict[str, Any] = {}

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs the command for an inventory which is not read by pyinfra (a second each time)."""

    def load(path: Path) -> inventories.Stack:
        return inventories.describe([inventories.Host("analytics", topology.GROUPS, SETTINGS)], path)

    monkeypatch.setattr("scripts.certificates.inventories.load", load)

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(
            main, ["certificates", *arguments, "--inventory", str(tmp_path / "hosts.py")]
        )

    return invoke


def test_issue_makes_a_pair_and_list_shows_it_with_its_hosts_and_no_key(run: Run, tmp_path: Path) -> None:
    assert "no certificates yet" in run("list").output
    issued = run("issue", "vector", "vector.example.org", "10.0.0.5")
    assert issued.exit_code == 0, issued.output
    assert f"{tmp_path}/certificates/vector-key.pem" in issued.output
    listed = run("list")
    assert listed.exit_code == 0, listed.output
    assert "10.0.0.5, vector.example.org" in listed.output
    assert "the authority; sha256" in listed.output
    assert "PRIVATE" not in issued.output + listed.output


@pytest.mark.parametrize("name", ["ca", "../x", "a-key", "a b"])
def test_a_name_that_would_overwrite_something_is_refused(run: Run, tmp_path: Path, name: str) -> None:
    answer = run("issue", name, "a.example.org")
    assert answer.exit_code == 2
    assert "cannot be the name of a certificate's file" in answer.output
    assert not (tmp_path / "certificates").exists()


def test_an_inventory_that_is_not_there(tmp_path: Path) -> None:
    answer = CliRunner().invoke(main, ["certificates", "list", "--inventory", str(tmp_path / "none.py")])
    assert answer.exit_code == 2
    assert "there is no such file" in answer.output


def test_they_are_where_a_deploy_has_them(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SETTINGS, "secrets_file", tmp_path / "elsewhere" / "passwords.json")
    assert run("issue", "vector", "vector.example.org").exit_code == 0
    assert (tmp_path / "elsewhere" / "certificates" / "ca.pem").exists()
    assert f"{tmp_path}/elsewhere/certificates/vector.pem" in run("list").output
