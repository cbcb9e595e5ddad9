"""A deploy that would delete something for good says what, and asks: the real command and pyinfra, against pyinfra's fake hosts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cvat_analytics.credentials import secrets
from deploys.facts import _ANSWERED as ANSWERED
from scripts import deploy
from scripts.cli import main
from tests.deploys.conftest import DEBIAN_12, OFFERS

LOSS = "host @fake/a: events_retention forever -> 30d: 1,234 events from 2025-01-01 00:00:00 to 2026-10-30 10:00:00 UTC will be deleted"
JOURNAL = "host @fake/b: journal_retention 30d -> 7d: 1 file of the journal with events of 2026-01-02T05 to 2026-01-02T05, 5 bytes, will be"
SET = "ALTER TABLE cvat.events MODIFY TTL"


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """Return the inventory of a stack whose events are kept for ever, and shall be for thirty days; its journal for seven."""
    installed = "\npackage=clickhouse-client 26.8.19.9 installed"
    answers: dict[str, Any] = {
        "os-release": f"{DEBIAN_12}{installed}",
        "apt-cache": OFFERS,
        "SELECT count()": f"1234\t2025-01-01 00:00:00\t2026-10-30 10:00:00\n{ANSWERED}",
        "FORMAT TSV; SELECT": "events\tReplacingMergeTree ORDER BY a\napplied",
        "date +now=": f"now=1790000000\nkept={30 * 86400}\nfile=1780000000 5 events-2026-01-02T05.jsonl.zst",
    }
    (tmp_path / "group_data").mkdir()
    (tmp_path / "group_data" / "all.py").write_text(
        f"fake_responses = {answers!r}\nfake_delay = 0\nfake_delay_jitter = 0\nevents_retention = '30d'\njournal_retention = '7d'\n"
        "open_to_network = ['clickhouse']\n"
    )
    path = tmp_path / "hosts.py"
    path.write_text(
        "clickhouse = [('@fake/a', {'address': '10.0.0.1'})]\nvector = [('@fake/b', {'address': '10.0.0.2'})]\n"
        "grafana = [('@fake/c', {'address': '10.0.0.3'})]\n"
    )
    secrets.init(tmp_path / "secrets.json")
    return path


def run(inventory: Path, *options: str, typed: str | None = None) -> Result:
    """Run the deploy, without the host whose plugin would have to be fetched."""
    limit = ("--limit", "clickhouse", "--limit", "vector")
    return CliRunner().invoke(main, ["deploy", "--inventory", str(inventory), *limit, *options], input=typed)


def test_nobody_who_can_be_asked_is_no_consent(inventory: Path, capfd: pytest.CaptureFixture[str]) -> None:
    refused = run(inventory)
    assert refused.exit_code == 2
    said = [line.removeprefix("cvat-analytics: ") for line in refused.stderr.splitlines()]
    assert LOSS in said
    assert any(line.startswith(JOURNAL) for line in said), "every host's are said"
    assert said[-1] == "nothing has been changed. With `--yes` it is done without a question [CVA3205]"
    log = capfd.readouterr().err
    assert "Starting operation" not in log
    assert "Traceback" not in log


def test_a_preview_says_it_and_asks_nothing(inventory: Path) -> None:
    shown = run(inventory, "--dry")
    assert shown.exit_code == 0, shown.output
    assert f"would delete  {LOSS}" in shown.stdout.splitlines()


def test_a_machine_agrees_beforehand(inventory: Path, capfd: pytest.CaptureFixture[str]) -> None:
    done = run(inventory, "--yes")
    assert done.exit_code == 0, done.output
    assert f"deletes  {LOSS}" in done.stdout.splitlines()
    assert SET in capfd.readouterr().err


@pytest.mark.parametrize(("typed", "changes"), [("y\n", True), ("n\n", False)])
def test_somebody_at_a_terminal_is_asked(
    inventory: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    typed: str,
    changes: bool,
) -> None:
    monkeypatch.setattr(deploy, "_somebody_is_there", lambda: True)
    done = run(inventory, typed=typed)
    assert LOSS in done.stderr
    assert "Delete it for good?" in done.stderr
    assert (SET in capfd.readouterr().err) == changes
    assert done.exit_code == (0 if changes else 1)
