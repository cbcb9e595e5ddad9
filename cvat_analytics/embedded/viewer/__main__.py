"""Run the viewer from the command line."""

from __future__ import annotations

import argparse
import signal
import socket
import sys
from pathlib import Path

import uvicorn

from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.embedded.viewer import config
from cvat_analytics.embedded.viewer.app import Viewer
from cvat_analytics.embedded.viewer.clickhouse import ClickHouse


def main() -> int:
    """Serve until told to stop. Return 0 after SIGTERM, 1 for a port in use, 2 for a configuration that cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m cvat_analytics.embedded.viewer",
        description="Show the dashboards without Grafana. A substitute for looking and for tests.",
    )
    parser.add_argument(
        "--config", type=Path, required=True, metavar="INI", help="the ini file rendered for Grafana"
    )
    parser.add_argument(
        "--clickhouse-http-port",
        type=int,
        metavar="N",
        help="the datasource names the native port only; default 8123, through TLS 8443",
    )
    parser.add_argument(
        "--no-login", action="store_true", help="let everybody see the pages; for loopback only"
    )
    arguments = parser.parse_args()
    try:
        settings = config.read(arguments.config)
    except CvatAnalyticsError as error:
        print(error.told, file=sys.stderr)
        return error.exit_code
    address = settings.address or "0.0.0.0"  # noqa: S104 - an empty http_addr means that to Grafana
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, settings.port))
    except OSError as error:
        print(
            f"viewer: cannot listen on {address} port {settings.port}: {error.strerror}. Choose another grafana_port",
            file=sys.stderr,
        )
        return 1
    usual_port = 8443 if settings.datasource.authority else 8123
    clickhouse = ClickHouse(settings.datasource, arguments.clickhouse_http_port or usual_port)
    application = Viewer(settings, clickhouse, open_pages=arguments.no_login).application()
    print(
        f"viewer (a substitute for Grafana): http{'s' if settings.certificate else ''}://{address}:{settings.port}{settings.prefix}/",
        file=sys.stderr,
        flush=True,
    )
    # uvicorn ends on SIGTERM and then sends itself the signal again: without this the process would not end with 0
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    signal.signal(signal.SIGINT, lambda number, frame: None)
    # a gateway is believed by where it connects from, not by what it says of its visitor's address
    options = uvicorn.Config(
        application,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=3,
        proxy_headers=False,
        ssl_certfile=settings.certificate[0] if settings.certificate else None,
        ssl_keyfile=settings.certificate[1] if settings.certificate else None,
    )
    uvicorn.Server(options).run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
