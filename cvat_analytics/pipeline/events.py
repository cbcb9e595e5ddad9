"""CVAT's events as CVAT sends them: people who make them, a short made-up session, and CVAT's own client to send them with.

For the smoke test and the tests; the demo's longer history is in `team.py`.
"""

from __future__ import annotations

import heapq
import json
import random
import ssl
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import batched
from typing import Any

import httpx
import requests
from logstash_async.transport import HttpTransport

from cvat_analytics.base.errors import UnreachableError

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


def send(
    events: Iterable[Any],
    host: str,
    port: int,
    *,
    timeout: float = 30,
    batch_size: int = BATCH_SIZE,
    login: tuple[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Send `events` to Vector at `host` and `port` in requests of up to `batch_size`, as a CVAT server does.

    `login` and `tls` are for a Vector that takes nothing else. CVAT's client cannot be told how to check a certificate, so
    that through TLS another one sends the same.

    Raises UnreachableError when Vector cannot be reached or does not accept a request; what was sent before is stored.
    """
    username, password = login or (None, None)
    transport = HttpTransport(
        host, port, timeout=timeout, ssl_enable=False, username=username, password=password
    )
    for batch in batched(events, batch_size):
        try:
            if tls:
                with httpx.Client(verify=tls, timeout=timeout, auth=login, trust_env=False) as client:
                    client.post(f"https://{host}:{port}/", json=list(batch)).raise_for_status()
            else:
                transport.send([json.dumps(event) for event in batch])
        except (requests.RequestException, httpx.HTTPError) as error:
            response = getattr(error, "response", None)
            reason = type(error).__name__ if response is None else f"it answered HTTP {response.status_code}"
            raise UnreachableError(
                f"Vector at http{'s' if tls else ''}://{host}:{port} did not accept events ({reason}): see whether it runs and what it logs"
            ) from None


def make_session(
    *, seed: int, start: datetime, duration: timedelta, users: int = 4, first_id: int = 1
) -> Iterator[Event]:
    """Yield what `users` annotators do in `duration` from `start`, in order of time.

    The same arguments give the same events. Ids of users, projects, tasks and jobs begin at `first_id`.
    """
    begin, end = start.timestamp(), (start + duration).timestamp()
    annotators = [_annotator(seed, index, first_id, begin, end).work() for index in range(users)]
    for event in heapq.merge(*annotators, key=lambda event: float(event["timestamp"])):
        if float(event["timestamp"]) >= end:
            return
        yield event


@dataclass
class Author:
    """One person before the browser, and what the server reports about that person meanwhile."""

    user_id: int
    name: str
    email: str
    org_id: int
    org_slug: str
    random: random.Random
    now: float
    """Seconds since 1970."""
    end: float = float("inf")
    """When the person stops."""
    covered: float = 0.0
    """Until when working time is counted."""
    worked: float = 0.0
    """Seconds of working time that the server has not reported yet."""
    ids: dict[str, int | None] = field(default_factory=dict)
    """What the person works on: `project_id`, `task_id`, `job_id`."""

    def pause(self, shortest: float, longest: float) -> bool:
        """Let time pass. Return False when the working day is over."""
        self.now += self.random.uniform(shortest, longest)
        return self.now < self.end

    def client(self, scope: str, *, payload: dict[str, Any] | None = None, **fields: Any) -> Event:
        """Return an event of the browser, and count its working time."""
        about = {"client_id": str(100_000 + self.user_id), "is_active": True, "username": self.name}
        event = self.event(scope, "client", about | (payload or {}), fields)
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

    def server(self, scope: str, *, payload: dict[str, Any] | None = None, **fields: Any) -> Event:
        """Return an event of the server."""
        self.now += 0.01
        return self.event(scope, "server", payload or {}, fields)

    def request(self) -> dict[str, Any]:
        """Return the payload that all server events of one new API request share."""
        return {"request": {"id": str(uuid.UUID(int=self.random.getrandbits(128), version=4))}}

    def event(self, scope: str, source: str, payload: dict[str, Any], fields: dict[str, Any]) -> Event:
        """Return an event of now, with all columns."""
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
            "user_id": self.user_id,
            "user_name": self.name,
            "user_email": self.email,
            "org_id": self.org_id,
            "org_slug": self.org_slug,
            "payload": json.dumps(payload),
            **self.ids,
            **fields,
        }


def _annotator(seed: int, index: int, first_id: int, now: float, end: float) -> _Annotator:
    dice = random.Random(f"{seed}-{index}")  # noqa: S311 - made-up data, the same for the same seed
    name = _NAMES[index % len(_NAMES)] + (str(index) if index >= len(_NAMES) else "")
    return _Annotator(
        user_id=first_id + index, name=name, email=f"{name}@example.org", org_id=1, org_slug="annotators",
        random=dice, now=now + dice.uniform(0, 60), end=end, index=index, first_id=first_id,
    )  # fmt: skip


@dataclass(kw_only=True)
class _Annotator(Author):
    """Somebody who takes jobs and annotates until the end."""

    index: int
    first_id: int

    def work(self) -> Iterator[Event]:
        """Yield this person's events, in order of time."""
        platform = _PLATFORMS[self.index % len(_PLATFORMS)]
        yield self.client("load:cvat", payload={"platform": platform})
        number = 0
        while self.pause(1, 5):
            yield from self._take_job(number)
            yield from self._annotate()
            number += 1
            if self.random.random() < 0.3:
                self.pause(150, 900)  # away from the desk, for longer than counts as working

    def _take_job(self, number: int) -> Iterator[Event]:
        task = self.first_id + 10 * self.index + number
        self.ids = {"project_id": self.first_id + self.index % 2, "task_id": task}
        request = self.request()
        yield self.server("create:task", obj_name="name", obj_val=f"task {task}", payload=request)
        self.ids["job_id"] = task * 2
        yield self.server("create:job", obj_id=task * 2, payload=request)
        yield self.client("load:job", duration=self.random.randint(400, 4000), payload={"frame_count": 60})

    def _annotate(self) -> Iterator[Event]:
        unsaved: list[str] = []
        for frame in range(1, self.random.randint(20, 60)):
            if not self.pause(0.2, 4):
                break
            loading = self.random.randint(30, 900)
            yield self.client(
                "change:frame", duration=loading, payload={"from": frame - 1, "to": frame, "step": 1}
            )
            for _ in range(self.random.randint(0, 4)):
                self.pause(2, 25)
                shape = self.random.choice(_SHAPES)
                yield self.client(
                    "draw:object", obj_name=shape, count=1, duration=self.random.randint(800, 9000)
                )
                unsaved.append(shape)
            if self.random.random() < 0.4:
                self.pause(0.5, 6)
                scope = self.random.choice(
                    ("zoom:image", "drag:object", "resize:object", "action:undo", "fit:image")
                )
                yield self.client(scope, payload={"frame": frame})
            if self.random.random() < 0.02:
                yield self._exception(frame)
            if len(unsaved) >= 12:
                yield from self._save(unsaved)
                unsaved = []
        yield from self._save(unsaved)
        yield self.server(
            "update:job", obj_name="state", obj_val="completed", payload={"old_value": "in progress"}
        )

    def _save(self, shapes: Sequence[str]) -> Iterator[Event]:
        self.pause(0.5, 3)
        yield self.client("save:job", duration=self.random.randint(80, 900))
        request = self.request()
        for shape in sorted(set(shapes)):
            yield self.server("create:shapes", obj_name=shape, count=shapes.count(shape), payload=request)
        milliseconds, self.worked = int(self.worked * 1000), 0.0
        if milliseconds:
            yield self.server(
                "send:working_time", duration=milliseconds, payload={"working_time": milliseconds}
            )

    def _exception(self, frame: int) -> Event:
        message = f"Could not load frame {frame}"
        stack = f"Error: {message}\n    at FrameProvider.load (frames.ts:120:15)\n    at Player.seek (player.ts:42:7)"
        return self.client("send:exception", payload={"message": message, "stack": stack})
