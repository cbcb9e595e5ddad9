"""What `events.send` puts on the wire is what CVAT's own client does (python-logstash-async), byte for byte."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from logstash_async.transport import HttpTransport

from cvat_analytics.pipeline import events
from tests.serving import QuietServer, served

EVENTS: list[dict[str, Any]] = [
    {"scope": "load:cvat", "obj_name": "ü € 日本\u2028\x00", "payload": json.dumps({"a": [1.5, None]})},
    *({"scope": "save:job", "duration": number, "user_id": None} for number in range(events.BATCH_SIZE)),
]


class Keeps(BaseHTTPRequestHandler):
    """Keeps what it is sent."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        kept = {name: self.headers[name] for name in ("Content-Type", "Authorization")}
        self.server.kept.append((self.path, kept, body))  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None: ...


@contextmanager
def keeping() -> Iterator[tuple[int, list[Any]]]:
    """Yield a port, and the requests that come to it."""
    server = QuietServer(("127.0.0.1", 0), Keeps)
    server.kept = kept = list[Any]()  # type: ignore[attr-defined]
    with served(server):
        yield server.server_port, kept


@pytest.mark.parametrize("login", [None, ("cvat", "pass:word")], ids=["open", "login"])
def test_the_requests_are_the_same(login: tuple[str, str] | None) -> None:
    with keeping() as (port, ours):
        events.send(EVENTS, "127.0.0.1", port, login=login)
    with keeping() as (port, theirs):
        username, password = login or (None, None)
        transport = HttpTransport(
            "127.0.0.1", port, timeout=10, ssl_enable=False, username=username, password=password
        )
        for begin in range(0, len(EVENTS), events.BATCH_SIZE):
            transport.send([json.dumps(event) for event in EVENTS[begin : begin + events.BATCH_SIZE]])
    assert len(ours) == 2
    assert ours == theirs
