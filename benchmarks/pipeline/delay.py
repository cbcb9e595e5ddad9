"""The delay of an event: from before it is sent until a reader sees it, at a steady rate."""

from __future__ import annotations

import http.client
import threading
import time
from dataclasses import dataclass, field

from benchmarks.pipeline.rig import Rig, body
from benchmarks.report import BenchmarkError
from cvat_analytics.events import BATCH_SIZE

LOOK = 0.1
"""Seconds between two looks of the reader; the delay is measured no finer. A reader who looks without a pause takes a core
of the two for himself."""


def measure(stage: Rig, rate: int, seconds: float) -> list[float]:
    """Return the delays in seconds of `rate` events a second, sent for `seconds` in requests as CVAT makes them."""
    stage.clear()
    sent: list[float] = []
    seen: list[tuple[float, int]] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(LOOK):
            seen.append((time.perf_counter(), stage.count()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        senders, began = _Senders(stage), time.perf_counter()
        for number in range(int(rate * seconds) // BATCH_SIZE):
            time.sleep(max(0.0, began + number * BATCH_SIZE / rate - time.perf_counter()))
            sent += [time.perf_counter()] * BATCH_SIZE
            senders.start(number)
        senders.join()
        deadline = time.perf_counter() + 60
        while not (seen and seen[-1][1] >= len(sent)):
            if time.perf_counter() > deadline or not watcher.is_alive():
                raise BenchmarkError(f"not all of {len(sent)} events are readable")
            time.sleep(LOOK)
    finally:
        done.set()
        watcher.join()
    return delays(sent, seen)


def delays(sent: list[float], seen: list[tuple[float, int]]) -> list[float]:
    """Return the delays when events were `sent` at these moments, and `seen` says at which moment how many were readable.

    Events become readable in about the order in which they were sent: the n-th is readable when n are.
    """
    found: list[float] = []
    for moment, count in seen:
        found += [moment - each for each in sent[len(found) : count]]
    return found


@dataclass
class _Senders:
    """Sends each request in a thread of its own, as the several processes of a CVAT server do."""

    stage: Rig
    threads: list[threading.Thread] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def start(self, number: int) -> None:
        """Send request `number`."""
        thread = threading.Thread(target=self._send, args=(number,))
        thread.start()
        self.threads.append(thread)

    def join(self) -> None:
        """Wait for the answers. Raises BenchmarkError when one is not 200."""
        for thread in self.threads:
            thread.join()
        if self.failures:
            raise BenchmarkError(self.failures[0])

    def _send(self, number: int) -> None:
        connection = http.client.HTTPConnection(*self.stage.running.access().vector, timeout=60)
        try:
            connection.request("POST", "/", body(number * BATCH_SIZE + 1, BATCH_SIZE))
            status = connection.getresponse().status
            if status != 200:
                self.failures.append(f"Vector answered {status}")
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(f"Vector: {error}")
        finally:
            connection.close()
