"""What ClickHouse has written to be backed up, looked at as files: rows and a checksum of each table and month, without asking anybody.

A part of a table has a file with its number of rows and one with the checksums of all its files. Both stay as they are when the part
is backed up and restored, so that the same can be said of the live table's parts, of the backup's, and of what was restored from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Sums = dict[str, dict[str, dict[str, Any]]]
"""Of each table, of each of its partitions (a month as 202611; `all` where there are none): `rows`, `checksum`."""


def of_backup(directory: Path, database: str) -> Sums:
    """Return the sums of a backup's directory; tables that have nothing have no partitions."""
    tables = sorted(path.stem for path in (directory / "metadata" / database).glob("*.sql"))
    return {table: of_parts((directory / "data" / database / table).glob("*/")) for table in tables}


def of_parts(parts: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Return the sums of directories that are parts of one table."""
    found: dict[str, list[tuple[str, int]]] = {}
    for part in parts:
        digest = hashlib.sha256((part / "checksums.txt").read_bytes()).hexdigest()
        rows = int((part / "count.txt").read_text())
        found.setdefault(part.name.split("_")[0], []).append((digest, rows))
    return {
        partition: {
            "rows": sum(rows for _, rows in each),
            "checksum": hashlib.sha256("\n".join(sorted(digest for digest, _ in each)).encode()).hexdigest(),
        }
        for partition, each in sorted(found.items())
    }


def difference(expected: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Return the first table and month in which `found` is not what is expected, as a sentence; nothing where all is."""
    for table, partitions in expected.items():
        for partition in sorted({*partitions, *found.get(table, {})}):
            want, have = partitions.get(partition), found.get(table, {}).get(partition)
            if want != have:
                rows = have["rows"] if have else 0
                return (
                    f"table {table}, {partition}: has {rows:,} rows and the manifest says {want['rows'] if want else 0:,}"
                    if not (want and have and want["rows"] == have["rows"])
                    else f"table {table}, {partition}: its {rows:,} rows are not those of the manifest (another checksum)"
                )
    return ""
