"""Four people at once are measured through the plugin's own driver, and what goes wrong for one of them is said. No timings."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import dashboards, people
from benchmarks.report import BenchmarkError
from tests.clickhouse import Store


@pytest.fixture(scope="module")
def driver(shared_engine: Store, tmp_path_factory: pytest.TempPathFactory) -> people.Driver:
    return people.Driver(shared_engine, tmp_path_factory.mktemp("driver"))


def test_each_of_the_people_waits_for_all_steps(driver: people.Driver) -> None:
    """A step is asked when the one before it is answered, and no connection is used twice at once."""
    seconds = driver.look([["SELECT sleep(0.2)"], ["SELECT sleep(0.2)", "SELECT 1"]], 2)
    assert len(seconds) == people.PEOPLE
    assert min(seconds) >= 0.4


def test_a_query_that_fails_is_told(driver: people.Driver) -> None:
    with pytest.raises(BenchmarkError, match="nowhere"):
        driver.look([["SELECT 1"], ["SELECT 1", "SELECT * FROM nowhere"]], dashboards.BROWSER_CONNECTIONS)


def test_what_this_machine_lacks_makes_a_row_void_and_not_the_section_fail(
    shared_engine: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "build_in", lambda _: pytest.skip("there is no Go"))
    with pytest.raises(BenchmarkError, match="there is no Go"):
        people.Driver(shared_engine, tmp_path)
