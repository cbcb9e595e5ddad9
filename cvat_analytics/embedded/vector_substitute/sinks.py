"""The sinks that need no buffer: the journal's file, and the page for Prometheus; and what listeners are given."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cvat_analytics.embedded.vector_substitute.config import Component, ConfigError
from cvat_analytics.embedded.vector_substitute.metrics import Metrics

FIELD = re.compile(r"\{\{ *(\w+) *\}\}")
"""A field of the event in a template of Vector's."""


class FileSink:
    """Appends lines to a file whose name follows the time or a field of them. As with Vector, what is written before the disk is full stays."""

    def __init__(self, sink: Component, metrics: Metrics) -> None:
        self.component, self._metrics = sink, metrics
        self._path = str(sink["path"])
        if "{{" in FIELD.sub("", self._path):
            raise ConfigError(
                f"sinks.{sink.name}: option path = {self._path!r}: only names of fields are implemented in it"
            )

    def write(self, lines: Sequence[str]) -> None:
        """Append `lines`. Raises OSError, and then the last line that is there may be cut off."""
        if not lines:
            return
        by_path: dict[str, list[str]] = {}
        for line in lines:
            fields = json.loads(line) if "{{" in self._path else {}
            path = FIELD.sub(lambda name, fields=fields: str(fields[name[1]]), self._path)  # type: ignore[misc]
            by_path.setdefault(path, []).append(line)
        for name, several in by_path.items():
            self._append(Path(datetime.now(UTC).strftime(name)), several)

    def _append(self, path: Path, lines: Sequence[str]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        data = "".join(line + "\n" for line in lines).encode()
        with path.open("ab", buffering=0) as file:
            written = file.write(data)
            while written < len(data):
                written += file.write(data[written:])
        self._metrics.count("component_sent_events_total", len(lines), component_id=self.component.name)
        self._metrics.count("component_sent_bytes_total", len(data), component_id=self.component.name)


class PrometheusSink:
    """Keeps the latest metrics of its inputs, for whoever asks at its address."""

    def __init__(self, sink: Component) -> None:
        self.component = sink
        self._latest: dict[str, list[str]] = {}

    def keep(self, source: str, events: list[str]) -> None:
        """Replace what is known from `source`."""
        self._latest[source] = events

    def events(self) -> list[str]:
        """Return the latest metrics of all sources."""
        return [event for events in self._latest.values() for event in events]


def address(component: Component) -> tuple[str, int]:
    """Return host and port of the option `address`. Raises ConfigError when it is none."""
    match = re.fullmatch(r"(\[[\w:]+\]|[\d.]+):(\d+)", component["address"])
    if not match:
        raise ConfigError(f"{component.name}: option address = {component['address']!r} is not ADDRESS:PORT")
    return match[1].strip("[]"), int(match[2])


def require_certificate(source: Component) -> None:
    """Raise ConfigError unless a source that speaks TLS has a certificate and the key to it."""
    if not source.get("tls.enabled", False):
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            source["tls.crt_file"], source["tls.key_file"]
        )
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(
            f"{source.name}: options tls.crt_file and tls.key_file: {error.strerror or error}"
        ) from None
