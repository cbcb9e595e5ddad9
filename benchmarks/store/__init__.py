"""The event store against CVAT's own table: one engine, the same events, the questions that people ask of them.

The history grows in steps, as it does in life; at each step both tables are measured, whole months merged into one
part each. Our dashboards' SQL is the panels' own, run as Grafana's user.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.report import Measurement, Report, Target, table
from benchmarks.store import histories, queries
from benchmarks.store.engine import Engine, Timed
from tests.clickhouse import running

if TYPE_CHECKING:
    from benchmarks.sections import Say

EVENTS = 20_000_000
STEPS = (0.05, 0.25, 1.0)

STORAGE, INGEST, LOOK_UP_MS, PANEL_MS, REFRESH_SECONDS = 1 / 3, 0.5, 50, 100, 1
FASTER = {
    "Management table": {"7 days": 10, "everything": 50},
    "Active users (now)": {"7 days": 10, "everything": 50},
}
"""How many times faster than stock."""


@dataclass
class Step:
    """What is measured at one size of the history. Queries by "time range" and name."""

    events: int
    stock_bytes: int = 0
    our_bytes: int = 0
    derived_bytes: int = 0
    stock_fresh_bytes: int = 0
    our_fresh_bytes: int = 0
    refresh_seconds: float = 0
    stock: dict[str, list[Timed]] = field(default_factory=dict)
    ours: dict[str, list[Timed]] = field(default_factory=dict)
    look_ups: list[Timed] = field(default_factory=list)
    fixed: list[Timed] = field(default_factory=list)

    def query(self, side: str, span: str, name: str) -> Timed | None:
        """Return a query's figures; None when there is no query of that name any more."""
        return next((each for each in getattr(self, side)[span] if each.name == name), None)

    def as_json(self) -> dict[str, Any]:
        """Return everything."""
        timed = {
            side: {span: [each.as_json() for each in values] for span, values in getattr(self, side).items()}
            for side in ("stock", "ours")
        }
        lists = {name: [each.as_json() for each in getattr(self, name)] for name in ("look_ups", "fixed")}
        return {**vars(self), **timed, **lists}


@dataclass(frozen=True)
class StoreReport(Report):
    """A report with every query of every size."""

    steps: tuple[Step, ...] = ()
    unmerged: Mapping[str, Timed] = field(default_factory=dict)

    def text(self) -> str:
        """Return the report with the queries of the whole history."""
        last = self.steps[-1]
        parts = [
            _query_table(f"{side}, {span}, milliseconds", getattr(last, side)[span])
            for side in ("stock", "ours")
            for span in last.ours
        ]
        parts.append(_query_table("look-ups, milliseconds", last.look_ups))
        parts.append(_query_table("what a query costs before it reads anything, milliseconds", last.fixed))
        parts.append(_growth_table(self.steps))
        parts.append(
            _query_table(
                "ours, 7 days, the last day in many small parts, milliseconds", list(self.unmerged.values())
            )
        )
        return "\n\n".join([super().text(), *parts])

    def as_json(self) -> dict[str, Any]:
        """Return the report with all steps."""
        unmerged = [each.as_json() for each in self.unmerged.values()]
        return {**super().as_json(), "steps": [step.as_json() for step in self.steps], "unmerged": unmerged}


def run(runs: int, say: Say, events: int = EVENTS) -> Report:
    """Grow both tables to `events`, measure at each step, and report."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as name,
        running(Path(name), memory_profile="medium", clickhouse_memory_limit=8 * 2**30) as store,
    ):
        engine = Engine(store)
        histories.create_stock(engine)
        histories.pause(engine)
        steps, sessions = [], 0
        for share in STEPS:
            upto = max(sessions + 1, round(events * share / histories.SESSION_EVENTS))
            steps.append(_step(engine, sessions, upto, runs, say))
            sessions = upto
        say("ingest, batch by batch")
        speeds = histories.ingest(engine, sessions, sessions + 2 * histories.DAY_SESSIONS)
        sessions += 2 * histories.DAY_SESSIONS
        costs = _increments(engine, sessions, say)
        unmerged, parts = _unmerged(engine, sessions + 3 * histories.DAY_SESSIONS, runs, say)
    return _report(steps, speeds, costs, unmerged, parts)


def _step(engine: Engine, first: int, last: int, runs: int, say: Say) -> Step:
    database = engine.store.context.settings.database
    say(f"making events up to {last * histories.SESSION_EVENTS / 1e6:g} M")
    histories.load_stock(engine, first, last)
    histories.load(engine, first, last)
    step = Step(engine.bytes("stock", "events")[1])
    step.stock_fresh_bytes, step.our_fresh_bytes = (
        engine.bytes("stock", "events")[0],
        engine.bytes(database, "events")[0],
    )
    say("merging, and computing what is computed from the events")
    engine.optimize("stock", "events")
    step.refresh_seconds = histories.settle(engine)
    step.stock_bytes, step.our_bytes = engine.bytes("stock", "events")[0], engine.bytes(database, "events")[0]
    step.derived_bytes = engine.bytes(database)[0] - step.our_bytes
    for name, span in queries.spans(engine).items():
        say(f"queries over {step.events / 1e6:.1f} M events, {name}")
        step.stock[name] = [
            engine.timed(pair.name, queries.stock(pair, span), runs) for pair in queries.PAIRS
        ]
        step.ours[name] = [
            engine.timed(what, sql, runs, user="grafana")
            for what, sql in (queries.ours(span) | queries.reports(span)).items()
        ]
    step.fixed = [
        engine.timed(what, sql, runs, user="grafana") for what, sql in queries.fixed_costs(engine).items()
    ]
    step.look_ups = [
        engine.timed(what, sql, runs, user="grafana") for what, sql in queries.look_ups(engine).items()
    ]
    return step


def _increments(engine: Engine, first: int, say: Say) -> dict[int, float]:
    """Return the seconds until working time is right again after 1, 1 000 and 100 000 new events."""
    if not histories.refreshable_views(engine):
        return {}
    histories.refresh(engine)
    costs: dict[int, float] = {}
    for count in (1, 1_000, 100_000):
        say(f"the cost of {count} new events")
        first += histories.DAY_SESSIONS if costs else 0
        sessions = max(1, count // histories.SESSION_EVENTS)
        batch = histories.batches(engine, first, first + sessions + 1, count)[0]
        histories.send(engine, batch, "events", "vector")
        costs[count] = histories.refresh_once(engine)
    histories.pause(engine)
    return costs


def _unmerged(engine: Engine, first: int, runs: int, say: Say) -> tuple[dict[str, Timed], int]:
    """Measure the last 7 days while the last day lies in small parts, as when merges cannot keep up."""
    database = engine.store.context.settings.database
    say("queries while merges wait")
    engine.optimize(database, "events")
    engine.ask(f"SYSTEM STOP MERGES {database}.events")
    for batch in histories.batches(engine, first, first + histories.DAY_SESSIONS, 2_000):
        histories.send(engine, batch, "events", "vector")
    parts = engine.parts(database, "events")
    span = queries.spans(engine)["7 days"]
    found = {
        name: engine.timed(name, sql, runs, user="grafana")
        for name, sql in queries.ours(span).items()
        if "$" not in name
    }
    engine.ask(f"SYSTEM START MERGES {database}.events")
    return found, parts


def _report(
    steps: list[Step],
    speeds: tuple[float, float],
    costs: Mapping[int, float],
    unmerged: dict[str, Timed],
    parts: int,
) -> StoreReport:
    last = steps[-1]
    millions = f"{last.events / 1e6:.1f} M events"
    measurements = []
    for step in steps:
        size = f"{step.events / 1e6:.1f} M"
        for name, value in (
            ("stock", step.stock_bytes), ("ours", step.our_bytes), ("stock, as inserted", step.stock_fresh_bytes),
            ("ours, as inserted", step.our_fresh_bytes), ("ours, tables beside events", step.derived_bytes),
        ):  # fmt: skip
            measurements.append(Measurement(f"{size}: bytes per event, {name}", [value / step.events], "B"))
    measurements += [
        Measurement("ingest, stock", [speeds[0]], "events/s"),
        Measurement("ingest, ours with views", [speeds[1]], "events/s"),
        *(
            Measurement(f"working time, all {s.events / 1e6:.1f} M events at once", [s.refresh_seconds])
            for s in steps
        ),
        *(Measurement(f"working time after {count} new events", [cost]) for count, cost in costs.items()),
    ]
    targets = [
        Target("storage against stock", last.our_bytes / last.stock_bytes, "at most", STORAGE, "x"),
        Target("ingest against stock", speeds[1] / speeds[0], "at least", INGEST, "x"),
    ]
    if 1_000 in costs:
        targets.append(
            Target("working time after 1000 new events", costs[1_000], "at most", REFRESH_SECONDS, "s")
        )
    targets += [
        Target(f"look-up: {each.name}", each.median_ms, "at most", LOOK_UP_MS, "ms") for each in last.look_ups
    ]
    for pair in queries.PAIRS:
        for span, times in FASTER.get(pair.name, {}).items():
            stock, our = last.query("stock", span, pair.name), last.query("ours", span, pair.ours)
            ratio = stock.median_ms / our.median_ms if stock and our else None
            targets.append(Target(f"{pair.name}, {span}, against stock", ratio, "at least", times, "x"))
    targets += [
        Target(f"{span}, {each.name}", each.median_ms, "at most", PANEL_MS, "ms")
        for span, answers in last.ours.items()
        for each in answers
    ]
    notes = [
        "Queries: median after one run that does not count. Rows and bytes are what the engine read.",
        f"The stock table keeps repeated events; ours holds each once, and its bytes are divided by the stock's {millions}.",
        f"The last table: {parts} parts, where there were no more than one per month before.",
    ]
    return StoreReport(
        f"store: {millions} in CVAT's own table and in ours",
        measurements,
        targets,
        notes,
        tuple(steps),
        unmerged,
    )


def _growth_table(steps: Sequence[Step]) -> str:
    rows = []
    for pair in queries.PAIRS:
        for side, name in (("stock", pair.name), ("ours", pair.ours)):
            answers = [step.query(side, "everything", name) for step in steps]
            figures = [f"{answer.median_ms:.1f}" if answer else "-" for answer in answers]
            rows.append([f"{pair.name}, {side}", *figures, ""])
    sizes = [f"{step.events / 1e6:.1f} M" for step in steps]
    return f"growth, everything, milliseconds\n{table(['', *sizes, ''], rows)}"


def _query_table(title: str, answers: list[Timed]) -> str:
    rows = [
        [
            each.name,
            f"{each.median_ms:.1f}",
            f"{each.p95_ms:.1f}",
            f"{each.rows / 1e6:.2f} M",
            f"{each.bytes / 1e6:.1f} MB",
            "",
        ]
        for each in answers
    ]
    return f"{title}\n{table(['', 'median', 'p95', 'rows read', 'bytes read', ''], rows)}"
