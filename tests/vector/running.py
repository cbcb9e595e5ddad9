"""Start the substitute, or Vector itself where there is one, as a process, and talk to it."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.pipeline.reloading import answers, marked
from cvat_analytics.config import limits
from tests.clickhouse import free_ports
from tests.vector.configuration import write_configuration
from tests.waiting import until

PROGRAMS = {"substitute": [sys.executable, "-m", "cvat_analytics.embedded.vector_substitute"]}
if installed := shutil.which("vector"):
    PROGRAMS["vector"] = [installed]


ANSWER = 300.0
"""Seconds for an answer: that to 120 MiB comes when they are on disk."""


@dataclass
class Substitute:
    """A substitute for Vector, or Vector itself, below `root`; may be started, killed and started again."""

    root: Path
    port: int
    config: Path
    process: subprocess.Popen[bytes] | None = None
    tls: ssl.SSLContext | None = None
    program: str = "substitute"

    @property
    def log(self) -> str:
        return (self.root / "log").read_text()

    def command(self, *options: str) -> list[str]:
        return [*PROGRAMS[self.program], "--config", str(self.config), *options]

    def start(self) -> None:
        with (self.root / "log").open("ab") as log:
            # as the unit has them
            limit = limits.VECTOR_ENVIRONMENT | {"VECTOR_GRACEFUL_SHUTDOWN_LIMIT_SECS": "10"}
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, env=os.environ | limit)
        until(self.ready, "it answers", told=lambda: self.log)

    def ready(self) -> bool:
        assert self.process
        assert self.process.poll() is None, self.log
        try:
            return self.request("GET", "/ping")[1] == b"pong"
        except OSError:
            return False

    def reload(self) -> None:
        """Let it take up the configuration as it is now, and wait until it has."""
        assert self.process
        (port,) = free_ports(1)
        text = self.config.read_text()
        self.config.write_text(marked(text, port))
        self.process.send_signal(signal.SIGHUP)
        until(lambda: answers(port), "the new configuration is at work")
        self.config.write_text(text)

    def request(
        self,
        method: str,
        path: str = "/",
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        sender: str = "127.0.0.1",
    ) -> tuple[int, bytes]:
        connection = (
            http.client.HTTPSConnection("127.0.0.1", self.port, timeout=ANSWER, context=self.tls)
            if self.tls
            else http.client.HTTPConnection(
                "127.0.0.1", self.port, timeout=ANSWER, source_address=(sender, 0)
            )
        )
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        assert self.process
        self.process.terminate()
        return self.process.wait(60)


@contextmanager
def substitute(
    root: Path, clickhouse_port: int, program: str = "substitute", **settings: Any
) -> Iterator[Substitute]:
    port = free_ports(1)[0]
    running = Substitute(
        root,
        port,
        write_configuration(root, vector_port=port, clickhouse_http_port=clickhouse_port, **settings),
        program=program,
    )
    # as the package does; Vector itself does not make it
    (root / "var/lib/vector/journal").mkdir(parents=True, exist_ok=True)
    running.start()
    try:
        yield running
    finally:
        if running.process and running.process.poll() is None:
            running.kill()
