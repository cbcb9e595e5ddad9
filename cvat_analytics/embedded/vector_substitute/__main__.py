"""Run the substitute: `python -m cvat_analytics.embedded.vector_substitute --config vector.toml`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import socket
import sys
from pathlib import Path

import uvicorn

from cvat_analytics.embedded.vector_substitute.config import Config, ConfigError, load
from cvat_analytics.embedded.vector_substitute.pipeline import Pipeline
from cvat_analytics.embedded.vector_substitute.server import Committer, application

log = logging.getLogger("vector-substitute")

CONFIG_ERROR = 78
"""EX_CONFIG, which `vector validate` uses too."""


def main() -> int:
    """Serve until SIGTERM and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="vector-substitute", description="Execute a rendered vector.toml where there is no Vector."
    )
    parser.add_argument("--config", type=Path, required=True, help="the rendered vector.toml")
    parser.add_argument(
        "--check", action="store_true", help="only load the configuration and compile its programs"
    )
    options = parser.parse_args()
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        config = load(options.config)
        pipeline = Pipeline(config)
        host, port = _address(config)
    except ConfigError as error:
        log.error("%s", error)
        return CONFIG_ERROR
    if options.check:
        log.info("%s: every part is implemented", options.config)
        return 0
    try:
        listener = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=512
        )
    except OSError as error:
        log.error(
            "cannot listen on %s port %d: %s; stop what uses the port or change vector_port",
            host,
            port,
            error.strerror,
        )
        return 1
    try:
        pipeline.start()
    except OSError as error:
        log.error("data_dir %s cannot be used: %s", config.data_dir, error)
        return 1
    asyncio.run(_serve(config, pipeline, listener))
    pipeline.stop()
    log.info("stopped")
    return 0


def _address(config: Config) -> tuple[str, int]:
    host, _, port = str(config.source["address"]).rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(
            f"sources.{config.source.name}: option address = {config.source['address']!r} is not ADDRESS:PORT"
        )
    return host.strip("[]"), int(port)


async def _serve(config: Config, pipeline: Pipeline, listener: socket.socket) -> None:
    committer = Committer(pipeline.attempt)
    web = application(config.source.get("path", "/"), committer)
    server = uvicorn.Server(
        uvicorn.Config(web, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=10)
    )
    # uvicorn raises the signal again when it has shut down: it must not end the process before the sinks are flushed
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    committing = asyncio.create_task(committer.run())
    log.info("substitute for Vector, listening on %s", config.source["address"])
    await server.serve(sockets=[listener])
    committing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await committing


if __name__ == "__main__":
    sys.exit(main())
