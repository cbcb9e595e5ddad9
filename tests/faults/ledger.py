"""The book of what was acknowledged: a proxy between the client and Vector that records each answer of Vector's.

It stands outside of everything that is killed. An event counts as acknowledged when Vector's answer 200 to the request
with it has arrived here, whether or not the client lived to read it. It can also be the bad network between the two.
"""

from __future__ import annotations

import http.client
import itertools
import json
import threading
from collections import Counter
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler
from typing import Any, NoReturn

from tests.serving import QuietServer

TIMEOUT = 120.0
"""Seconds that Vector may take for an answer; the client gives up much earlier."""


class Ledger:
    """Forwards requests to the `targets` in turn and keeps the numbers of the events in them."""

    def __init__(self, targets: Sequence[tuple[str, int]]) -> None:
        self.acknowledged: set[int] = set()
        self.sendings: Counter[int] = Counter()
        """How often each event was sent."""
        self.answers: Counter[str] = Counter()
        """Vector's answers by status; `none` where there was no answer."""
        self.lose_answers = False
        """Whether Vector's answers get lost on their way to the client, which sends such events again."""
        self.cut_requests = False
        """Whether requests break off on their way to Vector."""
        self.hits = 0
        """How many requests have met a bad network."""
        self._lock = threading.Lock()
        self._targets, self._turn = list(targets), itertools.count()
        self._server = QuietServer(("127.0.0.1", 0), _handler(self))
        self.port = int(self._server.server_port)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def aim(self, targets: Sequence[tuple[str, int]]) -> None:
        """Forward to `targets` from now on."""
        with self._lock:
            self._targets = list(targets)

    @property
    def refused(self) -> int:
        """Return how many requests were not answered 200."""
        with self._lock:
            return self.answers.total() - self.answers["200"]

    def snapshot(self) -> frozenset[int]:
        """Return the numbers acknowledged so far."""
        with self._lock:
            return frozenset(self.acknowledged)

    def close(self) -> None:
        """Stop forwarding."""
        self._server.shutdown()
        self._server.server_close()

    def forward(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """Pass one request on, record the answer, and return it. Raises OSError or HTTPException when there is none."""
        numbers = [event["obj_id"] for event in json.loads(body)]
        with self._lock:
            self.sendings.update(numbers)
            self.hits += self.lose_answers or self.cut_requests
            target = self._targets[next(self._turn) % len(self._targets)]
        connection = http.client.HTTPConnection(*target, timeout=TIMEOUT)
        try:
            if self.cut_requests:
                _send_half(connection, path, headers, body)
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException):
            with self._lock:
                self.answers["none"] += 1
            raise
        finally:
            connection.close()
        with self._lock:
            self.answers[str(response.status)] += 1
            if response.status == 200:
                self.acknowledged.update(numbers)
        if self.lose_answers:
            raise ConnectionResetError("the answer is lost")
        return response.status, answer


def _send_half(
    connection: http.client.HTTPConnection, path: str, headers: dict[str, str], body: bytes
) -> NoReturn:
    """Send a request with half of its body, and break off."""
    connection.putrequest("POST", path)
    for name, value in {**headers, "Content-Length": str(len(body))}.items():
        connection.putheader(name, value)
    connection.endheaders(body[: len(body) // 2])
    raise ConnectionResetError("the request is cut")


def _handler(ledger: Ledger) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept = {
                name: self.headers[name]
                for name in ("Content-Type", "Content-Encoding")
                if self.headers[name]
            }
            try:
                status, answer = ledger.forward("POST", self.path, kept, body)
            except (OSError, http.client.HTTPException):
                self.close_connection = True  # as if the client had spoken to Vector itself
                return
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """Keep the output free of requests."""

    return Handler
