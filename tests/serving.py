"""Servers in threads of the tests' own process: for the small programs that stand for Vector, CVAT, ClickHouse or Grafana."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from socketserver import BaseServer
from typing import Any


@contextmanager
def served[Server: BaseServer](server: Server) -> Iterator[Server]:
    """Let `server` answer for as long as the block runs, then close it."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(5)


class QuietServer(ThreadingHTTPServer):
    """One whose peers are killed and whose connections are cut: that is what it is for, and no news."""

    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing."""
