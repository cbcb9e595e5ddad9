"""The fault proxy between Vector and ClickHouse: passes requests on, or answers as a broken server or network would.

It listens on a loopback address of its own with ClickHouse's port, so that only the address in Vector's configuration
differs from what a user has (tests.faults.embedded).
"""

from __future__ import annotations

import gzip
import http.client
import re
import socket
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.serving import QuietServer

ADDRESS = "127.0.0.2"

STATUSES = {
    "answers 400": (400, "Code: 62. DB::Exception: Syntax error. (SYNTAX_ERROR)"),
    "answers 400 of a row": (400, "Code: 117. DB::Exception: Unknown field. (INCORRECT_DATA)"),
    "answers 403": (403, "Code: 497. DB::Exception: vector: Not enough privileges. (ACCESS_DENIED)"),
    "answers 404": (404, "Code: 60. DB::Exception: Table cvat.events does not exist. (UNKNOWN_TABLE)"),
    "answers 408": (408, "Code: 159. DB::Exception: Timeout exceeded. (TIMEOUT_EXCEEDED)"),
    "answers 500": (500, "Code: 241. DB::Exception: Memory limit exceeded. (MEMORY_LIMIT_EXCEEDED)"),
    "answers 500 of a row": (500, "Code: 53. DB::Exception: Type mismatch. (TYPE_MISMATCH)"),
    "answers 501": (501, "Code: 48. DB::Exception: Not implemented. (NOT_IMPLEMENTED)"),
    "answers 503": (503, "Code: 209. DB::Exception: Socket timeout. (SOCKET_TIMEOUT)"),
}
"""Answers with what ClickHouse says with them (src/Server/HTTP/exceptionCodeToHTTPStatus.cpp)."""
NETWORK = (
    "never answers",
    "inserts, never answers",
    "half of the body arrives",
    "half of the answer arrives",
    "inserts, answers 500",
)
_EVENTS = re.compile(r"INTO(?:\+|%20)incoming_events(?:\+|%20)")
MODES = (*STATUSES, *NETWORK)
PLANTED = ("swallows the batch", "inserts the batch twice, once altered")
"""What no pipeline could survive: proves that the harness notices."""


class FaultProxy:
    """Forwards from ADDRESS:`port` to 127.0.0.1:`port`, with the fault of the moment."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.hits: Counter[str] = Counter()
        """How many inserts of events each fault has met."""
        self._mode, self._changed = "", threading.Condition()
        self._server = QuietServer((ADDRESS, port), _handler(self))
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def set(self, mode: str) -> None:
        """Meet requests with `mode` from now on; "" passes them on."""
        with self._changed:
            self._mode = mode
            self._changed.notify_all()

    def wait_for_hit(self, mode: str, hits: int, seconds: float) -> bool:
        """Wait until `mode` has met more than `hits` requests; return whether it has."""
        with self._changed:
            return self._changed.wait_for(lambda: self.hits[mode] > hits, seconds)

    def close(self) -> None:
        """Stop forwarding."""
        self.set("")
        self._server.shutdown()
        self._server.server_close()

    def hit(self, path: str) -> str:
        """Return the fault for the request to `path`, and count it if it is an insert of events."""
        with self._changed:
            if self._mode and _EVENTS.search(path):
                self.hits[self._mode] += 1
                self._changed.notify_all()
            return self._mode

    def hold(self, mode: str) -> None:
        """Return when `mode` is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._mode != mode)


def _handler(proxy: FaultProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._meet(b"")

        def do_POST(self) -> None:
            self._meet(self.rfile.read(int(self.headers["Content-Length"])))

        def _meet(self, body: bytes) -> None:
            mode = proxy.hit(self.path)
            if mode in STATUSES:
                status, text = STATUSES[mode]
                self._answer(status, text.encode())
            elif mode == "swallows the batch":
                self._answer(200, b"")
            elif mode == "never answers":
                proxy.hold(mode)
                self.close_connection = True
            elif mode == "half of the body arrives":
                self._send_half(body)
                self.close_connection = True
            else:
                self._forward(mode, body)

        def _forward(self, mode: str, body: bytes) -> None:
            try:
                status, answer = self._ask(body)
            except (OSError, http.client.HTTPException):
                self.close_connection = True
                return
            if mode == "inserts the batch twice, once altered":
                altered = gzip.decompress(body).replace(b'"duration":', b'"duration":1')
                self._ask(gzip.compress(altered))
            if mode == "inserts, never answers":
                proxy.hold(mode)
                self.close_connection = True
            elif mode == "inserts, answers 500":
                self._answer(500, b"Code: 210. DB::NetException: Connection reset by peer. (NETWORK_ERROR)")
            elif mode == "half of the answer arrives":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Le")
                self.close_connection = True
            else:
                self._answer(status, answer)

        def _ask(self, body: bytes) -> tuple[int, bytes]:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
            connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=120)
            try:
                connection.request(self.command, self.path, body or None, headers)
                response = connection.getresponse()
                return response.status, response.read()
            finally:
                connection.close()

        def _send_half(self, body: bytes) -> None:
            """Let ClickHouse see a connection that breaks in the middle of the body."""
            lines = [f"{self.command} {self.path} HTTP/1.1"]
            lines += [f"{name}: {value}" for name, value in self.headers.items()]
            try:
                with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as connection:
                    connection.sendall("\r\n".join([*lines, "", ""]).encode() + body[: len(body) // 2])
                    time.sleep(0.05)
            except OSError:
                return  # ClickHouse is away at the moment

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Keep the output free of requests."""

    return Handler


_HOP_BY_HOP = {"host", "content-length", "connection", "transfer-encoding"}
