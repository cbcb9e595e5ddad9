"""kill -9 while a file of the operator's is written: it is as before, or as wanted, and the same command completes it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from cvat_analytics.base.project import ROOT
from cvat_analytics.config import inventory as inventories
from cvat_analytics.credentials import secrets, users
from tests.killing import killed

REPLACE = "pathlib:Path.replace"


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    path = tmp_path / "hosts.py"
    path.write_text("clickhouse = vector = grafana = ['a.example.org']\n")
    return path


def run(words: Sequence[object], text: str = "") -> str:
    return subprocess.run(
        [sys.executable, "-m", "scripts.cli", *map(str, words)],
        cwd=ROOT, input=text, capture_output=True, text=True, check=True, timeout=300,
    ).stdout  # fmt: skip


def test_passwords_and_users_are_those_of_before_or_as_wanted(inventory: Path, tmp_path: Path) -> None:
    file = tmp_path / "secrets.json"
    init = ("secrets", "init", "--inventory", inventory)
    killed(REPLACE, *init)
    assert not file.exists()
    run(init)
    generated = secrets.load(file)

    give = ("secrets", "set", "smtp_password", "--inventory", inventory)
    killed(REPLACE, *give, text="of the mail server\n")
    assert secrets.load(file) == generated
    run(give, "of the mail server\n")
    assert secrets.load(file)["smtp_password"] == "of the mail server"

    add = ("users", "add", "ann", "--analytics", "--inventory", inventory)
    killed(REPLACE, *add, text="a long password\n")
    assert users.load(tmp_path / users.FILE_NAME) == {}
    run(add, "a long password\n")
    remove = ("users", "remove", "ann", "--inventory", inventory)
    killed(REPLACE, *remove)
    assert list(users.load(tmp_path / users.FILE_NAME)) == ["ann"]
    run(remove)
    assert users.load(tmp_path / users.FILE_NAME) == {}
    # what was not put in place is for its owner alone
    left = list(tmp_path.glob(".*.new"))
    assert len(left) == 4
    assert {each.stat().st_mode & 0o777 for each in left} == {0o600}


@pytest.mark.parametrize("times", [2, 4])
def test_a_certificate_and_its_key_belong_together_again(inventory: Path, times: int) -> None:
    """The authority's, and the host's, each with its key there and its certificate not."""
    issue = ("certificates", "issue", "proxy", "proxy.example.org", "--inventory", inventory)
    killed(REPLACE, *issue, times=times)
    run(issue)
    belong_together(inventory)


def test_a_renewal_that_is_killed_and_taken_back_leaves_no_key_of_another_certificate(
    inventory: Path,
) -> None:
    issue = ("certificates", "issue", "proxy", "--inventory", inventory, "proxy.example.org")
    run(issue)
    # the authority is signed anew first, with two files; then the host's key is there, and its certificate is not
    killed(REPLACE, *issue, "other.example.org", times=4)
    run(issue)
    belong_together(inventory)


def belong_together(inventory: Path) -> None:
    issued = inventories.load(inventory).authority.issued()
    assert len(issued) == 2
    for pair in issued.values():
        key = serialization.load_pem_private_key(pair.key.encode(), None)
        assert key.public_key() == pair.x509.public_key()
    ca, proxy = issued.values()
    proxy.x509.verify_directly_issued_by(ca.x509)
