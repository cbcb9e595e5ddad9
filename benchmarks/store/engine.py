"""A running engine, asked as a dashboard asks it: over HTTP, with the time, the rows, the bytes and the memory that an answer took."""

from __future__ import annotations

import json
import re
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any

import httpx

from benchmarks.report import BenchmarkError
from cvat_analytics.connect.http import http_client
from tests import clickhouse
from tests.clickhouse import Store

GIB = 2**30
MEMORY = 8 * GIB
"""What the engine may take, and so any of its queries."""
QUERY_SECONDS = 300
"""How long a query may take before it is one that cannot be done."""
ONCE_SECONDS = 20
"""A query that takes longer than this is not run again: its first run is the figure."""
WORK_SECONDS = 4 * 3600
"""How long what is no query may take: a merge of a large month, a refresh of everything."""
_LOOKS = 100
"""How often, at most, it is looked whether a query has ended: work that goes on in the background is one as well."""
_TOO_MUCH = re.compile(r"Code: (?:241|159)\..*?maximum: ([\d.]+ \w+)", re.DOTALL)
"""ClickHouse's words where there is not enough memory or time, with the limit: this one, or that of the reader's profile."""


class CannotBeDoneError(BenchmarkError):
    """A query needs more memory or time than there is. The text is the figure."""


@dataclass(frozen=True)
class Answer:
    """What a query returned and what it took."""

    text: str
    seconds: float
    rows: int
    bytes: int
    memory: int = 0

    @property
    def cells(self) -> list[list[str]]:
        """Return the rows of a tab-separated answer."""
        return [line.split("\t") for line in self.text.splitlines()]


@dataclass(frozen=True)
class Timed:
    """One query, run several times. Times are milliseconds; rows and bytes are what the engine read, memory is the most it took.

    `cpu_ms` is the server's processor time of one run: it depends little on what else the machine does.
    What cannot be done has no times, and says why in `unable`.
    """

    name: str
    median_ms: float | None
    p95_ms: float | None = None
    rows: int = 0
    bytes: int = 0
    memory: int = 0
    cpu_ms: float = 0
    unable: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return all figures."""
        return asdict(self)


@dataclass(frozen=True)
class Engine:
    """The engine of a test store, with more patience than tests have."""

    store: Store

    def ask(
        self, sql: str, *, user: str = "admin", patience: float = WORK_SECONDS, **settings: object
    ) -> Answer:
        """Return the answer to one statement.

        Raises CannotBeDoneError where it needs more than there is, else BenchmarkError with ClickHouse's message.
        """
        context = self.store.context
        options: dict[str, Any] = {
            "user": user,
            "password": context.secrets[f"clickhouse_{user}"],
            "database": context.settings.database,
            "default_format": "TSV",
            "wait_end_of_query": 1,
            **settings,
        }
        try:
            with http_client(f"http://127.0.0.1:{self.store.http_port}", timeout=patience) as asking:
                began = time.perf_counter()
                answer = asking.post("/", params=options, content=sql)
                seconds = time.perf_counter() - began
        except httpx.TimeoutException:
            raise CannotBeDoneError(f"not within {patience:.0f} s") from None
        except httpx.HTTPError as error:
            raise BenchmarkError(f"ClickHouse does not answer: {error}\n\n{sql[:2000]}") from None
        if answer.is_error:
            if limit := _TOO_MUCH.match(answer.text):
                raise CannotBeDoneError(f"not within {limit[1]}")
            raise BenchmarkError(f"{answer.text[:500]}\n\n{sql[:2000]}")
        summary = json.loads(answer.headers.get("X-ClickHouse-Summary") or "{}")
        figures = (int(summary.get(name, 0)) for name in ("read_rows", "read_bytes", "memory_usage"))
        return Answer(answer.text, seconds, *figures)

    def value(self, sql: str) -> str:
        """Return the one value that a query finds."""
        return self.ask(sql).cells[0][0]

    def timed(self, name: str, sql: str, runs: int, *, user: str = "admin") -> Timed:
        """Run a query `runs` times after one that does not count, unless that took so long that it is the figure.

        One that needs more time or memory than there is ends there, and is a figure too.
        """
        # a reader's profile has its limits already, which nobody may change
        bounds = {"max_execution_time": QUERY_SECONDS, "max_memory_usage": MEMORY} if user == "admin" else {}
        answers: list[Answer] = []
        before = self.processor_seconds()
        try:
            while len(answers) <= runs:
                answers.append(self.ask(sql, user=user, patience=2 * QUERY_SECONDS, **bounds))
                if answers[-1].seconds > ONCE_SECONDS:
                    break
        except CannotBeDoneError as error:
            return Timed(name, None, unable=str(error))
        processor_ms = 1000 * (self.processor_seconds() - before) / len(answers)
        answers = answers[1:] or answers
        seconds = sorted(answer.seconds * 1000 for answer in answers)
        first, memory = answers[0], max(answer.memory for answer in answers)
        return Timed(
            name,
            statistics.median(seconds),
            percentile(seconds, 0.95),
            first.rows,
            first.bytes,
            memory,
            processor_ms,
        )

    def processor_seconds(self) -> float:
        """Return the processor time, user and system, that the server's queries and background work have taken since it started.

        A query's threads are counted when it has ended, which is after its answer: so as long as one is there, this waits.
        """
        for _ in range(_LOOKS):
            # the engine of the tests has a query of nobody's that never ends
            if self.value("SELECT count() FROM system.processes WHERE user != ''") == "1":
                break
        events = "event IN ('UserTimeMicroseconds', 'SystemTimeMicroseconds')"
        return int(self.value(f"SELECT sum(value) FROM system.events WHERE {events}")) / 1e6

    def backup_bytes(self, database: str) -> int:
        """Return the size that a backup of a database would have: all of it is read and counted, and nothing written."""
        (name, *_), *_ = self.ask(f"BACKUP DATABASE {database} TO Null").cells
        return int(self.value(f"SELECT compressed_size FROM system.backups WHERE id = '{name}'"))

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
            # a month that is one part already would be written anew
            self.ask(
                f"OPTIMIZE TABLE {database}.{table} PARTITION ID '{partition}' FINAL",
                optimize_skip_merged_partitions=1,
            )


@dataclass
class Server:
    """The process of an engine whose data is in one directory. It can be started again."""

    directory: Path
    store: Store
    _running: ExitStack = field(default_factory=ExitStack)
    _process: Popen[bytes] | None = None

    @property
    def engine(self) -> Engine:
        """Return the way to ask it."""
        return Engine(self.store)

    def start(self) -> float:
        """Start it and return the seconds until it answers."""
        began = time.perf_counter()
        self._process = self._running.enter_context(clickhouse.engine(self.store, self.directory))
        return time.perf_counter() - began

    def stop(self) -> None:
        """Stop it; the data stays."""
        self._running.close()

    def forget_peak(self) -> None:
        """Begin anew to look for the most memory that it has."""
        assert self._process
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")

    def peak(self) -> int:
        """Return the most bytes of memory that the process has had since."""
        assert self._process
        text = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(text.partition("VmHWM:")[2].split()[0]) * 1024


@contextmanager
def serving(directory: Path, *, there: bool = False) -> Iterator[Server]:
    """Run an engine with eight GiB of memory on `directory`: with an empty schema, or as it is when data is `there` already."""
    store = clickhouse.configured(directory, memory_profile="medium", clickhouse_memory_limit=MEMORY)
    server = Server(directory, store)
    server.start()
    try:
        if not there:
            store.create(store.database)
        yield server
    finally:
        server.stop()


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest of the sorted `values` that at least this share of them does not exceed."""
    return values[max(0, -int(-share * len(values) // 1) - 1)]
