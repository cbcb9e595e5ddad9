"""CVAT's events as CVAT sends them: a made-up annotation team at work, and CVAT's own client to send it with.

For the demo, the smoke test and the tests.
"""

from __future__ import annotations

import heapq
import json
import random
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import batched
from typing import Any

import requests
from logstash_async.transport import HttpTransport

from cvat_analytics.errors import UnreachableError

Event = dict[str, Any]
"""One event, with the names and the types that it has on the wire."""

BATCH_SIZE = 10
"""The events that CVAT's client sends in one request (python-logstash-async, QUEUED_EVENTS_BATCH_SIZE)."""

THRESHOLD = 100.0
"""Seconds without an event after which CVAT counts no working time."""

_PLATFORMS = (
    {"name": "Chrome", "version": "140.0.0", "os": "Windows 10"},
    {"name": "Firefox", "version": "143.0", "os": "Linux"},
    {"name": "Chrome", "version": "139.0.0", "os": "macOS 10.15.7"},
    {"name": "Safari", "version": "18.6", "os": "macOS 15.6"},
)
_NAMES = ("anna", "bruno", "chiara", "dmitri", "elif", "femi")
_SHAPES = ("rectangle", "polygon", "points", "polyline")


def send(events: Iterable[Any], host: str, port: int, *, timeout: float = 30) -> None:
    """Send `events` to Vector at `host` and `port` in requests of up to ten, as a CVAT server does.

    Raises UnreachableError when Vector cannot be reached or does not accept a request; what was sent before is stored.
    """
    transport = HttpTransport(host, port, timeout=timeout, ssl_enable=False, ssl_verify=False)
    for batch in batched(events, BATCH_SIZE):
        try:
            transport.send([json.dumps(event) for event in batch])
        except requests.RequestException as error:
            response = error.response
            reason = type(error).__name__ if response is None else f"it answered HTTP {response.status_code}"
            raise UnreachableError(
                f"Vector at http://{host}:{port} did not accept events ({reason}): see whether it runs and what it logs"
            ) from None


def make_session(
    *, seed: int, start: datetime, duration: timedelta, users: int = 4, first_id: int = 1
) -> Iterator[Event]:
    """Yield what `users` annotators do in `duration` from `start`, in order of time.

    The same arguments give the same events. Ids of users, projects, tasks and jobs begin at `first_id`.
    """
    begin, end = start.timestamp(), (start + duration).timestamp()
    teams = [_Annotator(seed, index, first_id, begin, end).work() for index in range(users)]
    for event in heapq.merge(*teams, key=lambda event: float(event["timestamp"])):
        if float(event["timestamp"]) >= end:
            return
        yield event


@dataclass
class _Annotator:
    """One person before the browser, and what the server reports about that person meanwhile."""

    seed: int
    index: int
    first_id: int
    now: float
    end: float
    covered: float = 0.0
    """Until when working time is counted."""
    worked: float = 0.0
    """Seconds of working time that the server has not reported yet."""
    ids: dict[str, int | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = random.Random(f"{self.seed}-{self.index}")  # noqa: S311 - made-up data, the same for the same seed
        self.name = _NAMES[self.index % len(_NAMES)] + (str(self.index) if self.index >= len(_NAMES) else "")
        self.now += self.random.uniform(0, 60)

    def work(self) -> Iterator[Event]:
        """Yield this person's events, in order of time."""
        platform = _PLATFORMS[self.index % len(_PLATFORMS)]
        yield self._client("load:cvat", payload={"platform": platform})
        number = 0
        while self._pause(1, 5):
            yield from self._take_job(number)
            yield from self._annotate()
            number += 1
            if self.random.random() < 0.3:
                self._pause(150, 900)  # away from the desk, for longer than counts as working

    def _take_job(self, number: int) -> Iterator[Event]:
        task = self.first_id + 10 * self.index + number
        self.ids = {"project_id": self.first_id + self.index % 2, "task_id": task}
        request = {"request": {"id": str(uuid.UUID(int=self.random.getrandbits(128), version=4))}}
        yield self._server("create:task", obj_name="name", obj_val=f"task {task}", payload=request)
        self.ids["job_id"] = task * 2
        yield self._server("create:job", obj_id=task * 2, payload=request)
        yield self._client("load:job", duration=self.random.randint(400, 4000), payload={"frame_count": 60})

    def _annotate(self) -> Iterator[Event]:
        unsaved: list[str] = []
        for frame in range(1, self.random.randint(20, 60)):
            if not self._pause(0.2, 4):
                break
            loading = self.random.randint(30, 900)
            yield self._client(
                "change:frame", duration=loading, payload={"from": frame - 1, "to": frame, "step": 1}
            )
            for _ in range(self.random.randint(0, 4)):
                self._pause(2, 25)
                shape = self.random.choice(_SHAPES)
                yield self._client(
                    "draw:object", obj_name=shape, count=1, duration=self.random.randint(800, 9000)
                )
                unsaved.append(shape)
            if self.random.random() < 0.4:
                self._pause(0.5, 6)
                scope = self.random.choice(
                    ("zoom:image", "drag:object", "resize:object", "action:undo", "fit:image")
                )
                yield self._client(scope, payload={"frame": frame})
            if self.random.random() < 0.02:
                yield self._exception(frame)
            if len(unsaved) >= 12:
                yield from self._save(unsaved)
                unsaved = []
        yield from self._save(unsaved)
        yield self._server(
            "update:job", obj_name="state", obj_val="completed", payload={"old_value": "in progress"}
        )

    def _save(self, shapes: Sequence[str]) -> Iterator[Event]:
        self._pause(0.5, 3)
        yield self._client("save:job", duration=self.random.randint(80, 900))
        request = {"request": {"id": str(uuid.UUID(int=self.random.getrandbits(128), version=4))}}
        for shape in sorted(set(shapes)):
            yield self._server("create:shapes", obj_name=shape, count=shapes.count(shape), payload=request)
        milliseconds, self.worked = int(self.worked * 1000), 0.0
        if milliseconds:
            yield self._server(
                "send:working_time", duration=milliseconds, payload={"working_time": milliseconds}
            )

    def _exception(self, frame: int) -> Event:
        message = f"Could not load frame {frame}"
        stack = f"Error: {message}\n    at FrameProvider.load (frames.ts:120:15)\n    at Player.seek (player.ts:42:7)"
        return self._client("send:exception", payload={"message": message, "stack": stack})

    def _pause(self, shortest: float, longest: float) -> bool:
        """Let time pass. Return False when the working day is over."""
        self.now += self.random.uniform(shortest, longest)
        return self.now < self.end

    def _client(self, scope: str, *, payload: dict[str, Any] | None = None, **fields: Any) -> Event:
        about = {"client_id": str(100_000 + self.index), "is_active": True, "username": self.name}
        event = self._event(scope, "client", about | (payload or {}), fields)
        # the server's rule: what an event adds to the time covered so far, and the gap before it if that is short
        begin, length = self.now, event["duration"] / 1000 if scope == "change:frame" else 0.0
        if self.covered:
            gap = begin - self.covered
            self.worked += (gap if 0 < gap < THRESHOLD else 0.0) + max(
                0.0, begin + length - max(begin, self.covered)
            )
        else:
            self.worked += length
        self.covered = max(self.covered, begin + length)
        return event

    def _server(self, scope: str, *, payload: dict[str, Any] | None = None, **fields: Any) -> Event:
        self.now += 0.01
        return self._event(scope, "server", payload or {}, fields)

    def _event(self, scope: str, source: str, payload: dict[str, Any], fields: dict[str, Any]) -> Event:
        user = self.first_id + self.index
        return {
            "scope": scope,
            "obj_name": None,
            "obj_id": None,
            "obj_val": None,
            "source": source,
            "timestamp": f"{self.now:.6f}",
            "count": None,
            "duration": 0,
            "project_id": None,
            "task_id": None,
            "job_id": None,
            "user_id": user,
            "user_name": self.name,
            "user_email": f"{self.name}@example.org",
            "org_id": 1,
            "org_slug": "annotators",
            "payload": json.dumps(payload),
            **self.ids,
            **fields,
        }
