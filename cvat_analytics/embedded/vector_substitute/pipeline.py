"""The components between the source and the disk."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from cvat_analytics.embedded.vector_substitute import remap
from cvat_analytics.embedded.vector_substitute.config import Component, Config
from cvat_analytics.embedded.vector_substitute.sinks import ClickHouseSink, FileSink

log = logging.getLogger("vector-substitute")


class Pipeline:
    """Takes request bodies through the transforms to the disks of the sinks."""

    def __init__(self, config: Config) -> None:
        remap.compile_all(config.transforms)
        self._config = config
        self._files = [FileSink(sink) for sink in config.sinks if sink.type == "file"]
        self._stores = [
            ClickHouseSink(sink, config.data_dir) for sink in config.sinks if sink.type == "clickhouse"
        ]

    def start(self) -> None:
        """Open the buffers and begin to deliver what waits in them. Raises OSError if the disk cannot be used."""
        for store in self._stores:
            store.start()

    def stop(self) -> None:
        """Deliver what can be delivered at once; the rest stays in the buffers."""
        for store in self._stores:
            store.stop()

    def attempt(self, bodies: Sequence[bytes]) -> list[str]:
        """Commit `bodies` together and return "" for each that is on disk, otherwise why it is not."""
        try:
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

    def commit(self, bodies: Iterable[bytes]) -> None:
        """Bring all events in `bodies` to the sinks' disks. Raises OSError if that is impossible."""
        now = datetime.now(UTC).isoformat()
        events = [
            json.dumps(
                {
                    "message": body.decode(errors="replace"),
                    "path": "/",
                    "source_type": "http_server",
                    "timestamp": now,
                }
            )
            for body in bodies
        ]
        outputs = remap.run_all(self._config.transforms, self._config.source.name, events)

        def received(sink: Component) -> list[str]:
            return [line for name in sink["inputs"] for line in outputs.get(name, ())]

        work = [(store, received(store.component)) for store in self._stores]
        for store, lines in work:
            store.buffer.require_room(lines)
        # the journal first: what is answered 200 is surely in it
        for file in self._files:
            file.write(received(file.component))
        for store, lines in work:
            store.buffer.append(lines)
