"""One person who makes events: their identity, their clock, and the working time that the server counts for them."""

from __future__ import annotations

import json
import random
import uuid
from dataclasses import dataclass, field
from typing import Any

from cvat_analytics.pipeline.events import Event
from cvat_analytics.store.event_columns import COLUMNS, OPTIONAL

THRESHOLD = 100.0
"""Seconds without an event after which CVAT counts no working time."""


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
    covered: float = 0.0
    """Until when working time is counted."""
    worked: float = 0.0
    """Seconds of working time that the server has not reported yet."""
    ids: dict[str, int | None] = field(default_factory=dict)
    """What the person works on: `project_id`, `task_id`, `job_id`."""

    def pause(self, shortest: float, longest: float) -> None:
        """Let time pass."""
        self.now += self.random.uniform(shortest, longest)

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
            **{name: None for name in COLUMNS if name not in OPTIONAL},
            "scope": scope,
            "source": source,
            "timestamp": f"{self.now:.6f}",
            "duration": 0,
            "user_id": self.user_id,
            "user_name": self.name,
            "user_email": self.email,
            "org_id": self.org_id,
            "org_slug": self.org_slug,
            "payload": json.dumps(payload),
            **self.ids,
            **fields,
        }
