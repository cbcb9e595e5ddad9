"""`cvat-analytics certificates`, as an operator runs it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509

from cvat_analytics.config import inventory as inventories
from cvat_analytics.config import topology
from cvat_analytics.credentials import certificates
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
    assert (
        "the authority, for 10.0.0.5, 127.0.0.1, ::1, analytics, localhost, vector.example.org; sha256"
        in listed.output
    )
    assert "PRIVATE" not in issued.output + listed.output


def test_an_authority_of_before_is_limited_by_a_command_and_what_it_signed_stays(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "there is no authority to limit" in run("constrain").output
    with monkeypatch.context() as before:
        before.setattr(certificates.Pair, "permitted", lambda self: None)
        before.setattr(x509.CertificateBuilder, "add_extension", _unless_constraints)
        issued = run("issue", "vector", "vector.example.org")
        assert issued.exit_code == 0, issued.output
    assert "the authority, for ANY name" in run("list").output
    kept = (tmp_path / "certificates/vector.pem").read_text()
    limited = run("constrain")
    assert limited.exit_code == 0, limited.output
    assert (
        "signs for 127.0.0.1, ::1, analytics, localhost, vector.example.org and nobody else" in limited.output
    )
    assert run("issue", "vector", "vector.example.org").exit_code == 0
    assert (tmp_path / "certificates/vector.pem").read_text() == kept


_ADD = x509.CertificateBuilder.add_extension


def _unless_constraints(
    self: x509.CertificateBuilder, extension: x509.ExtensionType, critical: bool
) -> x509.CertificateBuilder:
    """Add an extension as a version that knew no constraints did."""
    return self if isinstance(extension, x509.NameConstraints) else _ADD(self, extension, critical)


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
