"""The two ends of the pipeline: ClickHouse behind a disk buffer, and the journal file."""

from __future__ import annotations

import base64
import gzip
import http.client
import logging
import random
import re
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from urllib.parse import urlencode

from cvat_analytics.embedded.vector_substitute.buffer import Batch, DiskBuffer
from cvat_analytics.embedded.vector_substitute.config import Component, ConfigError

log = logging.getLogger("vector-substitute")

Verdict = Literal["delivered", "retry", "refused"]
_MAX_BACKOFF = 30
_FLUSH_SECONDS = 5
"""How long a stop waits for what is still in the buffer; the rest is there at the next start."""


class ClickHouseSink:
    """Sends the lines of a disk buffer to ClickHouse in batches, in a thread of its own."""

    def __init__(self, sink: Component, data_dir: Path) -> None:
        endpoint = re.fullmatch(r"http://(\[[\w:]+\]|[\w.-]+):(\d+)/?", sink["endpoint"])
        if endpoint is None:
            raise ConfigError(
                f"sinks.{sink.name}: option endpoint = {sink['endpoint']!r}: only http://HOST:PORT is implemented"
            )
        self.component, self.name = sink, sink.name
        self._directory = data_dir / "substitute" / sink.name
        self._address = (endpoint[1].strip("[]"), int(endpoint[2]))
        self._path = "/?" + urlencode(_parameters(sink))
        credentials = base64.b64encode(f"{sink['auth.user']}:{sink['auth.password']}".encode()).decode()
        self._headers = {
            "Authorization": f"Basic {credentials}",
            "Content-Type": "application/x-ndjson",
            "Content-Encoding": "gzip",
        }
        self._timeout = sink.get("request.timeout_secs", 60)
        self._batch_seconds = sink.get("batch.timeout_secs", 1)
        self._max_events = sink.get("batch.max_events", 10_000_000)
        self._max_bytes = sink.get("batch.max_bytes", 10_000_000)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=sink.name, daemon=True)

    def start(self) -> None:
        """Open the buffer and begin to deliver what waits in it."""
        self.buffer = DiskBuffer(self._directory, self.component["buffer.max_size"])
        self._thread.start()

    def stop(self) -> None:
        """Deliver what can be delivered at once, then end."""
        self._stopping.set()
        self.buffer.close()
        self._thread.join(timeout=_FLUSH_SECONDS + 1)

    def _run(self) -> None:
        deadline = float("inf")
        while time.monotonic() < deadline:
            self.buffer.wait(self._batch_seconds, self._max_bytes)
            if self._stopping.is_set():
                deadline = min(deadline, time.monotonic() + _FLUSH_SECONDS)
            batch = self.buffer.next_batch(self._max_events, self._max_bytes)
            if batch:
                if not self._deliver(batch):
                    return
            elif self._stopping.is_set():
                return

    def _deliver(self, batch: Batch) -> bool:
        """Send `batch` until ClickHouse has taken or refused it. Return False when stopped before."""
        backoff, following = 1, 2
        while True:
            verdict, answer = self._send(batch.body)
            if verdict == "refused":
                # Vector drops such a batch too, but says so only in a counter (vectordotdev/vector#23633)
                log.error(
                    "sink %s: ClickHouse refused %d events for good, they are dropped: %s",
                    self.name,
                    batch.body.count(b"\n"),
                    answer,
                )
            if verdict != "retry":
                self.buffer.acknowledge(batch)
                return True
            if self._stopping.is_set():
                return False
            pause = random.uniform(0, backoff)  # noqa: S311 - jitter, as Vector has it
            log.warning("sink %s: cannot deliver, trying again in %.1f s: %s", self.name, pause, answer)
            self._stopping.wait(pause)
            backoff, following = min(following, _MAX_BACKOFF), min(backoff + following, _MAX_BACKOFF)

    def _send(self, body: bytes) -> tuple[Verdict, str]:
        connection = http.client.HTTPConnection(*self._address, timeout=self._timeout)
        try:
            connection.request("POST", self._path, gzip.compress(body, 1, mtime=0), self._headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            return "retry", str(error) or type(error).__name__
        finally:
            connection.close()
        reason = answer[:300].decode(errors="replace").strip()
        return _verdict(response.status, answer), f"HTTP {response.status} {reason}"


def _parameters(sink: Component) -> dict[str, str]:
    """Return what Vector puts into the URL (src/sinks/clickhouse/service.rs)."""
    parameters = {
        "input_format_import_nested_json": "1",
        "query": "INSERT INTO {database:Identifier}.{table:Identifier} FORMAT JSONEachRow",
        "param_database": sink["database"],
        "param_table": sink["table"],
    }
    for option, name in (
        ("skip_unknown_fields", "input_format_skip_unknown_fields"),
        ("query_settings.async_insert_settings.enabled", "async_insert"),
    ):
        if sink.get(option, None) is not None:
            parameters[name] = str(int(sink[option]))
    return parameters


def _verdict(status: int, answer: bytes) -> Verdict:
    """Judge an answer as Vector does (src/sinks/clickhouse/service.rs, src/sinks/util/http.rs)."""
    if 200 <= status < 300:
        return "delivered"
    if status == 500:
        return "refused" if answer.startswith((b"Code: 117", b"Code: 53")) else "retry"
    return "retry" if status in (408, 429) or (status > 500 and status != 501) else "refused"


class FileSink:
    """Appends lines to a compressed file whose name follows the date; each write is a whole gzip member."""

    def __init__(self, sink: Component) -> None:
        if "{{" in sink["path"]:
            raise ConfigError(
                f"sinks.{sink.name}: option path = {sink['path']!r}: fields in a path are not implemented"
            )
        self.component = sink
        self._path = str(sink["path"])

    def write(self, lines: Sequence[str]) -> None:
        """Append `lines`. Raises OSError, and then nothing is kept."""
        if not lines:
            return
        path = Path(datetime.now(UTC).strftime(self._path))
        path.parent.mkdir(parents=True, exist_ok=True)
        data = gzip.compress("".join(line + "\n" for line in lines).encode(), 1)
        with path.open("ab", buffering=0) as file:
            before = file.tell()
            if file.write(data) != len(data):
                file.truncate(before)
                raise OSError(f"{path}: no room for {len(data)} bytes")
