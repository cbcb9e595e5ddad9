"""A deploy whose hosts cannot all be reached at its end: what is not applied of the list of erasures is said, and nothing is held back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cvat_analytics.credentials import secrets
from cvat_analytics.operate import erasure_list
from scripts import deploy
from scripts.cli import main


def test_a_list_of_erasures_that_cannot_be_applied_is_said_and_all_else_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inventory = tmp_path / "hosts.py"
    # nobody listens there
    host = "[('127.0.0.1', {'ssh_port': 1, 'address': '10.0.0.1'})]"
    inventory.write_text("".join(f"{group} = {host}\n" for group in ("clickhouse", "vector", "grafana")))
    secrets.init(tmp_path / "secrets.json")
    before = "2026-01-31T12:00:00.000+00:00"
    (tmp_path / erasure_list.FILE_NAME).write_text(
        json.dumps({"erasures": [{"user_id": 5, "before": before}]})
    )
    done = deploy.Outcome({"results": {"operations": []}}, ["CVAT_ANALYTICS=1"], {})
    monkeypatch.setattr(deploy, "bring", lambda *_, **__: done)
    result = CliRunner().invoke(main, ["deploy", "--inventory", str(inventory)])
    assert result.exit_code == 1
    assert "NOT APPLIED: the list of erasures: " in result.stderr
    assert "run it again when the cause is gone" in result.stderr
    assert "Tell CVAT" in result.stdout
    assert "Prove that it works" in result.stdout
