"""A small invented annotation team, the same on every run, with names and messages that break careless SQL."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from cvat_analytics.dashboards import TimeRange

Event = dict[str, Any]

END = datetime(2026, 3, 11, 15, 0, tzinfo=UTC)
RANGE = TimeRange(END - timedelta(days=7), END)
"""What the events are in; a few lie outside, so that a forgotten time filter shows."""

USERS: dict[int, str | None] = {
    1: "anna",
    2: "O'Brien \\",
    3: "山田 花子",
    4: "x'); DROP TABLE events; --",
    5: None,
}
SCOPES = ["draw:object", "change:frame", "save:job", "load:job", "zoom:image", 'odd:it\'s "one" \\']
MESSAGES = [
    "Cannot read 'x' of undefined",
    "path C:\\temp\\",
    'say "hi" & ${user} 100%',
    "失敗しました\nline two",
    "",
]
NAMES = ["Cats & 'dogs'", 'a "b" \\', "街路の写真", "'); DROP TABLE events; --", "100%20 ${users}"]
REQUESTS = ["1b1c9f3e-0d64-4f8e-9a53-6c0b6f1d7a11", 'it\'s \\ "odd" & 100% ${users}', "要求"]
PLATFORMS = [("Chrome", "Linux"), ("Firefox", "Windows 10"), ("Chrome", "macOS"), ("", "")]


def team(count: int = 400, seed: int = 7) -> list[Event]:
    """Return `count` events of the team in `RANGE` and some more around it. No two have the same time."""
    dice = random.Random(seed)
    week = RANGE.end - RANGE.start
    times = [RANGE.start + dice.random() * week for _ in range(count)]
    times += [END - timedelta(seconds=dice.random() * 1200) for _ in range(count // 10)]  # at work right now
    times += [RANGE.start - timedelta(minutes=5) - dice.random() * week for _ in range(count // 10)]
    times += [RANGE.end + timedelta(seconds=1 + dice.random() * 999) for _ in range(count // 20)]
    shift = RANGE.start + timedelta(hours=30)
    for _ in range(count // 2):  # a shift without long pauses, so that there is working time
        shift += timedelta(seconds=dice.expovariate(1 / 40))
        times.append(shift)
    unique = {round(time.timestamp() * 1000): time for time in times}
    return [_event(dice, time) for time in unique.values()]


def text(time: datetime) -> str:
    """Return a time as ClickHouse writes it."""
    return f"{time:%Y-%m-%d %H:%M:%S}.{time.microsecond // 1000:03}"


def time_of(event: Event) -> datetime:
    """Return when an event happened."""
    return datetime.fromisoformat(event["timestamp"]).replace(tzinfo=UTC)


def _event(dice: random.Random, time: datetime) -> Event:
    scope = dice.choice([*SCOPES, "load:cvat", "send:exception", "send:working_time", *_SERVER])
    user, job = dice.choice([*USERS, None]), dice.choice([None, *range(1, 9)])
    event: Event = {
        "scope": scope,
        "source": "client",
        "timestamp": text(time),
        "obj_name": None,
        "obj_val": None,
        "duration": dice.choice([0, 0, dice.randrange(1, 5000)]),
        "user_id": user,
        "user_name": USERS.get(user) if user else None,
        "org_id": dice.choice([None, 1, 2]),
        "job_id": job,
        "task_id": job and (job + 1) // 2,
        "project_id": job and (job + 3) // 4,
        "payload": None,
    }
    event["org_slug"] = {1: "org'one", 2: "orgtwo"}.get(event["org_id"])
    if scope == "load:cvat":
        name, os = dice.choice(PLATFORMS)
        event["payload"] = json.dumps({"platform": {"name": name, "os": os}}) if name else "not json"
    elif scope == "send:exception":
        event["source"] = dice.choice(["client", "server"])
        details = {"message": dice.choice(MESSAGES), "stack": "at a\nat b"}
        if event["source"] == "server":
            details["request_id"] = dice.choice(REQUESTS)  # where older servers put it
        event["payload"] = json.dumps(details, ensure_ascii=False)
    elif scope == "send:working_time":
        event["source"], event["payload"] = "server", json.dumps({"working_time": event["duration"]})
    elif scope in _SERVER:
        event["source"] = "server"
        event |= _SERVER[scope](dice)
        event["payload"] = json.dumps({"request": {"id": dice.choice(REQUESTS)}}, ensure_ascii=False)
    return event


_SERVER: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    "create:task": lambda dice: {"obj_name": dice.choice(NAMES), "count": dice.randrange(1, 50)},
    "update:task": lambda dice: {"obj_name": "name", "obj_val": dice.choice(NAMES)},
    "create:project": lambda dice: {"obj_name": dice.choice(NAMES)},
    "update:job": lambda dice: dice.choice(
        [
            {"obj_name": dice.choice(["state", "state", "assignee"]), "obj_val": "completed"},
            {"obj_name": dice.choice(["state", "assignee"]), "obj_val": "in progress"},
            {"obj_name": "stage", "obj_val": dice.choice(["annotation", "validation", "acceptance"])},
        ]
    ),
}
"""What only the server says, and its fields."""
