"""Options of the whole test suite."""

import hypothesis
import pytest

from benchmarks import machine


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add where the host tests get their packages from, and how long to fuzz."""
    parser.addoption(
        "--packages",
        choices=("standin", "vendor"),
        default="standin",
        help="packages that the host tests install: stand-ins (no network needed) or the vendors' own",
    )
    parser.addoption(
        "--fuzz-bodies",
        type=int,
        help="request bodies that tests/vector/test_fuzz.py sends, made with a new seed; 0: until interrupted",
    )


def pytest_report_header() -> str:
    """Say on what the tests of pipeline, faults and embedded stacks run: the installed Vector, or what stands for it."""
    return f"pipeline: {machine.vector()}"


# A shared machine has slow moments; a slow example is no failure
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")
