"""`cvat-analytics secrets set` takes a password from a pipe and shows it nowhere."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from cvat_analytics.credentials import secrets
from scripts.cli import main


def test_a_password_from_a_pipe(tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.py"
    inventory.write_text("clickhouse = vector = grafana = ['analytics.example.org']\n")
    file = tmp_path / "secrets.json"
    secrets.init(file)
    arguments = ["secrets", "set", "smtp_password", "--inventory", str(inventory)]
    result = CliRunner().invoke(main, arguments, input="pass;word#1\n")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "smtp_password" in result.stdout
    assert "pass;word" not in result.output
    assert secrets.load(file)["smtp_password"] == "pass;word#1"
    result = CliRunner().invoke(main, arguments, input="")
    assert result.exit_code == 2
    assert "secret smtp_password: a password is one line that is not empty" in result.stderr
