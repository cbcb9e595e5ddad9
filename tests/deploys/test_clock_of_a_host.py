"""A deploy tells how each host's clock is, and goes on whatever that is."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from deploys.report import FILE
from tests.deploys.conftest import Deploy


def test_the_clock_of_each_host_is_reported(
    run_deploy: Deploy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = tmp_path / "report"
    report.touch()
    monkeypatch.setenv(FILE, str(report))
    now = time.time() - 3600
    run = run_deploy(answers={"date +clock": [f"clock={now:.6f}", "NTPSynchronized=no", f"clock={now:.6f}"]})
    assert run.failed == set()
    (clock,) = [each for each in map(json.loads, report.read_text().splitlines()) if each["what"] == "clock"]
    assert (clock["host"], clock["synchronised"]) == ("@fake/a", "no")
    assert float(clock["most"]) <= -3599
    assert float(clock["least"]) <= float(clock["most"]) + 0.001


def test_a_host_that_tells_no_time_is_deployed_to(
    run_deploy: Deploy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = tmp_path / "report"
    report.touch()
    monkeypatch.setenv(FILE, str(report))
    assert run_deploy(answers={"date +clock": []}).failed == set()
    assert '"clock"' not in report.read_text()
