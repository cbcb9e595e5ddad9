"""What the store must hold at the sizes for which there are goals: 20 and 100 million events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.report import Target
from benchmarks.store import queries
from benchmarks.store.step import Step

NEAR = 0.15
"""How far from the goal's size a history may be: a tenth of the sessions' events vary."""

AT_20_M = {
    "7 days": {"Management table": (10, 5)},
    "everything": dict.fromkeys(
        (
            *("Active users over time", "Overall activity", "User activity", "Number of events"),
            *(
                "Browsers",
                "Operating systems",
                "Durations by scope",
                "Exceptions over time",
                "Exceptions table",
            ),
        ),
        (10, 15),
    ),
}
"""At least so many times faster than stock, or within so many milliseconds (what the engine takes for any answer)."""

AT_100_M = {
    "Management table": 50,
    "Active users (now)": 5,
    "Active users over time": 60,
    "Overall activity": 40,
    "User activity": 100,
    "All events, newest first": 30,
    "Browsers": 30,
    "Operating systems": 30,
    "Durations by scope": 60,
    "Exceptions table": 60,
}
"""Milliseconds, everything."""

FASTER = {"Management table": 50, "Active users (now)": 50}
"""How many times faster than stock over everything, at 20 M."""
NEWEST_MS, IDS_MS, LOOK_UP_MS, PANEL_MS = 30, 50, 50, 100
NEWEST_EVENT, NEWEST_EVENT_MS = "Pipeline: Newest event", 5
STORAGE, STORAGE_WITH_DERIVED, INGEST, REFRESH_SECONDS = 0.24, 0.30, 0.6, 1
LINEAR = 1.25
"""How many times more working time of an event may cost than at the size before."""


def targets(steps: Sequence[Step]) -> Iterator[Target]:
    """Yield the goals of every size for which there are any."""
    for number, step in enumerate(steps):
        if _near(step, 20):
            yield from _against_stock(step)
        if _near(step, 100):
            yield from _at_100_m(step, steps[:number])
        for name, why in step.unable.items():
            yield Target(f"{step.size}: {name}", None, "at most", 0, "", void=why)


def _near(step: Step, millions: int) -> bool:
    return abs(step.events / 1e6 / millions - 1) <= NEAR


def _against_stock(step: Step) -> Iterator[Target]:
    both = (step.our_bytes + step.derived_bytes) / step.stock_bytes
    yield Target(
        f"{step.size}: storage against stock",
        round(step.our_bytes / step.stock_bytes, 2),
        "at most",
        STORAGE,
        "x",
    )
    yield Target(
        f"{step.size}: storage with what is derived", round(both, 2), "at most", STORAGE_WITH_DERIVED, "x"
    )
    for pair in queries.PAIRS:
        for span in step.ours:
            stock = _milliseconds(step, "stock", span, pair.name)
            name = f"{step.size}, {span}: {pair.name}"
            if goal := AT_20_M.get(span, {}).get(pair.name):
                times, floor = goal
                yield _at_most(
                    step,
                    span,
                    pair,
                    max(floor, (stock or 0) / times),
                    f"{name}, 1/{times} of stock or {floor} ms",
                )
            elif pair.name.startswith("All events, newest first"):
                yield _at_most(
                    step,
                    span,
                    pair,
                    min(NEWEST_MS, stock or NEWEST_MS),
                    f"{name}, as stock and within {NEWEST_MS} ms",
                )
            elif span == "7 days" and stock:
                yield _at_most(step, span, pair, stock, f"{name}, as stock")
            elif (faster := FASTER.get(pair.name)) and stock:
                yield _at_most(step, span, pair, stock / faster, f"{name}, 1/{faster} of stock")
    yield from _ours(step)
    for each in step.look_ups:
        yield Target(
            f"{step.size}: look-up: {each.name}",
            each.median_ms,
            "at most",
            LOOK_UP_MS,
            "ms",
            void=each.unable,
        )


def _ours(step: Step) -> Iterator[Target]:
    """Yield what holds of every query of the dashboards."""
    for span, answers in step.ours.items():
        for each in answers:
            limit = IDS_MS if "$" in each.name else PANEL_MS
            yield Target(
                f"{step.size}, {span}: {each.name}", each.median_ms, "at most", limit, "ms", void=each.unable
            )


def _at_100_m(step: Step, before: Sequence[Step]) -> Iterator[Target]:
    for pair in queries.PAIRS:
        if limit := AT_100_M.get(pair.name):
            yield _at_most(step, "everything", pair, limit, f"{step.size}, everything: {pair.name}")
    for span in step.ours:
        newest = step.query("ours", span, NEWEST_EVENT)
        yield _target(newest, f"{step.size}, {span}: {NEWEST_EVENT}", NEWEST_EVENT_MS)
        for each in step.ours[span]:
            if "$" in each.name:
                yield _target(each, f"{step.size}, {span}: {each.name}", IDS_MS)
    for each in step.look_ups:
        yield _target(each, f"{step.size}: look-up: {each.name}", LOOK_UP_MS)
    if before and before[-1].refresh_seconds and step.refresh_seconds:
        cost = (step.refresh_seconds / step.added) / (before[-1].refresh_seconds / before[-1].added)
        yield Target(
            f"{step.size}: working time of an event against {before[-1].size}", cost, "at most", LINEAR, "x"
        )


def _milliseconds(step: Step, side: str, span: str, name: str) -> float | None:
    found = step.query(side, span, name)
    return found.median_ms if found else None


def _at_most(step: Step, span: str, pair: queries.Pair, limit: float, name: str) -> Target:
    return _target(step.query("ours", span, pair.ours), name, limit)


def _target(found: object, name: str, limit: float) -> Target:
    void = getattr(found, "unable", "there is no such query any more")
    return Target(name, getattr(found, "median_ms", None), "at most", limit, "ms", void=void)
