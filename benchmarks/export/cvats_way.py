"""Export as CVAT 2.42 does it: one query, all rows in Python, through `csv.writer`. Run in a process of its own.

    python -m benchmarks.export.cvats_way HOST PORT TABLE LAST FILE < password

Prints rows, seconds, and the most memory that the process had, in bytes.
"""

from __future__ import annotations

import csv
import json
import resource
import sys
import time
from pathlib import Path

import clickhouse_connect
from clickhouse_connect.driver.client import Client


def export(client: Client, table: str, first: str, last: str, file: Path) -> int:
    """Write the events of a range of time as CVAT does, in CVAT's own form, and return how many they are."""
    result = client.query(
        f"SELECT * FROM {table} WHERE source IN ('server', 'client') AND scope != 'send:exception' "
        "AND timestamp >= {first:DateTime64(3)} AND timestamp <= {last:DateTime64(3)} ORDER BY timestamp",
        parameters={"first": first, "last": last},
    )
    with file.open("w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(result.column_names)
        writer.writerows(result.result_rows)
    return len(result.result_rows)


def main() -> None:
    """Export everything up to `LAST`."""
    host, port, table, last, file = sys.argv[1:]
    began = time.perf_counter()
    client = clickhouse_connect.get_client(
        host=host,
        port=int(port),
        username="admin",
        password=sys.stdin.readline().strip(),
        send_receive_timeout=900,
    )
    rows = export(client, table, "1970-01-01 00:00:00.000", last, Path(file))
    seconds = time.perf_counter() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"rows": rows, "seconds": seconds, "memory": memory}))


if __name__ == "__main__":
    main()
