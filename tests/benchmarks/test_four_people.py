"""Four people at once are measured through the plugin's own driver, and what goes wrong for one of them is said. No timings."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from benchmarks import dashboards, people
from benchmarks.report import BenchmarkError
from cvat_analytics.dashboards import Dashboard, TimeRange
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


def test_what_this_machine_lacks_is_told_as_an_error_of_the_benchmark(
    shared_engine: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "build_in", lambda _: pytest.skip("there is no Go"))
    with pytest.raises(BenchmarkError, match="there is no Go"):
        people.Driver(shared_engine, tmp_path)


def test_a_page_that_is_never_drawn_costs_its_own_row(
    shared_engine: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Substitutes for browsers, one of which never sees the end of a dashboard."""

    def look(_: object, dashboard: Dashboard, __: object) -> list[float]:
        if dashboard.title == "Management":
            raise AssertionError("not within 120 s: the dashboard is drawn\nmuch else")
        return [0.5] * people.PEOPLE

    monkeypatch.setattr(people, "browsers", lambda _: nullcontext([]))
    monkeypatch.setattr(people, "look", look)
    end = datetime(2026, 1, 8, tzinfo=UTC)
    spans = {"7 days": TimeRange(end - timedelta(days=7), end)}

    targets = [target for _, target in dashboards.in_browsers(shared_engine, spans, 1, lambda _: None)]

    assert {target.name.partition(",")[0]: target.row()[-1] for target in targets} == {
        "All events": "met",
        "Management": "void: not within 120 s: the dashboard is drawn",
        "Monitoring": "met",
        "Pipeline": "met",
    }
