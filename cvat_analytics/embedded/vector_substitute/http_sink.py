"""The `http` sink: takes lines from a buffer and posts them in batches until they are taken.

By http.client, as a stop must be able to break the connection off from another thread.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import http.client
import json
import logging
import random
import re
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from cvat_analytics.config.limits import RECORD
from cvat_analytics.embedded.vector_substitute import remap
from cvat_analytics.embedded.vector_substitute.buffer import Batch, Buffer, DiskBuffer, MemoryBuffer
from cvat_analytics.embedded.vector_substitute.config import Component, ConfigError
from cvat_analytics.embedded.vector_substitute.metrics import Metrics
from cvat_analytics.embedded.vector_substitute.sinks import FIELD

log = logging.getLogger("vector-substitute")

Verdict = Literal["delivered", "retry", "refused"]
FLUSH_SECONDS = 5
"""How long a stop waits for what is still in the buffer; what is on disk is there at the next start."""
_FOREVER = 2**63
_LONGEST_REASON = 300


class HttpSink:
    """Posts the lines of its buffer in batches, in a thread of its own."""

    def __init__(self, sink: Component, data_dir: Path, metrics: Metrics) -> None:
        uri = re.fullmatch(r"(https?)://(\[[\w:]+\]|[\w.-]+):(\d+)(/[^\s%]*)", sink["uri"])
        if uri is None:
            raise ConfigError(
                f"sinks.{sink.name}: option uri = {sink['uri']!r}: only http(s)://HOST:PORT/… without % is implemented"
            )
        self.component, self.name = sink, sink.name
        self.durable = sink["buffer.type"] == "disk"
        self.buffer: Buffer
        self._directory = data_dir / "substitute" / sink.name
        self._address = (uri[2].strip("[]"), int(uri[3]))
        self._path = uri[4]
        self._tls = _trust(sink) if uri[1] == "https" else None
        self._as_text = sink["encoding.codec"] == "text"
        self._headers = {"Content-Type": "text/plain" if self._as_text else "application/x-ndjson"}
        if "auth.strategy" in sink.options:
            login = f"{sink['auth.user']}:{sink['auth.password']}".encode()
            self._headers["Authorization"] = f"Basic {base64.b64encode(login).decode()}"
        if sink["compression"] == "gzip":
            self._headers["Content-Encoding"] = "gzip"
        prefix = "request.headers."
        self._templates = {
            name.removeprefix(prefix): text for name, text in sink.options.items() if name.startswith(prefix)
        }
        self._left_out = frozenset(sink.get("encoding.except_fields", ()))
        self._metrics = metrics
        self._timeout = sink.get("request.timeout_secs", 60)
        self._first_pause = sink.get("request.retry_initial_backoff_secs", 1)
        self._longest_pause = sink.get("request.retry_max_duration_secs", 30)
        self._attempts = sink.get("request.retry_attempts", _FOREVER)
        self._batch_seconds = sink.get("batch.timeout_secs", 1)
        self._max_events = sink.get("batch.max_events", 10_000_000)
        self._max_bytes = sink.get("batch.max_bytes", 10_000_000)
        self._stopping = threading.Event()
        self._patience = float(FLUSH_SECONDS)
        self._connection: http.client.HTTPConnection | None = None
        self._thread = threading.Thread(target=self._run, name=sink.name, daemon=True)

    def start(self) -> None:
        """Open the buffer and begin to deliver what waits in it. Raises OSError if the disk cannot be used."""
        if self.durable:
            self.buffer = DiskBuffer(self._directory, self.component["buffer.max_size"])
        else:
            self.buffer = MemoryBuffer(self.component["buffer.max_events"])
        self._report_size()
        self._thread.start()

    def require_room(self, lines: Sequence[str]) -> None:
        """Raise OSError if the disk buffer has no room for `lines`."""
        if isinstance(self.buffer, DiskBuffer):
            self.buffer.require_room(lines)

    def kept(self, records: Sequence[Sequence[str]]) -> list[str]:
        """Return the lines of `records` but for those that Vector's disk buffer would not take: dropped, and counted."""
        lines: list[str] = []
        for record in records:
            if self.durable and _too_large(record):
                log.error("sink %s: a record of more than %d bytes is dropped", self.name, RECORD)
                self._discard(len(record))
            else:
                lines += record
        return lines

    def append(self, lines: Sequence[str]) -> None:
        """Put `lines` into the buffer. Raises OSError when they cannot be kept there, and then none is."""
        dropped = self.buffer.append(lines)
        self._discard(dropped)
        self._report_size()

    def stop(self, patience: float = FLUSH_SECONDS) -> None:
        """Deliver what can be delivered within `patience` seconds, then end; nothing if it was never started."""
        if self._thread.ident is None:
            return
        self._patience = patience
        self._stopping.set()
        self.buffer.close()
        self._thread.join(timeout=patience)
        connection = self._connection
        if self._thread.is_alive() and connection and connection.sock:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=2)
        self._metrics.forget(self.name)

    def _run(self) -> None:
        deadline = float("inf")
        while time.monotonic() < deadline:
            self.buffer.wait(self._batch_seconds, self._max_bytes)
            if self._stopping.is_set():
                deadline = min(deadline, time.monotonic() + self._patience)
            batch = self.buffer.next_batch(self._max_events, self._max_bytes)
            if batch:
                if not self._deliver(batch):
                    return
                self._report_size()
            elif self._stopping.is_set():
                return

    def _deliver(self, batch: Batch) -> bool:
        """Send `batch` until it is taken or given up. Return False when stopped before."""
        pause, following, attempts = self._first_pause, 2 * self._first_pause, self._attempts
        while True:
            verdict, answer = self._send(batch.body)
            if verdict == "delivered":
                self._count("component_sent_events_total", batch.body.count(b"\n"))
                self._count("component_sent_bytes_total", len(batch.body))
            elif verdict == "refused" or attempts <= 0:
                events = batch.body.count(b"\n")
                log.error("sink %s: %d events are dropped: %s", self.name, events, answer)
                self._count("component_errors_total")
                self._discard(events)
            if verdict == "delivered" or verdict == "refused" or attempts <= 0:
                self.buffer.acknowledge(batch)
                return True
            if self._stopping.is_set():
                return False
            attempts -= 1
            delay = random.uniform(0, pause)  # noqa: S311 - jitter, as Vector has it
            log.warning("sink %s: cannot deliver, trying again in %.1f s: %s", self.name, delay, answer)
            self._stopping.wait(delay)
            pause, following = (
                min(following, self._longest_pause),
                min(pause + following, self._longest_pause),
            )

    def _send(self, body: bytes) -> tuple[Verdict, str]:
        self._connection = connection = self._new_connection()
        try:
            headers, payload = self._request(body)
            if self.component["compression"] == "gzip":
                payload = gzip.compress(payload, 1, mtime=0)
            connection.request("POST", self._path, payload, headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._count("http_client_errors_total", error_kind=type(error).__name__)
            return "retry", str(error) or type(error).__name__
        finally:
            connection.close()
        self._count("http_client_responses_total", status=str(response.status))
        reason = answer[:_LONGEST_REASON].decode(errors="replace").strip()
        return self._verdict(response.status), f"HTTP {response.status} {reason}"

    def _request(self, body: bytes) -> tuple[dict[str, str], bytes]:
        """Return headers and body of the request that brings the lines `body`."""
        if self._as_text:
            event = json.loads(body)
            rendered = {
                name: FIELD.sub(lambda field: str(event[field[1]]), text)
                for name, text in self._templates.items()
            }
            return self._headers | rendered, remap.message_bytes(event)
        # Vector leaves away the newline behind the last row
        lines = body.removesuffix(b"\n")
        if self._left_out:
            events = [
                {name: value for name, value in json.loads(line).items() if name not in self._left_out}
                for line in lines.split(b"\n")
            ]
            lines = b"\n".join(remap.dump(event).encode() for event in events)
        return self._headers, lines

    def _new_connection(self) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(*self._address, timeout=self._timeout)
        return http.client.HTTPSConnection(*self._address, timeout=self._timeout, context=self._tls)

    def _verdict(self, status: int) -> Verdict:
        """Judge an answer as Vector does (RetryStrategy in src/sinks/util/http.rs)."""
        if 200 <= status < 300:
            return "delivered"
        if self.component["retry_strategy.type"] == "all":
            return "retry"
        return "retry" if status in (408, 429) or (status >= 500 and status != 501) else "refused"

    def _count(self, name: str, amount: float = 1, **tags: str) -> None:
        self._metrics.count(name, amount, component_id=self.name, **tags)

    def _discard(self, events: int) -> None:
        self._count("component_discarded_events_total", events, intentional="false")

    def _report_size(self) -> None:
        events, size = self.buffer.size()
        self._metrics.gauge("buffer_size_events", events, component_id=self.name)
        self._metrics.gauge("buffer_size_bytes", size, component_id=self.name)
        if self.durable:
            limit = self.component["buffer.max_size"]
            self._metrics.gauge("buffer_max_size_bytes", limit, component_id=self.name)


def _too_large(record: Sequence[str]) -> bool:
    """Return whether a record of Vector's disk buffer with these events would be too large: texts count as they are there."""
    if sum(map(len, record)) <= RECORD // 4:  # of a character come four bytes at most
        return False
    return sum(_size(json.loads(line)) for line in record) > RECORD


def _size(value: object) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, dict):
        return sum(len(name) + _size(each) for name, each in value.items())
    return sum(map(_size, value)) if isinstance(value, list) else 8


def _trust(sink: Component) -> ssl.SSLContext:
    """Return what verifies the server's certificate and name. Raises ConfigError for a file that cannot be used."""
    authority = sink.get("tls.ca_file", None)
    try:
        return ssl.create_default_context(cafile=authority)
    except OSError as error:
        raise ConfigError(f"sinks.{sink.name}: option tls.ca_file: {authority}: {error}") from None
