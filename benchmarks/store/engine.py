"""A running engine, asked as a dashboard asks it: over HTTP, with the time, the rows and the bytes that an answer took."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.report import BenchmarkError
from cvat_analytics.connect.http import http_client
from tests.clickhouse import Store


@dataclass(frozen=True)
class Answer:
    """What a query returned and what it took."""

    text: str
    seconds: float
    rows: int
    bytes: int

    @property
    def cells(self) -> list[list[str]]:
        """Return the rows of a tab-separated answer."""
        return [line.split("\t") for line in self.text.splitlines()]


@dataclass(frozen=True)
class Timed:
    """One query, run several times. Times are milliseconds; rows and bytes are what the engine read."""

    name: str
    median_ms: float
    p95_ms: float
    rows: int
    bytes: int

    def as_json(self) -> dict[str, Any]:
        """Return all figures."""
        return asdict(self)


@dataclass(frozen=True)
class Engine:
    """The engine of a test store, with more patience than tests have."""

    store: Store

    def ask(self, sql: str, *, user: str = "admin", **settings: object) -> Answer:
        """Return the answer to one statement. Raises BenchmarkError with ClickHouse's message."""
        context = self.store.context
        options: dict[str, Any] = {
            "user": user,
            "password": context.secrets[f"clickhouse_{user}"],
            "database": context.settings.database,
            "default_format": "TSV",
            "wait_end_of_query": 1,
            **settings,
        }
        with http_client(f"http://127.0.0.1:{self.store.http_port}", timeout=900) as asking:
            began = time.perf_counter()
            answer = asking.post("/", params=options, content=sql)
            seconds = time.perf_counter() - began
        if answer.is_error:
            raise BenchmarkError(f"{answer.text[:500]}\n\n{sql[:2000]}")
        summary = json.loads(answer.headers.get("X-ClickHouse-Summary") or "{}")
        return Answer(
            answer.text, seconds, int(summary.get("read_rows", 0)), int(summary.get("read_bytes", 0))
        )

    def value(self, sql: str) -> str:
        """Return the one value that a query finds."""
        return self.ask(sql).cells[0][0]

    def timed(self, name: str, sql: str, runs: int, *, user: str = "admin") -> Timed:
        """Run a query `runs` times after one that does not count."""
        answers = [self.ask(sql, user=user) for _ in range(runs + 1)][1:]
        seconds = sorted(answer.seconds * 1000 for answer in answers)
        return Timed(
            name, statistics.median(seconds), percentile(seconds, 0.95), answers[0].rows, answers[0].bytes
        )

    def bytes(self, database: str, table: str = "%") -> tuple[int, int]:
        """Return bytes on disk (marks and indexes included) and rows of a table's parts."""
        found = self.ask(
            "SELECT sum(bytes_on_disk), sum(rows) FROM system.parts "
            f"WHERE active AND database = '{database}' AND table LIKE '{table}'"
        ).cells[0]
        return int(found[0]), int(found[1])

    def parts(self, database: str, table: str) -> int:
        """Return how many parts a table is in."""
        return int(
            self.value(
                f"SELECT count() FROM system.parts WHERE active AND database = '{database}' AND table = '{table}'"
            )
        )

    def optimize(self, database: str, table: str) -> None:
        """Merge each partition into one part, one after the other, so that little more disk is needed."""
        partitions = self.ask(
            "SELECT DISTINCT partition_id FROM system.parts "
            f"WHERE active AND database = '{database}' AND table = '{table}' ORDER BY partition_id"
        )
        for (partition,) in partitions.cells:
            self.ask(f"OPTIMIZE TABLE {database}.{table} PARTITION ID '{partition}' FINAL")


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest of the sorted `values` that at least this share of them does not exceed."""
    return values[max(0, -int(-share * len(values) // 1) - 1)]
