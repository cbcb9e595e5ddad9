"""Clients of CVAT that send what they have recorded, all in the same moment: the worst that their timers can do."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from benchmarks.report import BenchmarkError
from tests.api.harness import FakeVector

CLIENTS, BATCH = 50, 100
SCOPES = ("change:frame", "draw:object", "zoom:image", "drag:object", "save:job")


def _listen(pipe: Any) -> None:
    with FakeVector() as server:
        pipe.send(server.url)
        server.serve_forever()


@contextmanager
def vector() -> Iterator[str]:
    """Run a Vector that only takes what it gets, in a process of its own; yield its URL."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_listen, args=[there], daemon=True)
    process.start()
    try:
        if not here.poll(60):
            raise BenchmarkError("the Vector that only listens did not start")
        yield here.recv()
    finally:
        process.terminate()
        process.join(10)


def body(number: int) -> dict[str, Any]:
    """Return what a client sends after 90 seconds of work: 100 events, and the one before them."""
    now = datetime.now(UTC)
    events = [
        {
            "scope": SCOPES[n % len(SCOPES)],
            "timestamp": (now - timedelta(seconds=90 - 0.9 * n)).isoformat(),
            "job_id": 1000 + number,
            "task_id": number,
            "project_id": 1,
            "duration": 20 + n,
            "count": 1,
            "payload": '{"client_id": "889802", "is_active": true, "username": "annotator"}',
        }
        for n in range(BATCH)
    ]
    return {"events": events[1:], "previous_event": events[0], "timestamp": now.isoformat()}


async def _send(client: httpx.AsyncClient, number: int) -> float:
    content = body(number)
    began = time.perf_counter()
    answer = await client.post("/api/events", json=content)
    if answer.status_code != 201:
        raise BenchmarkError(f"POST /api/events: HTTP {answer.status_code} {answer.text[:200]}")
    return time.perf_counter() - began


async def _rounds(url: str, login: tuple[str, str], rounds: int) -> list[float]:
    limits = httpx.Limits(max_connections=CLIENTS)
    async with httpx.AsyncClient(
        base_url=url, auth=login, timeout=60, limits=limits, trust_env=False
    ) as client:
        await asyncio.gather(
            *(_send(client, n) for n in range(CLIENTS))
        )  # logs in and connects; does not count
        times: list[float] = []
        for _ in range(rounds):
            times += await asyncio.gather(*(_send(client, n) for n in range(CLIENTS)))
            await asyncio.sleep(0.2)
    return times


def latencies(url: str, login: tuple[str, str], rounds: int) -> list[float]:
    """Return the seconds of each request when 50 clients send at once, `rounds` times."""
    return sorted(asyncio.run(_rounds(url, login, rounds)))
