"""The stack that is measured, and what sends to it: an embedded stack below a temporary directory, on this machine."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from clickhouse_connect.driver.client import Client

from benchmarks.pipeline.reloading import answers, marked
from benchmarks.report import BenchmarkError
from cvat_analytics.embedded import stack, starting
from cvat_analytics.rendering.files import Paths

PATIENCE = 300.0
_EVENT = (
    '{"scope":"draw:object","obj_name":"rectangle","obj_id":%d,"obj_val":null,"source":"client",'
    '"timestamp":"%.6f","count":1,"duration":2315,"project_id":38,"task_id":257,"job_id":890,"user_id":68,'
    '"user_name":"user","user_email":"user@example.org","org_id":2,"org_slug":"org",'
    '"payload":"{\\"client_id\\": \\"889802\\", \\"is_active\\": true, \\"working_time\\": 0, \\"username\\": \\"user\\"}"}'
)


def body(first: int, count: int) -> bytes:
    """Return a request of CVAT's client with the events numbered from `first` on."""
    now = time.time()
    return ("[" + ",".join(_EVENT % (number, now) for number in range(first, first + count)) + "]").encode()


@dataclass
class Load:
    """What was sent since when: events, and bytes of bodies."""

    events: int = 0
    size: int = 0
    began: float = field(default_factory=time.perf_counter)


@dataclass
class Rig:
    """A running stack without its viewer."""

    running: stack.Stack
    client: Client

    @property
    def paths(self) -> Paths:
        """Return where the stack's files are."""
        return self.running.paths

    def send(self, connections: int, size: int, seconds: float = 0, events: int = 0) -> Load:
        """Send bodies of `size` events over `connections` at a time, for `seconds` or until `events` are sent."""
        load = Load()
        lock, failures = threading.Lock(), list[str]()
        until = load.began + (seconds or PATIENCE)

        def work() -> None:
            connection = http.client.HTTPConnection(*self.running.access().vector.address, timeout=60)
            try:
                while time.perf_counter() < until and not failures:
                    with lock:
                        if events and load.events >= events:
                            break
                        first = load.events + 1
                        load.events += size
                    data = body(first, size)
                    connection.request("POST", "/", data)
                    response = connection.getresponse()
                    response.read()
                    if response.status != 200:
                        failures.append(f"Vector answered {response.status}")
                    with lock:
                        load.size += len(data)
            except (OSError, http.client.HTTPException) as error:
                failures.append(f"Vector: {error}")
            finally:
                connection.close()

        threads = [threading.Thread(target=work) for _ in range(connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise BenchmarkError(failures[0])
        return load

    def await_events(self, count: int) -> float:
        """Return the moment (time.perf_counter) at which `count` events were readable."""
        deadline = time.perf_counter() + PATIENCE
        while self.count() < count:
            if time.perf_counter() > deadline:
                raise BenchmarkError(f"{self.count()} of {count} events are readable after {PATIENCE:.0f} s")
            time.sleep(0.01)
        return time.perf_counter()

    def count(self) -> int:
        """Return how many events are in the table."""
        return int(self.client.query("SELECT count() FROM events").result_rows[0][0])

    def clear(self) -> None:
        """Begin anew with an empty table."""
        self.client.command("TRUNCATE TABLE events")

    @contextmanager
    def configured(self, change: Callable[[str], str]) -> Iterator[None]:
        """Let Vector work with its configuration changed."""
        path = Path(self.paths.vector_config) / "vector.toml"
        text = path.read_text()
        changed = change(text)
        if changed == text:
            raise BenchmarkError("the configuration has nothing to change any more")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self._reload(path, marked(changed, port), port, there=True)
        try:
            yield
        finally:
            self._reload(path, text, port, there=False)

    def _reload(self, path: Path, text: str, port: int, *, there: bool) -> None:
        path.write_text(text)
        pid = self.running.processes.pid("vector")
        if pid is None:
            raise BenchmarkError("Vector does not run")
        os.kill(pid, signal.SIGHUP)
        deadline = time.monotonic() + 30
        while answers(port) != there:
            if time.monotonic() > deadline:
                raise BenchmarkError("Vector has not reloaded its configuration")
            time.sleep(0.02)

    @contextmanager
    def without_clickhouse(self) -> Iterator[None]:
        """Stop ClickHouse, and start it again."""
        self.running.processes.stop("clickhouse")
        try:
            yield
        finally:
            starting.start(self.running, ("clickhouse",))
            self.client = _client(self.running)


def _client(running: stack.Stack) -> Client:
    client = running.access().client()
    client.database = running.access().database
    return client


@contextmanager
def rig() -> Iterator[Rig]:
    """Run a stack for a while."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        running = starting.up(Path(name) / "stack")
        try:
            for part in set(stack.PARTS) - {"clickhouse", "vector"}:
                running.processes.stop(part)
            yield Rig(running, _client(running))
        finally:
            stack.down(running.directory)
