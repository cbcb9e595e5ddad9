"""CVAT's stock table, events to put into it, and the ways in which they are written down."""

from __future__ import annotations

import csv
import io
import json
import random
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from cvat_analytics.store.event_columns import COLUMNS
from tests.clickhouse import Store

STOCK_COLUMNS = COLUMNS | {"count": "Nullable(UInt16)"}


def stock_table(store: Store, columns: int = 18, database: str = "old") -> None:
    """Make CVAT's stock table with its 17 columns, or the 18 of newer servers."""
    store.post(f"CREATE DATABASE IF NOT EXISTS {database}")
    fields = ", ".join(f"{name} {kind}" for name, kind in list(STOCK_COLUMNS.items())[:columns])
    store.post(
        f"CREATE TABLE {database}.events ({fields}) ENGINE = MergeTree PARTITION BY toYYYYMM(timestamp) ORDER BY timestamp"
    )


def events(count: int, seed: int = 1, months: int = 14) -> list[dict[str, Any]]:
    """Return events of many months with NULLs, empty texts, quotes, line breaks and other letters in them."""
    chance = random.Random(seed)
    texts = [None, "", "a", 'say "hi", 次', "two\nlines", "\\N", "back\\slash", '{"a": "b,\\"c\\""}']
    made = []
    for _ in range(count):
        month = chance.randrange(months)
        event: dict[str, Any] = {
            "scope": chance.choice(["load:job", "change:frame", "save:job"]),
            "source": chance.choice(["client", "server"]),
            "timestamp": f"{2024 + month // 12}-{month % 12 + 1:02}-{chance.randrange(1, 28):02} "
            f"{chance.randrange(24):02}:00:{chance.randrange(60):02}.{chance.choice([0, 123]):03}",
            "duration": chance.randrange(1000),
        }
        for name, kind in COLUMNS.items():
            if name not in event:
                number = chance.choice([None, 0, chance.randrange(60000)])
                event[name] = chance.choice(texts) if "String" in kind else number
        made.append(event)
    return made


def fill(store: Store, rows: list[dict[str, Any]], database: str = "old", columns: int = 18) -> None:
    """Insert `rows` into the stock table, with only its first `columns`."""
    names = list(COLUMNS)[:columns]
    body = "\n".join(json.dumps({name: row[name] for name in names}) for row in rows)
    store.post(f"INSERT INTO {database}.events FORMAT JSONEachRow\n{body}")


def content(store: Store, table: str, columns: str = "*") -> list[Any]:
    """Return the distinct events in a table, each as its values, in some fixed order."""
    answer = json.loads(store.post(f"SELECT DISTINCT {columns} FROM {table}"))
    return sorted(answer["data"], key=repr)


def dump(store: Store, path: Path, form: str, table: str = "old.events") -> Path:
    """Write a table down as a backup does, and return the file."""
    options = {"user": "admin", "password": store.context.secrets["clickhouse_admin"]}
    url = f"http://127.0.0.1:{store.http_port}/?{urllib.parse.urlencode(options)}"
    query = f"SELECT * FROM {table} ORDER BY timestamp FORMAT {form}"
    with urllib.request.urlopen(url, data=query.encode(), timeout=30) as answer:
        path.write_bytes(answer.read())
    return path


def cvat_csv(rows: list[dict[str, Any]]) -> str:
    """Return `rows` as CVAT's own export writes them: Python's csv, times with their zone, nothing for NULL."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for row in rows:
        day, second = row["timestamp"].split(".")
        fraction = f".{second}000" if second != "000" else ""
        writer.writerow([f"{day}{fraction}+00:00" if name == "timestamp" else row[name] for name in COLUMNS])
    return file.getvalue()
