"""A minute of every fault. `make faults` is the same for as long as wanted."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.faults import harness
from tests.faults.embedded import Embedded
from tests.faults.kinds import FAULTS, LONG
from tests.faults.proxy import MODES

# the stack's processes outlive whoever starts them
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
SEED = 20_240_601


def test_every_acknowledged_event_is_there_once_whatever_happens(tmp_path: Path) -> None:
    faults = {name: fault for name, fault in FAULTS.items() if name not in LONG}
    stage = Embedded(tmp_path / "stack")
    try:
        outcome = harness.run(stage, faults, seed=SEED, rate=60, hold=(0.3, 0.9), patience=180)
        hits = dict(stage.proxy.hits)
    finally:
        stage.close()
    print(outcome.text())
    assert outcome.passed, outcome.text()
    assert set(outcome.faults) == set(faults)
    assert [mode for mode in MODES if not hits.get(mode)] == []
    assert outcome.account.dead > 0
    assert outcome.account.resent > 0
    # Vector itself ends with a full disk, and then nobody answers
    assert outcome.answers["503"] > 0 or shutil.which("vector"), "the full disk has stopped the intake"
