"""The section commands of the benchmark: what it counts, and that it does not count a command that failed. No timings."""

from __future__ import annotations

import sys

import pytest

from benchmarks import commands
from benchmarks.report import BenchmarkError

_BURN = "import time\nwhile time.process_time() < 0.3: pass"


@pytest.mark.parametrize(
    "program", [_BURN, f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_BURN!r}])"],
    ids=["own", "of what it starts"],
)  # fmt: skip
def test_processor_time_counts_and_waiting_does_not(program: str) -> None:
    commands._seconds([sys.executable, "-c", program])  # what was started before does not count
    assert 0.3 <= commands._seconds([sys.executable, "-c", f"import time; time.sleep(3)\n{program}"]) < 3


def test_a_command_that_fails_has_no_figure() -> None:
    with pytest.raises(BenchmarkError, match=r"ended with 3:\nno such thing"):
        commands._seconds([sys.executable, "-c", "import sys; print('no such thing'); sys.exit(3)"])
