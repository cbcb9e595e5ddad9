"""What is measured at one size of the history, and measuring it."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.report import BenchmarkError
from benchmarks.store import histories, queries
from benchmarks.store.engine import CannotBeDoneError, Engine, Server, Timed

if TYPE_CHECKING:
    from benchmarks.sections import Say


@dataclass
class Step:
    """What is measured at one size of the history. Queries by "time range" and name; seconds of processor time are the server's.

    What is made in this step is what comes to the size before: `added` events.
    """

    events: int
    added: int
    sessions: int
    stock_bytes: int = 0
    our_bytes: int = 0
    derived_bytes: int = 0
    stock_fresh_bytes: int = 0
    our_fresh_bytes: int = 0
    stock_backup_bytes: int = 0
    our_backup_bytes: int = 0
    stock_insert_cpu: float = 0
    our_insert_cpu: float = 0
    stock_merge_cpu: float = 0
    our_merge_cpu: float = 0
    derived_cpu: float = 0
    refresh_seconds: float | None = None
    restart_seconds: float = 0
    work_memory: int = 0
    query_memory: int = 0
    stock: dict[str, list[Timed]] = field(default_factory=dict)
    ours: dict[str, list[Timed]] = field(default_factory=dict)
    look_ups: list[Timed] = field(default_factory=list)
    fixed: list[Timed] = field(default_factory=list)
    unable: dict[str, str] = field(default_factory=dict)
    """What was not a query and could not be done."""

    @property
    def size(self) -> str:
        """Return the number of events as a person reads it."""
        return f"{self.events / 1e6:.1f} M"

    def query(self, side: str, span: str, name: str) -> Timed | None:
        """Return a query's figures; None when there is no query of that name any more."""
        return next((each for each in getattr(self, side).get(span, ()) if each.name == name), None)

    def as_json(self) -> dict[str, Any]:
        """Return everything."""
        timed = {
            side: {span: [each.as_json() for each in values] for span, values in getattr(self, side).items()}
            for side in ("stock", "ours")
        }
        lists = {name: [each.as_json() for each in getattr(self, name)] for name in ("look_ups", "fixed")}
        return {**vars(self), **timed, **lists}

    @classmethod
    def from_json(cls, known: dict[str, Any]) -> Step:
        """Return what `as_json` has made of a step."""
        timed = {
            side: {span: [Timed(**each) for each in values] for span, values in known[side].items()}
            for side in ("stock", "ours")
        }
        lists = {name: [Timed(**each) for each in known[name]] for name in ("look_ups", "fixed")}
        return cls(**{**known, **timed, **lists})


def grow(server: Server, first: int, last: int, say: Say) -> Step:
    """Add the sessions `first` <= session < `last` to both tables, let everything come to rest, and return what that took."""
    engine, database = server.engine, server.store.database
    say(f"making events up to {last * histories.SESSION_EVENTS / 1e6:g} M")
    before = engine.bytes("stock", "events")[1]
    server.forget_peak()
    clock = _Clock(engine)
    histories.load_stock(engine, first, last)
    stock_insert = clock.lap()
    histories.load(engine, first, last)
    our_insert = clock.lap()
    stored = engine.bytes("stock", "events")[1]
    step = Step(stored, stored - before, last, stock_insert_cpu=stock_insert, our_insert_cpu=our_insert)
    step.stock_fresh_bytes, step.our_fresh_bytes = (
        engine.bytes("stock")[0],
        engine.bytes(database, "events")[0],
    )
    say("merging, and computing what is computed from the events")
    clock.lap()
    engine.optimize("stock", "events")
    step.stock_merge_cpu = clock.lap()
    engine.optimize(database, "events")
    step.our_merge_cpu = clock.lap()
    try:
        step.refresh_seconds = histories.settle(engine)
    except BenchmarkError as error:
        step.unable["working time of everything"] = str(error).partition("\n")[0][:200]
    step.derived_cpu = clock.lap()
    step.work_memory = server.peak()
    step.stock_bytes, step.our_bytes = engine.bytes("stock", "events")[0], engine.bytes(database, "events")[0]
    step.derived_bytes = engine.bytes(database)[0] - step.our_bytes
    return step


def measure(server: Server, step: Step, runs: int, say: Say) -> None:
    """Restart the engine, and ask both sides everything."""
    say(f"a restart and the sizes of backups, {step.size}")
    server.stop()
    step.restart_seconds = server.start()
    engine = server.engine
    histories.pause(engine)
    for side, database in (("stock_backup_bytes", "stock"), ("our_backup_bytes", server.store.database)):
        try:
            setattr(step, side, engine.backup_bytes(database))
        except CannotBeDoneError as error:
            step.unable[f"backup of {database}"] = str(error)
    server.forget_peak()
    for name, span in queries.spans(engine).items():
        say(f"queries over {step.size} events, {name}")
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
    step.query_memory = server.peak()


class _Clock:
    """The processor time of an engine since it was looked at last, merges that run by themselves included."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._last = engine.processor_seconds()

    def lap(self) -> float:
        """Wait for the merges that run, and return the seconds since the last lap."""
        deadline = time.monotonic() + 600
        with suppress(CannotBeDoneError):
            while (
                time.monotonic() < deadline and self._engine.value("SELECT count() FROM system.merges") != "0"
            ):
                time.sleep(0.2)
        now = self._engine.processor_seconds()
        passed, self._last = now - self._last, now
        return passed
