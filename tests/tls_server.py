"""A server that shows a certificate, for tests of those who connect to one."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from tests.serving import QuietServer, served


class _Answers(BaseHTTPRequestHandler):
    """Answers 200, and keeps what it was asked."""

    server: _Server

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.received.append(f"{self.command} {self.headers['Authorization']}")
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


class _Server(QuietServer):
    def __init__(self, certificate: Path, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.received: list[str] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, certificate.with_name(f"{certificate.stem}-key.pem"))
        self.socket = context.wrap_socket(self.socket, server_side=True)


@contextmanager
def listening_with(
    certificate: Path, handler: type[BaseHTTPRequestHandler] = _Answers
) -> Iterator[tuple[str, int, list[str]]]:
    """Answer through TLS with a certificate; yield where, and what is received, as `handler` notes it."""
    with served(_Server(certificate, handler)) as server:
        yield "127.0.0.1", server.server_port, server.received
