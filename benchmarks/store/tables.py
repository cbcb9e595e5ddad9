"""The store's figures as a report: tables of every query, of how it grows, and the goals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.report import Measurement, Report, Target, table
from benchmarks.store import goals, queries
from benchmarks.store.engine import GIB, Timed
from benchmarks.store.step import Step


@dataclass
class Extras:
    """What is measured once, after the largest size."""

    speeds: tuple[float, float] | None = None
    """Stock's and our events per second at ingest."""
    costs: dict[int, float] = field(default_factory=dict)
    """Seconds until working time is right again after so many new events."""
    unmerged: dict[str, Timed] = field(default_factory=dict)
    parts: int = 0


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
        parts += [_growth_table(self.steps), _cost_table(self.steps)]
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


def report(steps: Sequence[Step], extras: Extras) -> StoreReport:
    """Return what was measured so far."""
    measurements = [
        Measurement(f"{step.size}: bytes per event, {name}", [value / step.events], "B")
        for step in steps
        for name, value in (
            ("stock", step.stock_bytes), ("ours", step.our_bytes), ("ours, tables beside events", step.derived_bytes),
            ("stock, as inserted", step.stock_fresh_bytes), ("ours, as inserted", step.our_fresh_bytes),
        )
    ]  # fmt: skip
    targets = list(goals.targets(steps))
    if extras.speeds:
        stock, ours = extras.speeds
        measurements += [
            Measurement("ingest, stock", [stock], "events/s"),
            Measurement("ingest, ours with views", [ours], "events/s"),
        ]
        targets.append(Target("ingest against stock", ours / stock, "at least", goals.INGEST, "x"))
    measurements += [
        Measurement(f"working time after {count} new events", [cost]) for count, cost in extras.costs.items()
    ]
    if 1_000 in extras.costs:
        cost = extras.costs[1_000]
        targets.append(
            Target("working time after 1000 new events", cost, "at most", goals.REFRESH_SECONDS, "s")
        )
    return StoreReport(
        f"store: {steps[-1].size} events in CVAT's own table and in ours",
        measurements,
        targets,
        [
            "Queries: median after one run that does not count; one that took longer than 20 s was run once. Rows and bytes are what the engine read.",
            "The stock table keeps repeated events; ours holds each once, and its bytes are divided by the stock's events.",
            "Processor time of inserts includes making the events, the same on both sides, and merges meanwhile.",
            f"The last table: {extras.parts} parts, where there were no more than one per month before.",
        ],
        tuple(steps),
        extras.unmerged,
    )


def _growth_table(steps: Sequence[Step]) -> str:
    rows = [
        [f"{pair.name}, {side}", *(_milliseconds(step.query(side, "everything", name)) for step in steps), ""]
        for pair in queries.PAIRS
        for side, name in (("stock", pair.name), ("ours", pair.ours))
    ]
    others = [each.name for each in steps[-1].look_ups]
    rows += [
        [f"look-up: {name}", *(_milliseconds(_named(step.look_ups, name)) for step in steps), ""]
        for name in others
    ]
    newest = (_milliseconds(step.query("ours", "everything", goals.NEWEST_EVENT)) for step in steps)
    rows.append([f"{goals.NEWEST_EVENT}, ours", *newest, ""])
    return f"growth, everything, milliseconds\n{table(['', *(step.size for step in steps), ''], rows)}"


COSTS: Mapping[str, Callable[[Step], float]] = {
    "disk, stock, GiB": lambda step: step.stock_bytes / GIB,
    "disk, ours with what is derived, GiB": lambda step: (step.our_bytes + step.derived_bytes) / GIB,
    "backup, stock, GiB": lambda step: step.stock_backup_bytes / GIB,
    "backup, ours, GiB": lambda step: step.our_backup_bytes / GIB,
    "processor seconds per million events: inserts, stock": lambda step: (
        1e6 * step.stock_insert_cpu / step.added
    ),
    "processor seconds per million events: inserts, ours": lambda step: (
        1e6 * step.our_insert_cpu / step.added
    ),
    "the same: last merges, stock": lambda step: 1e6 * step.stock_merge_cpu / step.added,
    "the same: last merges, ours": lambda step: 1e6 * step.our_merge_cpu / step.added,
    "the same: refreshes and merges of what is derived": lambda step: 1e6 * step.derived_cpu / step.added,
    "working time of what was added, at once, s": lambda step: step.refresh_seconds or float("nan"),
    "memory at most: inserts, merges, refreshes, GiB": lambda step: step.work_memory / GIB,
    "memory at most: queries of both sides, GiB": lambda step: step.query_memory / GIB,
    "restart until it answers, both sides' tables, s": lambda step: step.restart_seconds,
}
"""What a size costs beside queries."""


def _cost_table(steps: Sequence[Step]) -> str:
    rows = [[name, *(f"{value(step):.2f}" for step in steps), ""] for name, value in COSTS.items()]
    return f"what each size costs\n{table(['', *(step.size for step in steps), ''], rows)}"


def _named(answers: Sequence[Timed], name: str) -> Timed | None:
    return next((each for each in answers if each.name == name), None)


def _milliseconds(answer: Timed | None) -> str:
    if answer is None:
        return "-"
    return answer.unable if answer.median_ms is None else f"{answer.median_ms:.1f}"


def _query_table(title: str, answers: list[Timed]) -> str:
    rows = [
        [
            each.name,
            _milliseconds(each),
            "-" if each.p95_ms is None else f"{each.p95_ms:.1f}",
            f"{each.rows / 1e6:.2f} M",
            f"{each.bytes / 1e6:.1f} MB",
            f"{each.memory / 2**20:.0f} MiB",
            f"{each.cpu_ms:.1f}",
            "",
        ]
        for each in answers
    ]
    return (
        f"{title}\n{table(['', 'median', 'p95', 'rows read', 'bytes read', 'memory', 'processor', ''], rows)}"
    )
