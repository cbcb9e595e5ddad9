"""The event store against CVAT's own table: one engine, the same events, the questions that people ask of them.

The history grows in steps, as it does in life; at each step both tables are measured, whole months merged into one
part each. Our dashboards' SQL is the panels' own, run as Grafana's user. What cannot be done within the memory and the time
that there are is a figure too, and every step's figures are handed on before the next.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.report import BenchmarkError, Report
from benchmarks.store import histories, queries
from benchmarks.store.engine import Engine, Server, Timed, serving
from benchmarks.store.step import Step, grow, measure
from benchmarks.store.tables import Extras, StoreReport, report
from cvat_analytics.base.files import write_atomically

if TYPE_CHECKING:
    from benchmarks.sections import Say

EVENTS = 20_000_000
SHARES = (0.05, 0.25, 1.0)
"""Of the only size that is named: where it is measured on the way."""


def run(
    runs: int,
    say: Say,
    sizes: Sequence[int] = (EVENTS,),
    keep: Path | None = None,
    save: Callable[[Report], object] = lambda report: None,
) -> Report:
    """Grow both tables to each of `sizes`, measure there, and report.

    With `keep` the data stays in that directory, and what is there already is gone on with. `save` is given what there is after every step.
    """
    if len(sizes) == 1 and not keep:
        sizes = [round(sizes[0] * share) for share in SHARES]
    with _directory(keep) as directory:
        history = _History(directory / "history.json")
        there = history.read()
        with serving(directory, there=there) as server:
            if not there:
                histories.create_stock(server.engine)
            histories.pause(server.engine)
            history.finish(server, runs, say)
            for events in sorted(sizes):
                history.grow(server, max(1, round(events / histories.SESSION_EVENTS)), runs, say)
                save(report(history.steps, Extras()))
            extras = Extras()
            for part in _extras(history, server, extras, runs, say):
                say(part)
                save(report(history.steps, extras))
            if keep:
                history.even_out(server.engine)
    return report(history.steps, extras)


class _History:
    """What is in a directory: up to which session, and what was measured there."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.sessions = 0
        self.even = 0
        """Up to which session both tables hold the same."""
        self.steps: list[Step] = []
        self._unmeasured: Step | None = None
        """What the tables have grown to, while that is not measured."""

    def read(self) -> bool:
        """Return whether there is one. Raises BenchmarkError for one that cannot be gone on with."""
        if not self._file.exists():
            return False
        known = json.loads(self._file.read_text())
        if known["busy"]:
            raise BenchmarkError(
                f"{self._file.parent}: a run ended there while it made events, so the two tables differ. Remove the directory, and begin anew"
            )
        self.sessions, self.even = known["sessions"], known.get("even", known["sessions"])
        self.steps = [Step.from_json(each) for each in known["steps"]]
        if unmeasured := known.get("unmeasured"):
            self._unmeasured = Step.from_json(unmeasured)
        return True

    def write(self, *, busy: bool = False) -> None:
        """Note what there is; `busy` while the tables are not what it says."""
        known = {
            "busy": busy,
            "sessions": self.sessions,
            "even": self.even,
            "steps": [step.as_json() for step in self.steps],
            "unmeasured": self._unmeasured and self._unmeasured.as_json(),
        }
        write_atomically(self._file, json.dumps(known, indent=1), mode=0o644)

    def finish(self, server: Server, runs: int, say: Say) -> None:
        """Do what a run that ended too early has left: even out the tables, measure the size that they have."""
        if self.even < self.sessions:
            self.even_out(server.engine)
        if self._unmeasured:
            measure(server, self._unmeasured, runs, say)
            self.steps.append(self._unmeasured)
            self._unmeasured = None
            self.write()

    def grow(self, server: Server, sessions: int, runs: int, say: Say) -> None:
        """Grow to `sessions` and measure, unless that was done. Raises BenchmarkError when there are more already."""
        if sessions in (measured := [step.sessions for step in self.steps]):
            say(f"{sessions * histories.SESSION_EVENTS / 1e6:g} M events were measured before")
            return
        if sessions <= self.sessions:
            done = ", ".join(f"{each * histories.SESSION_EVENTS}" for each in measured)
            raise BenchmarkError(
                f"{self._file.parent}: there are {self.sessions * histories.SESSION_EVENTS} events already; measured were {done}. Name a larger size"
            )
        self.write(busy=True)
        self._unmeasured = grow(server, self.sessions, sessions, say)
        self.sessions = self.even = sessions
        self.write()
        self.finish(server, runs, say)

    def even_out(self, engine: Engine) -> None:
        """Give both tables what only one of them was sent in part, so that the history can grow further."""
        self.write(busy=True)
        histories.load_stock(engine, self.even, self.sessions)
        histories.load(engine, self.even, self.sessions)
        self.even = self.sessions
        self.write()


@contextmanager
def _directory(keep: Path | None) -> Iterator[Path]:
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        yield Path(name)


def _extras(history: _History, server: Server, extras: Extras, runs: int, say: Say) -> Iterator[str]:
    """Measure what is measured once; yield what was."""
    engine, day = server.engine, histories.DAY_SESSIONS
    history.write(busy=True)
    say("ingest, batch by batch")
    extras.speeds = histories.ingest(engine, history.sessions, history.sessions + 2 * day)
    first = history.even = history.sessions = history.sessions + 2 * day
    # what comes now is ours alone, and can be evened out
    history.sessions += 4 * day
    history.write()
    yield "ingest is measured"
    extras.costs = _increments(engine, first, say)
    yield "the cost of new events is measured"
    extras.unmerged, extras.parts = _unmerged(engine, first + 3 * day, runs, say)
    yield "waiting merges are measured"


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
        histories.send(engine, batch, "incoming_events", "vector")
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
        histories.send(engine, batch, "incoming_events", "vector")
    parts = engine.parts(database, "events")
    span = queries.spans(engine)["7 days"]
    found = {
        name: engine.timed(name, sql, runs, user="grafana")
        for name, sql in queries.ours(span).items()
        if "$" not in name
    }
    engine.ask(f"SYSTEM START MERGES {database}.events")
    return found, parts


__all__ = ["EVENTS", "StoreReport", "run"]
