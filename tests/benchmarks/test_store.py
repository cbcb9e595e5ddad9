"""The store's benchmark measures what it says: the same histories on both sides, questions that have an answer. No timings."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.store import histories, queries
from benchmarks.store.engine import Engine, percentile
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


def test_percentile_is_a_measured_value() -> None:
    assert [percentile(range(1, 101), 0.95), percentile([3], 0.95), percentile([1, 2, 3], 0.95)] == [95, 3, 3]
