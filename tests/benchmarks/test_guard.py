"""The guard tells what has become slower by half, and of nothing else. No timings: ratios are given."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from benchmarks import guard
from benchmarks.store import queries
from cvat_analytics.dashboards import TimeRange

WEEK = TimeRange(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 8, tzinfo=UTC))
KNOWN = {"a small panel": 0.5, "a large panel": 10.0, guard.INGEST: 2.0}
STOCK = [19.0, 20.0, 21.0]


def verdicts(**ratios: list[float]) -> dict[str, str]:
    given = {name: [ratio] * 3 for name, ratio in KNOWN.items()} | {
        name.replace("_", " "): values for name, values in ratios.items()
    }
    return {target.name: target.verdict for target in guard.report(given, STOCK, KNOWN).targets}


def test_what_costs_what_it_did_is_one_line() -> None:
    assert verdicts() == {"queries that cost no more than before": "met"}


@pytest.mark.parametrize(
    ("ratios", "name"),
    [
        ({"a_large_panel": [15.5, 16.0, 14.0]}, "a large panel"),
        ({"a_small_panel": [1.1, 1.0, 1.2]}, "a small panel"),
        ({"ingest": [3.1, 3.2, 2.0]}, "ingest"),
    ],
    ids=["a large panel", "a small panel", "ingest"],
)
def test_what_is_slower_by_half_is_named(ratios: dict[str, list[float]], name: str) -> None:
    found = verdicts(**ratios)
    assert found[name] == "missed"
    assert found["queries that cost no more than before"] == "missed"


def test_noise_is_none() -> None:
    # a third more, one round that was disturbed, and what little a small one varies
    assert len(verdicts(a_large_panel=[13.0, 13.5, 40.0], a_small_panel=[0.8, 0.84, 0.84])) == 1


def test_what_is_new_or_gone_is_told_with_the_command_that_mends_it() -> None:
    report = guard.report({"a small panel": [0.5], "a new one": [1.0]}, STOCK, KNOWN)
    told = {target.name: target.void for target in report.targets if target.void}
    assert set(told) == {"a new one", "a large panel", guard.INGEST}
    assert all('make bench ARGS="guard --renew"' in text for text in told.values())


def test_every_query_of_the_dashboards_has_a_ratio() -> None:
    known = json.loads(guard.RATIOS.read_text())
    asked = queries.ours(WEEK) | queries.reports(WEEK)
    names = {f"{name}, {span}" for name in asked for span in ("7 days", "everything")} | {guard.INGEST}
    assert names == set(known)
