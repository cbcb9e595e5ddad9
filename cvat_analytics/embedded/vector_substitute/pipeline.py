"""The components between the sources and the disk."""

from __future__ import annotations

import errno
import json
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from cvat_analytics.embedded.vector_substitute import metrics, remap
from cvat_analytics.embedded.vector_substitute.config import Component, Config
from cvat_analytics.embedded.vector_substitute.http_sink import FLUSH_SECONDS, HttpSink
from cvat_analytics.embedded.vector_substitute.metrics import Metrics
from cvat_analytics.embedded.vector_substitute.sinks import FileSink, PrometheusSink, require_certificate

log = logging.getLogger("vector-substitute")


class Body(NamedTuple):
    """What a request to a source brought: its body, and the fields that the source makes of the rest of it."""

    source: str
    data: bytes
    fields: Mapping[str, str | None]


class Pipeline:
    """Takes request bodies, and what the substitute measures, through the transforms to the sinks."""

    def __init__(self, config: Config, counted: Metrics, reserve: int = 0) -> None:
        remap.compile_all(config.transforms)
        for source in config.of_type("http_server"):
            require_certificate(source)
            remap.compile_condition(source)
        self.config, self._metrics, self._reserve = config, counted, reserve
        self._files = [FileSink(sink, counted) for sink in config.of_type("file")]
        self._stores = [HttpSink(sink, config.data_dir, counted) for sink in config.of_type("http")]
        self.pages = [PrometheusSink(sink) for sink in config.of_type("prometheus_exporter")]

    def start(self) -> None:
        """Open the buffers and begin to deliver what waits in them. Raises OSError if the disk cannot be used."""
        for store in self._stores:
            store.start()

    def stop(self, patience: float = FLUSH_SECONDS) -> None:
        """Deliver what can be delivered at once; the rest stays in the buffers that are on disk."""
        ends = [threading.Thread(target=store.stop, args=(patience,)) for store in self._stores]
        for end in ends:
            end.start()
        for end in ends:
            end.join()

    def attempt(self, bodies: Sequence[Body]) -> list[str]:
        """Commit `bodies` together and return "" for each that is on disk, otherwise why it is not."""
        try:
            self._require_reserve()
            self.commit(bodies)
        except OSError as error:
            log.error("%d requests are answered 503: %s", len(bodies), error)
            return [str(error)] * len(bodies)
        except BaseException as error:
            # a panic of the runtime is no Exception; and what makes one must not take the other bodies along
            if len(bodies) > 1:
                return [problem for body in bodies for problem in self.attempt([body])]
            log.exception("a request is answered 503")
            return [str(error) or type(error).__name__]
        return [""] * len(bodies)

    def _require_reserve(self) -> None:
        """Raise OSError while so little is free that nothing more is taken; on a host cvat-analytics-room.service sees to that."""
        if self._reserve:
            disk = os.statvfs(self.config.data_dir)
            if disk.f_bavail * disk.f_frsize < self._reserve:
                raise OSError(
                    errno.ENOSPC, f"less than {self._reserve} bytes are free in {self.config.data_dir}"
                )

    def commit(self, bodies: Sequence[Body]) -> None:
        """Bring all events in `bodies` to the sinks' disks. Raises OSError if that is impossible."""
        now = datetime.now(UTC).isoformat()
        accepted: dict[str, list[str]] = {}
        for body in bodies:
            event = {
                **remap.message(body.data),
                "path": "/",
                "source_type": "http_server",
                "timestamp": now,
                **body.fields,
            }
            accepted.setdefault(body.source, []).append(json.dumps(event))
        outputs = remap.run_all(self.config.transforms, accepted)
        work = [
            (store, lines)
            for store in self._stores
            if (lines := store.kept(self._records(store.component, outputs)))
        ]
        for store, lines in work:
            store.require_room(lines)
        # the journal first: what is answered 200 is surely in it
        for file in self._files:
            file.write(_received(file.component, outputs))
        for store, lines in work:
            store.append(lines)
        for transform in self.config.transforms:
            events = len(outputs.get(transform.name, ())) + len(outputs.get(f"{transform.name}.dropped", ()))
            self._metrics.count("component_sent_events_total", events, component_id=transform.name)

    def _records(self, sink: Component, outputs: remap.Outputs) -> list[Sequence[str]]:
        """Return what a disk buffer before `sink` would get as a record: what a transform gives together, or each by itself."""
        alone = {transform.name for transform in self.config.transforms if transform.type == "throttle"}
        records: list[Sequence[str]] = []
        for name in sink["inputs"]:
            lines = outputs.get(name, ())
            records += [[line] for line in lines] if name in alone else [lines] if lines else []
        return records

    def sample(self, source: Component) -> None:
        """Measure what `source` measures. Nothing is waited for: what does not fit is dropped and counted."""
        if source.type == "internal_metrics":
            events = self._metrics.read()
        else:
            events = (metrics.filesystems if source.type == "host_metrics" else metrics.command_output)(
                source
            )
        self._metrics.count("component_received_events_total", len(events), component_id=source.name)
        for page in self.pages:
            if source.name in page.component["inputs"]:
                page.keep(source.name, events)
        outputs = remap.run_all(self.config.transforms, {source.name: events})
        for store in self._stores:
            if not store.durable and (lines := _received(store.component, outputs)):
                store.append(lines)


def _received(sink: Component, outputs: remap.Outputs) -> list[str]:
    return [line for name in sink["inputs"] for line in outputs.get(name, ())]
