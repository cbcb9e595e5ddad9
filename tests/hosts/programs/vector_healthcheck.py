"""Do what `vector validate` does beyond reading the file: ask each ClickHouse sink's server whether it is there.

Only the connection is tried, without a login. The trap that this stands for: a unit whose ExecStartPre validates with
health checks cannot start while ClickHouse is down.
"""

import socket
import sys
import tomllib
import urllib.parse
from pathlib import Path


def main(path: str) -> int:
    """Return 78, Vector's exit code for a configuration that it refuses, when a server does not answer."""
    sinks = tomllib.loads(Path(path).read_text()).get("sinks", {})
    for name, sink in sinks.items():
        if sink.get("type") != "clickhouse" or sink.get("healthcheck", {}).get("enabled") is False:
            continue
        url = urllib.parse.urlsplit(sink["endpoint"])
        try:
            socket.create_connection((url.hostname, url.port or 80), timeout=5).close()
        except OSError as error:
            print(f"Health check for {name!r} failed: {error}", file=sys.stderr)
            return 78
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
