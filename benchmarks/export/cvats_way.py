"""Export as CVAT does it: one query, all rows in Python, through `csv.writer`. Run in a process of its own.

    python -m benchmarks.export.cvats_way HOST PORT TABLE LAST FILE < password

Prints rows, seconds, and the most memory that the process had, in bytes.
"""

from __future__ import annotations

import csv
import json
import resource
import sys
import time

import clickhouse_connect

COLUMNS = (
    "scope, obj_name, obj_id, obj_val, source, timestamp, count, duration, project_id, task_id, job_id, "
    "user_id, user_name, user_email, org_id, org_slug, payload"
)


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
    result = client.query(
        f"SELECT {COLUMNS} FROM {table} WHERE timestamp >= {{first:DateTime64(3)}} AND timestamp <= {{last:DateTime64(3)}} "
        "ORDER BY timestamp",
        parameters={"first": "1970-01-01 00:00:00.000", "last": last},
    )
    with open(file, "w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(result.column_names)
        writer.writerows(result.result_rows)
    seconds = time.perf_counter() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"rows": len(result.result_rows), "seconds": seconds, "memory": memory}))


if __name__ == "__main__":
    main()
