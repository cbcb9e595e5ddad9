"""Stands between the service and ClickHouse, and holds or cuts long answers where a test says so."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

HOLD_AFTER = 2 << 20
"""Bytes of an answer that are let through before it is held."""


@dataclass
class Proxy:
    """Relays connections to `target`. While `holding`, a long answer stops after `HOLD_AFTER` bytes until `release` or `cut`."""

    target: int
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    holding: threading.Event = field(default_factory=threading.Event)
    held: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    """Is released once for each answer that is held."""
    left: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    """Is released once for each connection whose answer is held and that the service closes."""
    refusing: bool = False
    _held: list[tuple[socket.socket, socket.socket, threading.Event]] = field(default_factory=list)

    @property
    def port(self) -> int:
        """Return where it listens."""
        return int(self.listener.getsockname()[1])

    def hold(self) -> None:
        """Hold long answers from now on."""
        self.holding.set()

    def release(self) -> None:
        """Let everything through again."""
        self.holding.clear()
        for _, _, go in self._held:
            go.set()
        self._held.clear()

    def cut(self) -> None:
        """Break the connections of held answers, as when ClickHouse is killed, and hold no more."""
        self.holding.clear()
        for client, server, go in self._held:
            for each in (client, server):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            go.set()
        self._held.clear()

    def serve(self) -> None:
        """Take connections until the listener is closed."""
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if self.refusing:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self.target))
            threading.Thread(target=self._requests, args=[client, server], daemon=True).start()
            threading.Thread(target=self._answers, args=[client, server], daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)
        if any(each is client for each, _, _ in self._held):
            self.left.release()
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)

    def _answers(self, client: socket.socket, server: socket.socket) -> None:
        size = 0
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                size += len(data)
                if size > HOLD_AFTER and self.holding.is_set():
                    go = threading.Event()
                    self._held.append((client, server, go))
                    self.held.release()
                    go.wait(60)
                client.sendall(data)
        for each in (client, server):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@contextmanager
def proxy(target: int) -> Iterator[Proxy]:
    """Run a proxy in front of the port `target`."""
    running = Proxy(target)
    thread = threading.Thread(target=running.serve, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        running.cut()
        running.listener.shutdown(socket.SHUT_RDWR)
        running.listener.close()
        thread.join(5)
