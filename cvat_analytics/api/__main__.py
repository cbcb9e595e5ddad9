"""Run the events API from the command line."""

from __future__ import annotations

import argparse
import logging
import signal
import socket
import sys
from pathlib import Path

import uvicorn

from cvat_analytics.api import app, config, service
from cvat_analytics.base.errors import CvatAnalyticsError


def main() -> int:
    """Serve until told to stop. Return 0 after SIGTERM, 1 for a port in use, 2 for a configuration that cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m cvat_analytics.api", description="Serve /api/events.")
    parser.add_argument(
        "--config", type=Path, required=True, metavar="INI", help="the rendered configuration"
    )
    arguments = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
    # at this level it would log each request to CVAT and to Vector
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        settings = config.read(arguments.config)
        application = app.create(service.build(settings), settings.names)
    except (CvatAnalyticsError, OSError) as error:
        told = error.told if isinstance(error, CvatAnalyticsError) else error
        print(f"events API: {told}", file=sys.stderr)
        return error.exit_code if isinstance(error, CvatAnalyticsError) else 1
    listener = socket.socket(socket.AF_INET6 if ":" in settings.address else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.address, settings.port))
    except OSError as error:
        print(
            f"events API: cannot listen on {settings.address} port {settings.port}: {error.strerror}. Choose another events_api_port",
            file=sys.stderr,
        )
        return 1
    # uvicorn ends on SIGTERM and then sends itself the signal again: without this the process would not end with 0
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    signal.signal(signal.SIGINT, lambda number, frame: None)
    options = uvicorn.Config(
        application, access_log=False, log_config=None, timeout_graceful_shutdown=3, server_header=False,
        # only a proxy on this very host (the gateway) is believed when it says whom it speaks for: it comes from loopback, or from
        # the address that it connects to
        proxy_headers=True, forwarded_allow_ips=["127.0.0.1", "::1", settings.address],
    )  # fmt: skip
    uvicorn.Server(options).run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
