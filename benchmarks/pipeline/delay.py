"""The delay of an event: from before it is sent until a reader sees it, at a steady rate."""

from __future__ import annotations

import http.client
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

from benchmarks.pipeline.rig import Rig, body
from benchmarks.report import BenchmarkError
from cvat_analytics.pipeline.events import BATCH_SIZE

LOOK = 0.1
"""Seconds between two looks of the reader; the delay is measured no finer. A reader who looks without a pause takes a core
of the two alone."""

PROCESSES = 16
"""How many send at a time: a CVAT's server and its workers."""


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


class _Senders:
    """Sends each request over a connection of its own, a process one after the other, as CVAT's client does."""

    def __init__(self, stage: Rig) -> None:
        self._address = stage.running.access().vector.address
        self._pool = ThreadPoolExecutor(PROCESSES)
        self._answers: list[Future[int]] = []

    def start(self, number: int) -> None:
        """Send request `number` as soon as a connection is free."""
        self._answers.append(self._pool.submit(self._send, number))

    def join(self) -> None:
        """Wait for the answers. Raises BenchmarkError when one is not 200."""
        self._pool.shutdown()
        for answer in self._answers:
            try:
                status = answer.result()
            except (OSError, http.client.HTTPException) as error:
                raise BenchmarkError(f"Vector: {error}") from None
            if status != 200:
                raise BenchmarkError(f"Vector answered {status}")

    def _send(self, number: int) -> int:
        connection = http.client.HTTPConnection(*self._address, timeout=60)
        try:
            connection.request("POST", "/", body(number * BATCH_SIZE + 1, BATCH_SIZE))
            return connection.getresponse().status
        finally:
            connection.close()
