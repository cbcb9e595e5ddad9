"""One run: a client at a steady rate, faults in an order that the seed decides, and the reckoning."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cvat_analytics.base.project import ROOT
from tests.faults import client as producer
from tests.faults.account import Account, Found, Kept
from tests.faults.ledger import Ledger

GENERATION = 10_000_000
"""Each start of the client numbers its events from a multiple of this."""
SETTLE = 180.0
"""Seconds in which everything acknowledged must be readable once the faults are over."""

TOO_MANY = 3
"""Failures of the stack itself after which a run ends early."""

Say = Callable[[str], None]


class Stage(Protocol):
    """A running stack that can be hurt. What it has beyond this, the faults need that use it."""

    kind: str
    gap: bool
    """Whether its Vector's buffer may lose what was answered at a kill, as the real one does (docs/why/faults.md)."""

    @property
    def targets(self) -> list[tuple[str, int]]: ...
    @property
    def vector_version(self) -> str: ...
    def start(self, *parts: str) -> None: ...
    def kill(self, part: str) -> None: ...
    def stop(self, part: str) -> None: ...
    def found(self) -> Found: ...
    def kept(self) -> Kept: ...
    def replay(self) -> None: ...


@dataclass
class Client:
    """The producer's process; its queue in `directory` outlives it."""

    directory: Path
    port: int
    rate: float
    generations: int = 0
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the producer with a number range of its own."""
        self.generations += 1
        command: list[object] = [sys.executable, "-m", "tests.faults.client", "--port", self.port]
        command += ["--queue", self._queue, "--count", self._count(self.generations)]
        command += ["--first", self.generations * GENERATION + 1, "--rate", self.rate]
        with (self.directory / "client.log").open("ab") as log:
            self.process = subprocess.Popen(
                list(map(str, command)),
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )

    def kill(self) -> None:
        """End the producer as a crash does."""
        assert self.process
        self.process.kill()
        self.process.wait(10)

    def drain(self, seconds: float) -> bool:
        """Let the producer make no more events and send what it has; return whether it could."""
        assert self.process
        self.process.terminate()
        try:
            return self.process.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            return False

    @property
    def sent(self) -> int:
        """Return how many events were made."""
        return sum(self._read(number) for number in range(1, self.generations + 1))

    @property
    def waiting(self) -> int:
        """Return how many events are in the queue."""
        return producer.waiting(str(self._queue)) if self._queue.exists() else 0

    @property
    def _queue(self) -> Path:
        return self.directory / "queue.sqlite"

    def _count(self, generation: int) -> Path:
        return self.directory / f"made.{generation}"

    def _read(self, generation: int) -> int:
        try:
            return int(self._count(generation).read_text())
        except (FileNotFoundError, ValueError):
            return 0


@dataclass
class Scene:
    """What a fault acts on."""

    stage: Any
    client: Client
    ledger: Ledger
    random: random.Random
    hold: tuple[float, float]
    """Shortest and longest time in seconds that a fault lasts."""

    def pause(self, share: float = 1.0) -> None:
        """Let the fault last."""
        time.sleep(self.random.uniform(*self.hold) * share)


Fault = Callable[[Scene], None]


@dataclass
class Outcome:
    """What a run has come to."""

    seed: int
    seconds: float
    stage: str
    vector: str
    account: Account
    faults: Counter[str]
    """How often each fault was injected."""
    answers: Counter[str]
    failures: list[str] = field(default_factory=list)
    """What went wrong beside lost and doubled events: a part that did not come back, for example."""

    @property
    def not_taken(self) -> int:
        """Return how many requests were not taken: the substitute answers 503 then, Vector itself 500 or nothing at all."""
        return self.answers["503"] + self.answers["500"] + self.answers["none"]

    @property
    def passed(self) -> bool:
        """Return whether the promise was kept."""
        return self.account.faultless and not self.failures

    def text(self) -> str:
        """Return the report for a terminal."""
        lines = [
            f"{self.seconds / 60:.1f} minutes, seed {self.seed}, {self.stage} stack, {self.vector}",
            "",
            self.account.text(),
            "answers to the client: "
            + ", ".join(f"{name} x {n}" for name, n in sorted(self.answers.items())),
            "",
            "faults injected:",
            *(f"{times:>6} x {name}" for name, times in sorted(self.faults.items())),
            *(f"FAILED: {failure}" for failure in self.failures),
            "",
            "PASS" if self.passed else f"FAIL: repeat it with --seed {self.seed}",
        ]
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Return the report for a file."""
        return {
            **{name: getattr(self, name) for name in ("seed", "stage", "vector", "passed", "failures")},
            "seconds": round(self.seconds, 1),
            "account": self.account.as_json(),
            "faults": dict(sorted(self.faults.items())),
            "answers": dict(self.answers),
        }


def run(
    stage: Stage,
    faults: dict[str, Fault],
    *,
    seed: int,
    rate: float,
    seconds: float = 0,
    hold: tuple[float, float] = (1.0, 2.0),
    patience: float = SETTLE,
    say: Say = lambda _line: None,
) -> Outcome:
    """Play rounds of all `faults`, each round in another order, for `seconds` (at least one round), and reckon up.

    `hold`: how long a fault lasts; `patience`: how long to wait for what was acknowledged, all in seconds.
    """
    chance = random.Random(seed)
    began = time.monotonic()
    injected: Counter[str] = Counter()
    failures: list[str] = []
    replayed: set[int] = set()
    with _producing(stage, rate) as (client, ledger):
        scene = Scene(stage, client, ledger, chance, hold)
        log = _Log(say, began, scene, injected)
        while True:
            for name in chance.sample(sorted(faults), len(faults)):
                scene.pause(0.5)
                for failure in _play(scene, name, faults[name]):
                    failures.append(failure)
                    say(f"FAILED: {failure}")
                injected[name] += 1
                log.minute()
                if len(failures) > TOO_MANY or (
                    time.monotonic() - began > seconds and injected.keys() == faults.keys()
                ):
                    break
            lost = settle(stage, ledger.snapshot(), patience)
            if lost and stage.gap:
                say(f"{len(lost)} were answered and lost by Vector's buffer: replay brings them back")
                stage.replay()
                replayed.update(lost)
                lost = settle(stage, ledger.snapshot(), patience)
            if lost:
                failures.append(
                    f"after round {max(injected.values())}: {len(lost)} are lost, such as {lost[:10]}"
                )
            if failures or time.monotonic() - began > seconds:
                break
        if not client.drain(patience):
            failures.append(f"the client could not send its queue ({client.waiting} events wait)")
        settle(stage, ledger.snapshot(), patience)
        found, acknowledged = stage.found(), ledger.snapshot()
        seen = found.events.keys() | found.dead.keys() | acknowledged
        account = Account.of(
            sent=client.sent,
            sendings=ledger.sendings,
            acknowledged=acknowledged,
            found=found,
            kept=stage.kept(),
            replayed=replayed,
            malformed={number for number in seen if producer.is_malformed(number)},
        )
        log.line()
    return Outcome(
        seed,
        time.monotonic() - began,
        stage.kind,
        stage.vector_version,
        account,
        injected,
        ledger.answers,
        failures,
    )


def _play(scene: Scene, name: str, fault: Fault) -> list[str]:
    """Inject one fault and bring back what it has ended; return what did not go as it must."""
    failures = []
    for step in (lambda: fault(scene), scene.stage.start):
        try:
            step()
        except Exception as error:
            failures.append(f"{name}: {type(error).__name__}: {error}")
    if scene.client.process is None or scene.client.process.poll() is not None:
        failures.append(f"{name}: the client has ended by itself")
        scene.client.start()
    return failures


def settle(stage: Stage, acknowledged: frozenset[int], seconds: float) -> Sequence[int]:
    """Wait until everything in `acknowledged` can be read; return what cannot after `seconds`."""
    deadline = time.monotonic() + seconds
    missing: Sequence[int] = sorted(acknowledged)
    while missing and time.monotonic() < deadline:
        with suppress(OSError):  # ClickHouse is still away
            missing = stage.found().missing(acknowledged)
            if not missing:
                break
        time.sleep(0.5)
    return missing


def _memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@contextmanager
def _producing(stage: Stage, rate: float) -> Iterator[tuple[Client, Ledger]]:
    ledger = Ledger(stage.targets)
    # in memory where that is possible: each event that the client queues waits for the disk, and with a busy one it would
    # send nothing at all, as it does that only when no more events are coming in
    with tempfile.TemporaryDirectory(prefix="faults-client-", dir=_memory()) as directory:
        client = Client(Path(directory), ledger.port, rate)
        client.start()
        try:
            yield client, ledger
        finally:
            if client.process and client.process.poll() is None:
                client.kill()
            ledger.close()


@dataclass
class _Log:
    """Tells once a minute how it goes."""

    say: Say
    began: float
    scene: Scene
    injected: Counter[str]
    minutes: int = 0

    def minute(self) -> None:
        """Say a line if a minute has begun since the last."""
        minutes = int((time.monotonic() - self.began) / 60)
        if minutes > self.minutes:
            self.minutes = minutes
            self.line()

    def line(self) -> None:
        """Say how it goes."""
        scene = self.scene
        self.say(
            f"{(time.monotonic() - self.began) / 60:5.1f} min: sent {scene.client.sent}, acknowledged "
            f"{len(scene.ledger.acknowledged)}, in the client's queue {scene.client.waiting}, "
            f"faults {self.injected.total()}, answers {json.dumps(scene.ledger.answers)}"
        )
