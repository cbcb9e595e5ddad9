"""The running substitute: listens, samples, reloads on SIGHUP and stops on SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from cvat_analytics.embedded.vector_substitute.config import Component, Config, ConfigError, load
from cvat_analytics.embedded.vector_substitute.metrics import Metrics
from cvat_analytics.embedded.vector_substitute.pipeline import Pipeline
from cvat_analytics.embedded.vector_substitute.server import Committer, Server, application, page
from cvat_analytics.embedded.vector_substitute.sinks import address

log = logging.getLogger("vector-substitute")

_RELOAD_PATIENCE = 1.0
"""How long a reload waits for a batch that is being sent; it is sent again by the sink that comes after."""


class CannotListenError(OSError):
    """An address cannot be had; says which and why."""


@dataclass
class _Listener:
    component: Component
    socket: socket.socket
    server: Server
    task: asyncio.Task[None]


class Service:
    """A configuration at work. `run` returns when it was asked to stop."""

    def __init__(self, path: Path, config: Config, reserve: int) -> None:
        self._path, self._metrics, self._reserve = path, Metrics(), reserve
        self._pipeline = Pipeline(config, self._metrics, reserve)
        self._listeners: dict[str, _Listener] = {}
        self._sampling: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Serve. Raises CannotListenError, and OSError when the disk cannot be used."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        reload = asyncio.Event()
        self._committer = Committer(lambda bodies: self._pipeline.attempt(bodies))
        config = self._pipeline.config
        sockets = self._bind(config, {})
        self._pipeline.start()
        committing = loop.create_task(self._committer.run())
        self._serve(config, sockets)
        self._sample(config)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, reload.set)
        self._metrics.count("started_total")
        log.info("substitute for Vector, listening on %s", ", ".join(self._listeners))
        while not stop.is_set():
            waiting = [loop.create_task(event.wait()) for event in (stop, reload)]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for waiter in waiting:
                waiter.cancel()
            if reload.is_set() and not stop.is_set():
                reload.clear()
                await self._reload()
        for task in self._sampling:
            task.cancel()
        await self._close(list(self._listeners.values()))
        committing.cancel()
        await asyncio.to_thread(self._pipeline.stop)

    def _bind(self, config: Config, kept: Mapping[str, socket.socket]) -> dict[str, socket.socket]:
        """Return a listening socket for each address; those in `kept` stay. Raises CannotListenError."""
        sockets: dict[str, socket.socket] = {}
        try:
            for component in config.of_type("http_server", "prometheus_exporter"):
                name = component["address"]
                sockets[name] = kept[name] if name in kept else _listen(component, kept.values())
        except (CannotListenError, ConfigError):
            for name in sockets.keys() - kept.keys():
                sockets[name].close()
            raise
        return sockets

    def _serve(self, config: Config, sockets: Mapping[str, socket.socket]) -> None:
        """Start a server for each component that has none."""
        pages = {sink.component.name: sink for sink in self._pipeline.pages}
        for component in config.of_type("http_server", "prometheus_exporter"):
            if component["address"] in self._listeners:
                continue
            if component.name in pages:
                server = Server(page(pages[component.name]))
            else:
                server = Server(application(component, self._committer, self._metrics), component)
            listener = sockets[component["address"]]
            # a server closes its socket when it ends; the address stays taken until we let it go
            task = asyncio.get_running_loop().create_task(server.serve(sockets=[listener.dup()]))
            self._listeners[component["address"]] = _Listener(component, listener, server, task)

    def _sample(self, config: Config) -> None:
        for task in self._sampling:
            task.cancel()
        loop = asyncio.get_running_loop()
        self._sampling = [
            loop.create_task(self._repeat(source))
            for source in config.of_type("internal_metrics", "host_metrics", "exec")
        ]

    async def _repeat(self, source: Component) -> None:
        seconds = source.get("scrape_interval_secs", None) or source["scheduled.exec_interval_secs"]
        while True:
            try:
                await asyncio.to_thread(self._pipeline.sample, source)
            except Exception:
                log.exception("source %s: a sample is missing", source.name)
            await asyncio.sleep(seconds)

    async def _reload(self) -> None:
        """Go on with what is in the file now, or with what there was when that cannot be had."""
        old = self._pipeline
        try:
            config = load(self._path)
            if config.general != old.config.general:
                raise ConfigError("global options have changed, which takes a restart")
            new = Pipeline(config, self._metrics, self._reserve)
            sockets = self._bind(
                config, {name: listener.socket for name, listener in self._listeners.items()}
            )
        except (ConfigError, CannotListenError) as error:
            log.error("Reload was not successful. The old configuration goes on: %s", error)
            self._metrics.count("component_errors_total", error_code="reload")
            return
        async with self._committer.pause:
            await asyncio.to_thread(old.stop, _RELOAD_PATIENCE)
            try:
                new.start()
            except OSError as error:
                log.error("Reload was not successful. The old configuration goes on: %s", error)
                new.stop(0)
                self._pipeline = Pipeline(old.config, self._metrics, self._reserve)
                self._pipeline.start()
                return
            self._pipeline = new
        listeners = {
            component["address"]: component
            for component in config.of_type("http_server", "prometheus_exporter")
        }
        ended = [
            self._listeners.pop(name)
            for name, listener in list(self._listeners.items())
            if listeners.get(name) != listener.component or listener.component.type == "prometheus_exporter"
        ]
        self._serve(config, sockets)
        await self._close(ended, keep=sockets)
        self._sample(config)
        self._metrics.count("reloaded_total")
        log.info("Vector has reloaded. Listening on %s", ", ".join(self._listeners))

    async def _close(
        self, listeners: list[_Listener], keep: Mapping[str, socket.socket] | None = None
    ) -> None:
        """Let the servers answer what they have taken, then end them and give up addresses that are not in `keep`."""
        for listener in listeners:
            listener.server.should_exit = True
        for listener in listeners:
            await listener.task
            if listener.component["address"] not in (keep or {}):
                listener.socket.close()


def _listen(component: Component, ours: Collection[socket.socket]) -> socket.socket:
    """Return a listening socket. Raises CannotListenError.

    A port that is to be listened on everywhere instead of at one address, or the other way, is still held by one of `ours`, which lets the
    new one in beside it. Nobody else's does.
    """
    host, port = address(component)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    beside = [each for each in ours if each.getsockname()[1] == port]
    _share(beside, True)
    try:
        return socket.create_server((host, port), family=family, backlog=512, reuse_port=bool(beside))
    except OSError as error:
        raise CannotListenError(
            f"cannot listen on {host} port {port}: {error.strerror}; stop what uses the port or change vector_port"
        ) from None
    finally:
        _share(beside, False)


def _share(listening: Collection[socket.socket], shared: bool) -> None:
    for each in listening:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
