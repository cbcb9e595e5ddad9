"""Options of the whole test suite."""

import shutil
from collections.abc import Iterator

import hypothesis
import pytest

from benchmarks import machine
from tests import costs, lanes, patient
from tests.clickhouse import Store, running
from tests.lanes import pytest_collection_modifyitems as pytest_collection_modifyitems


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the lanes, what tests cost, where the host tests get their packages from, and how long to fuzz."""
    lanes.pytest_addoption(parser)
    parser.addoption("--costs", action="store_true", help="say what tests cost (tests/costs.py)")
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


def pytest_configure(config: pytest.Config) -> None:
    """Count what tests cost where that is asked for."""
    if config.getoption("--costs"):
        config.pluginmanager.register(costs.Costs())


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the smoke test and `status` within the tests' own process wait as long as a slow machine needs."""
    patient.raise_limits(monkeypatch.setattr)


@pytest.fixture(scope="session")
def shared_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Return the engine on which tests that share one have their databases (`Store.another`)."""
    with running(tmp_path_factory.mktemp("engine")) as store:
        yield store.with_schema()


def pytest_report_header() -> list[str]:
    """Say which programs the tests run on: the real one where it is on PATH, else what stands in for it."""
    grafana = shutil.which("grafana") or "not on PATH, a substitute stands in for it"
    return [f"pipeline: {machine.vector()}", f"grafana: {grafana}"]


# A shared machine has slow moments; a slow example is no failure
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")
