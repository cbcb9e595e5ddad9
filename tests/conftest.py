"""Options of the whole test suite."""

import hypothesis
import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add where the host tests get their packages from."""
    parser.addoption(
        "--packages",
        choices=("standin", "vendor"),
        default="standin",
        help="packages that the host tests install: stand-ins (no network needed) or the vendors' own",
    )


# A shared machine has slow moments; a slow example is no failure
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")
