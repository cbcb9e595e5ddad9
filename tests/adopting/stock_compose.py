"""A stand-in of CVAT's stock compose: what `adopt` sees of it, and a CVAT that goes on working all the while.

Its ClickHouse is a real engine with stock's schema. Its Vector is a word in a file: while that says that it runs, what CVAT sends it is
inserted into the stock table; else it stays in CVAT's queue, as with CVAT's own sender. `docker` is a program that reads and writes the same file, and knows
of docker what `adopt` asks it.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cvat_analytics import demo
from cvat_analytics.store.event_columns import COLUMNS
from tests.clickhouse import Store
from tests.importing.samples import fill

STOCK = ("cvat_clickhouse", "cvat_vector", "cvat_grafana")
SENDERS = ("cvat_server", "cvat_worker_import")
HERE = "10.0.0.5"
"""Where CVAT sends what goes to this stack."""

_DOCKER = """#!{python} -SE
import fcntl, json, sys
with open({state!r}, "r+") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    state = json.load(file)
    words = sys.argv[1:]
    state["calls"].append(words)
    answer = ""
    if words[:1] in state["busy"]:
        sys.exit("Cannot connect to the Docker daemon")
    if words[0] == "ps":
        asked = words[words.index("--filter") + 1]
        if asked == "label=com.docker.compose.project=" + state["project"]:
            answer = "\\n".join([*state["running"], *state["sends_to"]])
    elif words[0] == "inspect":
        answer = json.dumps([
            {{
                "Id": state["machine"] + name,
                "State": {{"Running": state["running"].get(name, True), "StartedAt": state["started"].get(name, "")}},
                "Config": {{
                    "Env": ["DJANGO_LOG_SERVER_HOST=" + state["sends_to"][name]] if name in state["sends_to"] else ["CLICKHOUSE_PASSWORD=user"],
                    "Labels": {{"com.docker.compose.service": name}},
                }},
            }}
            for name in words[3:]
        ])
    elif words[:2] == ["compose", "-p"] and words[2] == state["project"] and words[3] == "stop":
        for name in words[6:]:
            state["running"][name] = False
    else:
        sys.exit("unknown command: " + " ".join(words))
    file.seek(0)
    file.truncate()
    json.dump(state, file)
print(answer)
"""


class StockCompose:
    """The containers of CVAT's project, as its docker tells of them."""

    def __init__(self, directory: Path, project: str = "cvat") -> None:
        self.programs = directory / "bin"
        self._file = directory / "docker.json"
        state = {
            "project": project, "running": dict.fromkeys(STOCK, True), "sends_to": dict.fromkeys(SENDERS, "vector"), "calls": [],
            "machine": directory.name, "started": dict.fromkeys(STOCK, stock_time(0)), "busy": [],
        }  # fmt: skip
        self._file.write_text(json.dumps(state))
        self.programs.mkdir()
        docker = self.programs / "docker"
        docker.write_text(_DOCKER.format(python=sys.executable, state=str(self._file)))
        docker.chmod(0o755)

    @contextmanager
    def _state(self) -> Iterator[dict[str, Any]]:
        with self._file.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            state: dict[str, Any] = json.load(file)
            yield state
            file.seek(0)
            file.truncate()
            json.dump(state, file)

    @property
    def path(self) -> str:
        """Return a PATH with this `docker` on it."""
        return f"{self.programs}{os.pathsep}{os.environ['PATH']}"

    def running(self) -> list[str]:
        """Return the stock services that run."""
        with self._state() as state:
            return [name for name, runs in state["running"].items() if runs]

    def put(self, name: str, *, runs: bool) -> None:
        """Start or stop a service behind everybody's back."""
        with self._state() as state:
            if runs and not state["running"][name]:
                state["started"][name] = datetime.now(UTC).isoformat()
            state["running"][name] = runs

    def be_anothers(self) -> None:
        """Have the containers of another CVAT, whose project has the same name."""
        with self._state() as state:
            state["machine"] = "another"

    def be_busy(self, *, busy: bool = True) -> None:
        """Have a docker that gives no answer, or does again."""
        with self._state() as state:
            state["busy"] = [["ps"]] if busy else []

    def changes(self) -> list[list[str]]:
        """Return the commands that docker was given, without those that only ask."""
        with self._state() as state:
            return [words for words in state["calls"] if words[0] not in ("ps", "inspect")]

    def switch(self, *names: str) -> None:
        """Start CVAT's services `names` with the override."""
        with self._state() as state:
            for name in names:
                state["sends_to"][name] = HERE

    @contextmanager
    def way_of(self, name: str) -> Iterator[str]:
        """Yield where what a service of CVAT's sends goes: `stock`, `here`, or nowhere (empty). It stays so until the block's end: a Vector that is
        stopped delivers what it has taken first."""
        with self._state() as state:
            if state["sends_to"][name] == HERE:
                yield "here"
            else:
                yield "stock" if state["running"]["cvat_vector"] else ""


class Cvat:
    """A CVAT that works without a pause: an event of each of its services at a time, which goes where that sends."""

    def __init__(self, compose: StockCompose, stock: Store, here: Store) -> None:
        self.sent: dict[str, int] = {"stock": 0, "here": 0}
        self.recorded = 0
        self.refused: list[str] = []
        self._compose, self._stock, self._here = compose, stock, here
        self._queues: dict[str, list[dict[str, Any]]] = {name: [] for name in SENDERS}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Cvat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Record nothing more, and send what is in the queues."""
        self._over.set()
        self._thread.join()

    @property
    def waiting(self) -> int:
        """Return how many events are in the queues."""
        return sum(map(len, self._queues.values()))

    def _work(self) -> None:
        while not self._over.wait(0.1):
            for name in SENDERS:
                self._queues[name].append(self._event(name))
                self._send(name)

    def _event(self, name: str) -> dict[str, Any]:
        self.recorded += 1
        return {
            "scope": "create:shapes", "source": "server", "timestamp": stock_time(datetime.now(UTC).timestamp()), "obj_id": self.recorded,
            "user_id": 7, "user_name": name, "payload": json.dumps({"request": {"id": f"{name}-{self.recorded}"}}),
        }  # fmt: skip

    def _send(self, name: str) -> None:
        queue = self._queues[name]
        try:
            with self._compose.way_of(name) as way:
                if way == "stock":
                    fill(
                        self._stock,
                        [dict.fromkeys(COLUMNS) | {"duration": 0} | event for event in queue],
                        "cvat",
                    )
                elif way == "here":
                    self._here.insert(queue)
                else:
                    return
        except (AssertionError, OSError) as error:
            self.refused.append(repr(error))
            return
        self.sent[way] += len(queue)
        queue.clear()


def history(count: int) -> list[dict[str, Any]]:
    """Return the first events of an annotation team's weeks, as CVAT sends them and its stock Vector stores them."""
    end = datetime(2026, 3, 18, 14, 20, tzinfo=UTC)
    events = list(demo.history(seed=1, end=end))
    step = max(1, len(events) // count)
    return [
        {name: event.get(name) for name in COLUMNS} | {"timestamp": stock_time(float(event["timestamp"]))}
        for event in events[::step]
    ]


def stock_time(seconds: float) -> str:
    """Return a moment as the stock table has it."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3]
