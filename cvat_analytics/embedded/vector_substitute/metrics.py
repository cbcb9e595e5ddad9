"""What the substitute counts of itself, under Vector's names, and what it reads of the host.

Metrics travel as JSON texts in the form that Vector's `metric_to_log` gives them, so that the same programs take them.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from typing import Any

from cvat_analytics.embedded.vector_substitute.config import Component

Key = tuple[str, tuple[tuple[str, str], ...]]


class Metrics:
    """Counters and gauges by name and tags. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[Key, float] = defaultdict(float)
        self._gauges: dict[Key, float] = {}
        self._started = time.monotonic()

    def count(self, name: str, amount: float = 1, /, **tags: str) -> None:
        """Add `amount` to a counter."""
        if amount:
            with self._lock:
                self._counters[name, tuple(sorted(tags.items()))] += amount

    def gauge(self, name: str, value: float, /, **tags: str) -> None:
        """Set a gauge."""
        with self._lock:
            self._gauges[name, tuple(sorted(tags.items()))] = value

    def forget(self, component: str) -> None:
        """Remove the gauges of a component that is no more."""
        with self._lock:
            for key in [key for key in self._gauges if ("component_id", component) in key[1]]:
                del self._gauges[key]

    def value(self, name: str, **tags: str) -> float:
        """Return a counter's value."""
        with self._lock:
            return self._counters.get((name, tuple(sorted(tags.items()))), 0)

    def read(self) -> list[str]:
        """Return all metrics as events."""
        with self._lock:
            counters, gauges = dict(self._counters), dict(self._gauges)
        gauges["uptime_seconds", ()] = time.monotonic() - self._started
        return [
            metric(name, value, kind, "vector", dict(tags))
            for kind, values in (("counter", counters), ("gauge", gauges))
            for (name, tags), value in values.items()
        ]


def metric(name: str, value: float, kind: str, namespace: str, tags: Mapping[str, str]) -> str:
    """Return one metric as an event."""
    return json.dumps(
        {
            "name": name,
            "namespace": namespace,
            "tags": {"host": socket.gethostname(), **tags},
            "kind": "absolute",
            kind: {"value": value},
        }
    )


def filesystems(source: Component) -> list[str]:
    """Return size, use and free space of the mounted file systems as events (`host_metrics`)."""
    events = []
    for device, mountpoint, filesystem in _mounts():
        if _excluded(filesystem, source, "filesystems") or _excluded(mountpoint, source, "mountpoints"):
            continue
        try:
            state = os.statvfs(mountpoint)
        except OSError:
            continue  # not for us to see, or gone since
        tags = {
            "collector": "filesystem",
            "device": device,
            "filesystem": filesystem,
            "mountpoint": mountpoint,
        }
        size = state.f_frsize
        for name, blocks in (
            ("total", state.f_blocks),
            ("free", state.f_bavail),
            ("used", state.f_blocks - state.f_bfree),
        ):
            events.append(metric(f"filesystem_{name}_bytes", float(blocks * size), "gauge", "host", tags))
    return events


def _mounts() -> Iterable[tuple[str, str, str]]:
    with open("/proc/self/mounts") as mounts:
        for line in mounts:
            device, mountpoint, filesystem = line.split(" ")[:3]
            yield device, mountpoint.replace("\\040", " "), filesystem


def _excluded(value: str, source: Component, what: str) -> bool:
    return any(fnmatch(value, pattern) for pattern in source.get(f"filesystem.{what}.excludes", ()))


def command_output(source: Component) -> list[str]:
    """Return what the command of an `exec` source prints, an event per line; nothing when it fails or takes too long."""
    try:
        done = subprocess.run(
            [str(word) for word in source["command"]],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=source["scheduled.exec_interval_secs"],
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    fields: dict[str, Any] = {"source_type": "exec", "host": socket.gethostname(), "stream": "stdout"}
    return [json.dumps(fields | {"message": line}) for line in done.stdout.splitlines()]


def exposition(events: Iterable[str]) -> str:
    """Return metrics in Prometheus' text format."""
    lines = []
    for event in events:
        fields = json.loads(event)
        kind = "counter" if "counter" in fields else "gauge"
        tags = ",".join(f"{name}={json.dumps(value)}" for name, value in sorted(fields["tags"].items()))
        lines.append(f"{fields['namespace']}_{fields['name']}{{{tags}}} {fields[kind]['value']}")
    return "\n".join(sorted(lines)) + "\n"
