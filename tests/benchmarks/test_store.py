"""The store's benchmark measures what it says: the same histories on both sides, questions that have an answer. No timings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import store as section
from benchmarks.report import BenchmarkError, Report, Target
from benchmarks.store import engine as engines
from benchmarks.store import goals, histories, queries
from benchmarks.store.engine import Answer, Engine, Timed, percentile
from benchmarks.store.step import Step
from benchmarks.store.tables import Extras, StoreReport, report
from tests.clickhouse import Store


@pytest.fixture(scope="module")
def engine(shared_engine: Store) -> Iterator[Engine]:
    with shared_engine.another() as store:
        engine = Engine(store)
        histories.create_stock(engine)
        histories.load_stock(engine, 0, 5)
        histories.load(engine, 0, 5)
        yield engine


def test_histories_are_always_the_same(engine: Engine) -> None:
    digests = {
        engine.value(
            f"SELECT sum(cityHash64(*)) FROM ({histories.generator(0, 3)}) SETTINGS max_block_size = {size}"
        )
        for size in (1, 1000)
    }
    assert len(digests) == 1


def test_a_later_session_does_not_depend_on_where_a_load_began(engine: Engine) -> None:
    counts = [
        int(engine.value(f"SELECT count() FROM ({histories.generator(first, last)})"))
        for first, last in ((0, 4), (0, 2), (2, 4))
    ]
    assert counts[0] == counts[1] + counts[2]


def test_the_largest_history_that_is_measured_at_once_is_past(engine: Engine) -> None:
    last = 200_000 + 7 * histories.DAY_SESSIONS
    assert engine.value(f"SELECT max(timestamp) < now() FROM ({histories.generator(last - 1, last)})") == "1"


def test_ours_holds_each_event_of_the_stock_table_once(engine: Engine) -> None:
    stored = int(engine.value(f"SELECT count() FROM {histories.STOCK}"))
    distinct = f"(SELECT DISTINCT * FROM {histories.STOCK})"
    differences = engine.ask(
        f"SELECT count(), sum(cityHash64({histories.COLUMNS})) FROM events FINAL UNION ALL "
        f"SELECT count(), sum(cityHash64({histories.COLUMNS})) FROM {distinct}"
    ).cells
    assert differences[0] == differences[1]
    assert int(differences[0][0]) < stored


def test_histories_look_like_cvats(engine: Engine) -> None:
    shares = {
        scope: float(share)
        for scope, share in engine.ask(
            f"SELECT scope, count() / sum(count()) OVER () FROM {histories.STOCK} GROUP BY scope"
        ).cells
    }
    assert shares["change:frame"] > shares["draw:object"] > shares["save:job"] > shares["load:job"]
    assert {"load:cvat", "send:exception", "send:working_time", "create:shapes", "update:job"} <= set(shares)
    unreadable = engine.value(f"SELECT countIf(NOT isValidJSON(payload)) FROM {histories.STOCK}")
    assert unreadable == "0"


def test_every_stock_query_runs_and_has_its_counterpart(engine: Engine) -> None:
    for span in queries.spans(engine).values():
        ours = queries.ours(span) | queries.reports(span)
        for pair in queries.PAIRS:
            assert pair.ours in ours, f"no dashboard has {pair.ours!r} any more"
            assert engine.ask(queries.stock(pair, span)).cells, pair.name


def test_what_costs_nothing_reads_nothing(engine: Engine) -> None:
    for name, sql in queries.fixed_costs(engine).items():
        assert engine.ask(sql, user="grafana").rows < 1000, name


def test_look_ups_find_something(engine: Engine) -> None:
    for name, sql in queries.look_ups(engine).items():
        assert engine.ask(sql, user="grafana").cells, name


def test_events_go_where_vector_inserts_them(engine: Engine) -> None:
    before = int(engine.value("SELECT count() FROM events FINAL"))

    assert min(histories.ingest(engine, 5, 6)) > 0

    (ours,), (theirs,) = engine.ask(
        f"SELECT count() FROM events FINAL UNION ALL SELECT count() FROM (SELECT DISTINCT * FROM {histories.STOCK})"
    ).cells
    assert int(ours) > before
    assert ours == theirs


@pytest.mark.parametrize(
    ("limit", "value", "sql"),
    [
        ("MEMORY", 50 * 2**20, "SELECT groupArray(number) FROM numbers(100000000)"),
        ("QUERY_SECONDS", 1, "SELECT sum(sleepEachRow(0.05)) FROM numbers(50)"),
    ],
)
def test_a_query_that_cannot_be_done_is_a_figure(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, sql: str
) -> None:
    monkeypatch.setattr(engines, limit, value)

    timed = engine.timed("too much", sql, 3)

    assert (timed.median_ms, timed.unable[:10]) == (None, "not within")


def test_what_takes_long_is_run_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "ONCE_SECONDS", 0)
    asked: list[str] = []
    ask = Engine.ask

    def noted(self: Engine, sql: str, **how: Any) -> Answer:
        asked.append(sql)
        return ask(self, sql, **how)

    monkeypatch.setattr(Engine, "ask", noted)

    assert engine.timed("dear", "SELECT 1", 5).median_ms

    assert asked.count("SELECT 1") == 1


def test_what_always_runs_is_not_waited_for(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    value = Engine.value
    monkeypatch.setattr(Engine, "value", lambda self, sql: looks.append(sql) or value(self, sql))  # type: ignore[func-returns-value]

    assert engine.processor_seconds() > 0

    assert len(looks) < engines._LOOKS


def step(millions: float, **others: Timed) -> Step:
    """Return what a step of that size would be where every query takes as long as `others` say, or a millisecond."""
    ours = [others.get(pair.name, Timed(pair.ours, 1.0)) for pair in queries.PAIRS]
    ours += [Timed("All events: $jobs", 1.0), Timed(goals.NEWEST_EVENT, 1.0)]
    stock = [Timed(pair.name, 1000.0) for pair in queries.PAIRS]
    made = Step(round(millions * 1e6), round(millions * 1e6), round(millions * 1e3), refresh_seconds=millions)
    made.stock_bytes, made.our_bytes, made.derived_bytes = 100, 24, 6
    made.stock, made.ours = (dict.fromkeys(("7 days", "everything"), answers) for answers in (stock, ours))
    made.look_ups = [Timed("one user", 1.0)]
    return made


def found(steps: list[Step], name: str) -> Target:
    return next(target for target in goals.targets(steps) if name in target.name)


@pytest.mark.parametrize(
    ("size", "row", "limit"),
    [
        (20, "20.0 M, everything: All events, newest first, as stock", 30),
        (20, "20.0 M, 7 days: All events, newest first, one user", 30),
        (20, "20.0 M, 7 days: Management table, 1/10", 100),
        (20, "20.0 M, everything: Browsers, 1/10", 100),
        (20, "20.0 M, 7 days: Browsers, as stock", 1000),
        (20, "20.0 M, everything: All events: $jobs", 50),
        (20, "20.0 M: storage against stock", 0.24),
        (20, "20.0 M: storage with what is derived", 0.30),
        (100, "100.0 M, everything: Management table", 50),
        (100, "100.0 M, everything: Durations by scope", 60),
        (100, "100.0 M, everything: Pipeline: Newest event", 5),
        (100, "100.0 M: look-up: one user", 50),
        (100, "100.0 M: working time of an event", 1.25),
    ],
)
def test_each_goal_is_a_target_at_its_size(size: int, row: str, limit: float) -> None:
    target = found([step(1), step(size)], row)
    assert (target.limit, target.verdict) == (limit, "met")
    assert not list(goals.targets([step(2)])), "2 M events have no goals"


def test_a_goal_is_missed_by_what_is_slower_and_void_for_what_cannot_be_done() -> None:
    slow = step(20, Browsers=Timed("All events: Browsers", 101.0))
    assert found([slow], "everything: Browsers").verdict == "missed"
    unable = step(100, Browsers=Timed("All events: Browsers", None, unable="not within 8.00 GiB"))
    assert found([unable], "everything: Browsers").row()[-1] == "void: not within 8.00 GiB"


def test_working_time_that_costs_more_for_each_event_misses_its_goal() -> None:
    assert (
        found([step(20), replace(step(100), refresh_seconds=200)], "working time of an event").verdict
        == "missed"
    )


def test_what_cannot_be_done_stands_in_the_tables_and_in_the_file() -> None:
    unable = Timed("Browsers", None, unable="not within 8.00 GiB")
    made = step(100)
    made.stock = {
        span: [unable if each.name == "Browsers" else each for each in each_]
        for span, each_ in made.stock.items()
    }
    made.unable["working time of everything"] = "not within 1.00 GiB"
    whole = report([made], Extras())
    assert "not within 8.00 GiB" in whole.text()
    assert "void: not within 1.00 GiB" in whole.text()
    assert Step.from_json(json.loads(json.dumps(whole.as_json()))["steps"][0]) == made


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_the_section_hands_on_each_size_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real engine, a small history, and few questions."""
    monkeypatch.setattr(queries, "PAIRS", queries.PAIRS[:2])
    monkeypatch.setattr(
        queries,
        "ours",
        lambda span: {
            "All events: $x": "SELECT 1",
            "Management: Working time": "SELECT 2",
            "Monitoring: Number of events": "SELECT 3",
        },
    )
    monkeypatch.setattr(section, "_extras", lambda *_: iter(()))
    saved: list[Report] = []
    said: list[str] = []

    with monkeypatch.context() as broken:
        broken.setattr(section, "measure", interrupted)
        with pytest.raises(KeyboardInterrupt):
            section.run(1, said.append, [10_000], tmp_path, saved.append)
    assert not saved
    section.run(1, said.append, [10_000], tmp_path, saved.append)
    assert "making events up to 0.01 M" in said
    assert said.count("making events up to 0.01 M") == 1, "it was there, and is only measured"
    last = section.run(1, said.append, [10_000, 20_000], tmp_path, saved.append)

    assert isinstance(last, StoreReport)
    assert [len(each.steps) for each in saved if isinstance(each, StoreReport)] == [1, 1, 2]
    assert "0.01 M events were measured before" in said
    small, large = last.steps
    assert (large.added, large.events) == (large.events - small.events, large.events)
    assert (
        min(
            large.our_backup_bytes,
            large.stock_backup_bytes,
            large.restart_seconds,
            large.derived_cpu,
            large.work_memory,
        )
        > 0
    )
    with pytest.raises(BenchmarkError, match="Name a larger size"):
        section.run(1, said.append, [15_000], tmp_path)
    file = tmp_path / "history.json"
    file.write_text(file.read_text().replace('"busy": false', '"busy": true'))
    with pytest.raises(BenchmarkError, match="begin anew"):
        section.run(1, said.append, [40_000], tmp_path)


def test_a_history_at_rest_has_one_part_a_month_its_projections_and_no_day_to_count(engine: Engine) -> None:
    histories.pause(engine)
    histories.load_stock(engine, 6, 7)
    histories.load(engine, 6, 7)
    assert histories.unsettled(engine)

    histories.settle(engine)

    assert histories.unsettled(engine) == ""
    assert int(engine.value("SELECT length(days.counted_at) FROM counted_days")) > 0
    engine.ask("ALTER TABLE event_counts_settled CLEAR PROJECTION kinds", mutations_sync=2)
    assert "without projections" in histories.unsettled(engine)


def test_percentile_is_a_measured_value() -> None:
    assert [percentile(range(1, 101), 0.95), percentile([3], 0.95), percentile([1, 2, 3], 0.95)] == [95, 3, 3]
