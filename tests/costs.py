"""What tests cost: the processor time that the whole machine spends while each runs, with all that it starts, wherever that runs.

    make test ARGS="tests/store --costs"       one process, and nothing else to do on the machine

Clock time says little of a suite whose workers share two cores; this is what is shared out (tests/lanes.py).
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

import pytest

_MOST = 30


class Cost(NamedTuple):
    """Seconds: of processors, and of the clock."""

    busy: float
    clock: float


def busy_seconds(text: str) -> float:
    """Return for how long all processors together have worked, as /proc/stat says it (proc(5))."""
    user, nice, system, _idle, _waiting, interrupts, soft = map(int, text.split()[1:8])
    return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")


def by_file(tests: dict[str, Cost]) -> dict[str, Cost]:
    """Return what the tests of each file cost together, the dearest first."""
    files: dict[str, Cost] = {}
    for name, cost in tests.items():
        file = name.split("::")[0]
        before = files.get(file, Cost(0, 0))
        files[file] = Cost(before.busy + cost.busy, before.clock + cost.clock)
    return dict(sorted(files.items(), key=lambda file: -file[1].busy))


class Costs:
    """Notes what each test costs, and says it at the end."""

    def __init__(self) -> None:
        self._tests: dict[str, Cost] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Note what a test costs, with what is made for it and taken away after it."""
        busy, clock = _now()
        outcome = yield
        busy_now, clock_now = _now()
        self._tests[item.nodeid] = Cost(busy_now - busy, clock_now - clock)
        return outcome

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what files and the dearest tests have cost."""
        dearest = dict(sorted(self._tests.items(), key=lambda test: -test[1].busy)[:_MOST])
        for title, costs in (("files", by_file(self._tests)), (f"the {_MOST} dearest tests", dearest)):
            terminalreporter.section(f"seconds of processors, and of the clock: {title}")
            for name, cost in costs.items():
                terminalreporter.write_line(f"{cost.busy:8.1f} {cost.clock:8.1f}  {name}")
        terminalreporter.write_line(f"{sum(cost.busy for cost in self._tests.values()):8.1f}  all of it")


def _now() -> tuple[float, float]:
    return busy_seconds(Path("/proc/stat").read_text()), time.monotonic()
