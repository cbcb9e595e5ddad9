"""Has a change made a query dearer by half? A million events, every query of the dashboards, in turn with stock's.

What is compared is the server's processor time, which depends little on what else the machine does, against that of stock's
queries in the same round; the median of the rounds against the ratio in `ratios.json`. `--renew` writes that file anew.
"""

from __future__ import annotations

import json
import math
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.report import Measurement, Report, Target
from benchmarks.store import histories, queries
from benchmarks.store.engine import Engine, serving

if TYPE_CHECKING:
    from benchmarks.sections import Say

SESSIONS = 1000
"""Of some thousand events each."""
SLOWER = 1.5
"""How many times its ratio of before a query may cost."""
NOISE = 0.02
"""What a query may cost more besides, as a share of an average one of stock's: the cheapest are near to what looking at the clock costs."""
ENOUGH_MS = 40.0
MOST = 50
"""A query is repeated until it has cost so much together, at most so often: of less the clock says too little."""
RATIOS = Path(__file__).parent / "ratios.json"
INGEST = "ingest"
_BATCH = 5_000
_RENEW = '`make bench ARGS="guard --renew"`'


def run(runs: int, say: Say, renew: bool = False) -> Report:
    """Measure `runs` rounds and compare them with the ratios of before, or write theirs down."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, serving(Path(name)) as server:
        engine = server.engine
        histories.create_stock(engine)
        histories.pause(engine)
        say(f"making {SESSIONS * histories.SESSION_EVENTS / 1e6:g} M events")
        histories.load_stock(engine, 0, SESSIONS)
        histories.load(engine, 0, SESSIONS)
        engine.optimize("stock", "events")
        histories.settle(engine)
        engine.ask("SYSTEM STOP MERGES")
        rounds = Rounds(engine, runs)
        say("a round that does not count")
        rounds.begin()
        for number in range(runs):
            say(f"round {number + 1} of {runs}")
            rounds.measure()
    ratios = {name: statistics.median(values) for name, values in rounds.ratios.items()}
    if renew:
        RATIOS.write_text(
            json.dumps({name: round(ratio, 4) for name, ratio in sorted(ratios.items())}, indent=2) + "\n"
        )
        say(f"written: {RATIOS}")
    return report(rounds.ratios, rounds.stock, json.loads(RATIOS.read_text()))


class Rounds:
    """The processor time of every query against that of stock's queries in the same round."""

    def __init__(self, engine: Engine, runs: int) -> None:
        self._engine = engine
        self._times: dict[str, int] = {}
        """How often a query is repeated, by its text."""
        self.ratios: dict[str, list[float]] = defaultdict(list)
        self.stock: list[float] = []
        """Milliseconds of processor time of an average query of stock's, in each round."""
        self._looking = 0.0
        """What looking at the clock costs."""
        self._looking = statistics.median(self._cost("", "") for _ in range(15))
        spans = queries.spans(engine).items()
        self._theirs = [queries.stock(pair, span) for _, span in spans for pair in queries.PAIRS]
        self._ours = {
            f"{name}, {span_name}": sql
            for span_name, span in spans
            for name, sql in (queries.ours(span) | queries.reports(span)).items()
        }
        # a session has its thousand events on an average only
        sessions = 1 + 2 * math.ceil((runs + 1) * _BATCH / histories.SESSION_EVENTS)
        self._batches = histories.batches(engine, SESSIONS, SESSIONS + sessions, _BATCH)[: runs + 1]

    def begin(self) -> None:
        """Measure a round that does not count, in which it is found out how often each query is repeated in the others."""
        for user, asked in (("admin", self._theirs), ("grafana", self._ours.values())):
            for sql in dict.fromkeys(asked):
                self._engine.ask(sql, user=user)  # what is read for the first time costs more
                self._times[sql] = max(1, min(MOST, round(ENOUGH_MS / max(0.1, self._cost(sql, user)))))
        self.measure()
        self.ratios.clear()
        self.stock.clear()

    def measure(self) -> None:
        """Run everything: a query of stock's, some of ours, the next of stock's."""
        ours, theirs = {}, []
        names = list(self._ours)
        for number, sql in enumerate(self._theirs):
            theirs.append(self._cost(sql, "admin"))
            for name in names[number :: len(self._theirs)]:
                ours[name] = self._cost(self._ours[name], "grafana")
        stock = statistics.mean(theirs)
        self.stock.append(stock)
        for name, cost in ours.items():
            self.ratios[name].append(cost / stock)
        batch = self._batches.pop()
        clock = self._engine.processor_seconds()
        histories.send(self._engine, batch, histories.STOCK, "admin")
        middle = self._engine.processor_seconds()
        histories.send(self._engine, batch, "incoming_events", "vector")
        self.ratios[INGEST].append((self._engine.processor_seconds() - middle) / (middle - clock))

    def _cost(self, sql: str, user: str) -> float:
        """Return the milliseconds of processor time of a query, on an average of its repetitions."""
        times = self._times.get(sql, 1)
        before = self._engine.processor_seconds()
        if sql:
            for _ in range(times):
                self._engine.ask(sql, user=user)
        return (1000 * (self._engine.processor_seconds() - before) - self._looking) / times


def report(
    ratios: Mapping[str, Sequence[float]], stock: Sequence[float], known: Mapping[str, float]
) -> Report:
    """Return which queries cost more than they may, and which are not known or gone."""
    targets = []
    for name, values in ratios.items():
        if not (before := known.get(name)):
            targets.append(Target(name, None, "at most", SLOWER, "x", void=f"it is new: {_RENEW}"))
            continue
        limit = SLOWER + (0 if name == INGEST else NOISE / before)
        targets.append(Target(name, statistics.median(values) / before, "at most", limit, "x"))
    held = sum(target.verdict == "met" for target in targets)
    gone = [
        Target(name, None, "at most", 0, "x", void=f"it is gone: {_RENEW}")
        for name in sorted(known.keys() - ratios.keys())
    ]
    return Report(
        "guard: processor time against stock's queries in the same round, a million events",
        [Measurement("an average query of stock's, processor time", stock, "ms")],
        [
            Target("queries that cost no more than before", held, "at least", len(ratios), ""),
            *(target for target in targets if target.verdict != "met"),
            *gone,
        ],
        [
            f"A query may cost {SLOWER:g} times what it did in {RATIOS.name}, and {NOISE:g} of an average one of stock's besides.",
            f"What is slower with a reason, and what has become faster, goes into that file: {_RENEW}, on any machine.",
        ],
    )


__all__ = ["RATIOS", "Rounds", "report", "run"]
