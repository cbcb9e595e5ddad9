"""The events API as a process of its own, with what it stands between: a real engine, and a Vector that only listens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from cvat_analytics.base.project import ROOT
from cvat_analytics.credentials import users
from tests.clickhouse import Store, free_ports
from tests.waiting import PATIENCE, until

LOCAL_USERS: dict[str, dict[str, Any]] = {"boss": {"admin": True}, "worker": {"id": 4}, "nameless": {}}
PASSWORD = "password-of-{}"
PLACES = {"streams": 6, "questions": 4, "wait_seconds": int(PATIENCE)}


class FakeVector(ThreadingHTTPServer):
    """Takes requests as Vector does, and keeps what it got. `status` is what it answers."""

    request_queue_size = 128

    def __init__(self) -> None:
        self.status = 200
        self.requests: list[list[dict[str, Any]]] = []
        super().__init__(("127.0.0.1", 0), _Listener)

    @property
    def url(self) -> str:
        """Return where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}/"


class _Listener(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeVector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.status == 200:
            self.server.requests.append(json.loads(body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@dataclass(frozen=True)
class Program:
    """What runs a service: a Python with its options, and the directory with the code and what it needs."""

    python: tuple[str | Path, ...] = (sys.executable,)
    directory: Path = ROOT


@dataclass
class Api:
    """A service. `stop`, `kill` and `start` are what an operator or an accident does to it."""

    directory: Path
    port: int
    program: Program = Program()
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    address: str = "127.0.0.1"

    @property
    def url(self) -> str:
        """Return its base URL."""
        return f"http://{self.address}:{self.port}"

    @property
    def log(self) -> str:
        """Return what it has logged so far."""
        return (self.directory / "api.log").read_text()

    def client(self, name: str = "", **options: Any) -> httpx.Client:
        """Return a client that logs in as `name`."""
        login = (name, PASSWORD.format(name)) if name else None
        return httpx.Client(base_url=self.url, auth=login, timeout=PATIENCE, trust_env=False, **options)

    def start(self) -> None:
        """Start the process and wait until it answers."""
        with (self.directory / "api.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.program.python, "-m", "cvat_analytics.api", "--config", self.directory / "api.ini"],
                cwd=self.directory, stdout=log, stderr=log,
                env=os.environ | {"PYTHONPATH": str(self.program.directory)},
            )  # fmt: skip

        def health() -> int:
            assert self.process
            assert self.process.poll() is None, f"the API did not start:\n{self.log[-3000:]}"
            return httpx.get(f"{self.url}/health", timeout=10, trust_env=False).status_code

        until(
            health,
            "the API is well",
            lambda status: status == 200,
            despite=httpx.HTTPError,
            told=lambda: self.log[-3000:],
        )

    def stop(self) -> int:
        """Stop it as systemd does, and return how it ended."""
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        """Kill it as the kernel does when memory is short."""
        assert self.process
        self.process.kill()
        self.process.wait(10)


@contextmanager
def running_api(
    directory: Path,
    store: Store,
    vector_url: str,
    cvat_url: str = "",
    clickhouse_port: int = 0,
    program: Program | None = None,
    address: str = "127.0.0.1",
    places: dict[str, int] | None = None,
    **exports: int,
) -> Iterator[Api]:
    """Run a service below `directory`, which asks CVAT at `cvat_url` or else a users file who somebody is."""
    directory.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    (directory / "password").write_text(store.context.secrets["clickhouse_events_api"])
    limits = {
        "keep_seconds": 3600,
        "per_user": 1000,
        "bytes_per_user": 10 * 2**30,
        "running_per_user": 2,
        "running": 4,
    } | exports
    (directory / "api.ini").write_text(
        f"[server]\naddress = {address}\nport = {port}\n"
        f"[clickhouse]\nhost = 127.0.0.1\nport = {clickhouse_port or store.http_port}\ndatabase = {store.database}\nuser = events_api\n"
        f"password_file = {directory}/password\n"
        f"[vector]\nurl = {vector_url}\n"
        f"[identity]\ncvat_url = {cvat_url}\nusers_file = {directory}/users.json\n"
        f"[events]\nclient_scopes = tomorrow:scope\n"
        f"[exports]\ndirectory = {directory}/exports\n"
        + "".join(f"{k} = {v}\n" for k, v in limits.items())
        + "[places]\n"
        + "".join(f"{k} = {v}\n" for k, v in (places or PLACES).items())
    )
    known: users.Users = {}
    for name, about in LOCAL_USERS.items():
        known = users.add(known, users.User(name, users.hash_password(PASSWORD.format(name)), **about))
    users.save(directory / "users.json", known)
    api = Api(directory, port, program or Program(), address=address)
    api.start()
    try:
        yield api
    finally:
        if api.process and api.process.poll() is None:
            api.stop()
