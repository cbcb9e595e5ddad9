"""The guard tells what has become dearer by half, and of nothing else. No timings: ratios and costs are given."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from benchmarks import guard
from benchmarks.store import histories, queries
from benchmarks.store.engine import Answer
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
        ({"a_small_panel": [0.8, 0.78, 0.79]}, "a small panel"),
        ({"ingest": [3.1, 3.2, 2.0]}, "ingest"),
    ],
    ids=["a large panel", "a small panel", "ingest"],
)
def test_what_is_dearer_by_half_is_named(ratios: dict[str, list[float]], name: str) -> None:
    found = verdicts(**ratios)
    assert found[name] == "missed"
    assert found["queries that cost no more than before"] == "missed"


def test_noise_is_none() -> None:
    # a third more, one round that was disturbed, and what little a small one varies
    assert len(verdicts(a_large_panel=[13.0, 13.5, 40.0], a_small_panel=[0.75, 0.76, 0.9])) == 1


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


class _Engine:
    """Substitute for an engine with a clock of its own: a query costs what its text says, looking at the clock half a millisecond."""

    def __init__(self) -> None:
        self.milliseconds = 0.0
        self.asked: list[str] = []

    def processor_seconds(self) -> float:
        self.milliseconds += 0.5
        return self.milliseconds / 1000

    def ask(self, sql: str, **_: object) -> Answer:
        self.asked.append(sql)
        self.milliseconds += float(sql)
        return Answer("", 0, 0, 0)


COSTS = {"nothing": "0.1", "cheap": "8", "dear": "90"}


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> _Engine:
    monkeypatch.setattr(queries, "spans", lambda _: {"7 days": WEEK})
    monkeypatch.setattr(queries, "PAIRS", ["stock"])
    monkeypatch.setattr(queries, "stock", lambda *_: "20")
    monkeypatch.setattr(queries, "ours", lambda _: COSTS)
    monkeypatch.setattr(queries, "reports", lambda _: {})
    monkeypatch.setattr(histories, "send", lambda engine, batch, table, user: engine.ask("10"))
    monkeypatch.setattr(histories, "batches", lambda *_: ["a batch"] * 99)
    return _Engine()


def test_what_is_cheap_is_repeated_until_its_cost_can_be_seen(engine: _Engine) -> None:
    given: Any = engine
    rounds = guard.Rounds(given, 3)
    rounds.begin()
    assert (rounds.ratios, rounds.stock) == ({}, []), "the round that does not count"
    engine.asked.clear()
    rounds.measure()
    assert [engine.asked.count(sql) for sql in COSTS.values()] == [guard.MOST, 5, 1]
    assert rounds.stock == pytest.approx([20.0])
    assert [rounds.ratios[f"{name}, 7 days"] for name in COSTS] == [
        pytest.approx([float(sql) / 20]) for sql in COSTS.values()
    ]


@pytest.mark.parametrize("runs", [1, 40])
def test_there_are_events_for_each_round(engine: _Engine, monkeypatch: pytest.MonkeyPatch, runs: int) -> None:
    made: list[int] = []

    def batches(_: object, first: int, last: int, size: int) -> list[str]:
        made.append(last - first)
        # sessions that are shorter by a third than they are on an average
        return ["a batch"] * round((last - first) * histories.SESSION_EVENTS * 2 / 3 / size)

    monkeypatch.setattr(histories, "batches", batches)
    given: Any = engine
    rounds = guard.Rounds(given, runs)
    rounds.begin()
    for _ in range(runs):
        rounds.measure()
    assert len(rounds.ratios[guard.INGEST]) == runs


def test_the_same_question_has_one_ratio() -> None:
    """A query whose SQL is the same for any time range costs the same for each: what lies between its ratios is what they are worth."""
    known = json.loads(guard.RATIOS.read_text())
    later = TimeRange(WEEK.start + timedelta(days=90), WEEK.end + timedelta(days=200))
    first, second = (queries.ours(span) | queries.reports(span) for span in (WEEK, later))
    same = [name for name in first if first[name] == second[name]]
    assert same, "no query is without a time range any more"
    apart = {
        name: (week, everything)
        for name in same
        if not 1 / guard.SLOWER
        < (week := known[f"{name}, 7 days"]) / (everything := known[f"{name}, everything"])
        < guard.SLOWER
    }
    assert not apart
