"""The section commands of the benchmark: what it counts, and that it does not count a command that failed. No timings."""

from __future__ import annotations

import resource
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
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    seconds = commands._seconds([sys.executable, "-c", f"import time; time.sleep(1)\n{program}"])
    assert seconds >= 0.3
    # of this command only: not of all that this process ever started
    assert seconds <= resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before + 1


def test_a_command_that_fails_has_no_figure() -> None:
    with pytest.raises(BenchmarkError, match=r"ended with 3:\nno such thing"):
        commands._seconds([sys.executable, "-c", "import sys; print('no such thing'); sys.exit(3)"])
