"""What tests cost is read as the kernel writes it, and added up by file."""

from __future__ import annotations

import os

from tests.costs import Cost, busy_seconds, by_file


def test_what_a_processor_waits_is_no_work() -> None:
    tick = os.sysconf("SC_CLK_TCK")
    line = (
        f"cpu  {tick} {2 * tick} {3 * tick} 9999 9999 {4 * tick} {5 * tick} 9 0 0\ncpu0 9 9 9 9 9 9 9 0 0 0\n"
    )
    assert busy_seconds(line) == 1 + 2 + 3 + 4 + 5


def test_the_dearest_file_comes_first() -> None:
    tests = {"a.py::one": Cost(1, 2), "b.py::one": Cost(5, 1), "a.py::two[x::y]": Cost(3, 4)}
    assert list(by_file(tests).items()) == [("b.py", Cost(5, 1)), ("a.py", Cost(4, 6))]
