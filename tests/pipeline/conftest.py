"""One embedded stack for all tests here. Each test has days of its own, so that none sees the others' events."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

from cvat_analytics.connect.access import Access
from cvat_analytics.embedded import stack
from tests.vector.configuration import READINGS

PROGRAM = Path(sys.executable).with_name("cvat-analytics")
_DAYS = itertools.count()


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stack.Stack]:
    """Run a stack."""
    directory = tmp_path_factory.mktemp("stack")
    # in a process of its own, as the parts outlive the one that starts them
    subprocess.run(
        [PROGRAM, "up", "--dir", directory, "--detach"], check=True, capture_output=True, timeout=600
    )
    running = stack.find(directory)
    read_often(running)
    yield running
    stack.down(directory)


def read_often(running: stack.Stack) -> None:
    """Have it read what it counts every 2 s, for which many tests wait. What writes Vector's configuration anew ends that."""
    configuration = Path(running.paths.vector_config) / "vector.toml"
    text = configuration.read_text()
    assert READINGS in text
    configuration.write_text(text.replace(READINGS, "scrape_interval_secs = 2"))
    pid = running.processes.pid("vector")
    assert pid
    os.kill(pid, signal.SIGHUP)


@pytest.fixture
def access(running: stack.Stack) -> Access:
    """Return the way to it, with the passwords of now: tests of their rotation change them."""
    return running.access()


@dataclass(frozen=True)
class Day:
    """A day that no other test uses, a directory for its journal, and what the event table has of it."""

    day: date
    directory: Path
    access: Access

    def at(self, clock: str, days: int = 0) -> datetime:
        """Return a moment of the day, or of some days later."""
        return datetime.fromisoformat(f"{self.day + timedelta(days=days)}T{clock}").replace(tzinfo=UTC)

    def events(
        self, count: int, clock: str = "12:00:00", days: int = 0, **fields: Any
    ) -> list[dict[str, Any]]:
        """Return that many rows, a millisecond apart."""
        begin = self.at(clock, days)
        moments = (begin + timedelta(milliseconds=number) for number in range(count))
        return [
            row(f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03}", **fields) for moment in moments
        ]

    def journal(
        self, *members: Iterable[Any], days: int = 0, hour: int = 12, torn: int = 0, ending: str = ""
    ) -> Path:
        """Append rows (or lines) to the journal of an hour; of the last ones keep `torn` bytes if given.

        `ending`: `.gz` for members as Vector wrote them before, `.zst` for a file that is packed.
        """
        path = self.directory / f"events-{self.day + timedelta(days=days)}T{hour:02}.jsonl{ending}"
        packers: dict[str, Callable[[bytes], bytes]] = {
            "": bytes,
            ".gz": gzip.compress,
            ".zst": zstd.compress,
        }
        pack = packers[ending]
        packed = [pack(b"".join(line(each) + b"\n" for each in member)) for member in members]
        if torn:
            packed[-1] = packed[-1][:torn]
        with path.open("ab") as file:
            file.write(b"".join(packed))
        return path

    def stored(self, days: int = 2) -> int:
        """Return how many events the table has from this day on, as a reader sees them."""
        until = self.day + timedelta(days=days)
        query = f"SELECT count() FROM {self.access.database}.events FINAL WHERE timestamp >= '{self.day}' AND timestamp < '{until}'"
        return int(self.access.client().query(query).result_rows[0][0])


def row(timestamp: str, **fields: Any) -> dict[str, Any]:
    """Return an event as the journal has it."""
    nothing = dict.fromkeys(
        ("obj_name", "obj_id", "obj_val", "count", "project_id", "task_id", "job_id", "user_name", "user_email",
         "org_id", "org_slug", "payload", "access_token_id")
    )  # fmt: skip
    return nothing | {
        "scope": "draw:object", "source": "client", "timestamp": timestamp, "duration": 0, "user_id": 1, **fields,
    }  # fmt: skip


def line(content: Any) -> bytes:
    """Return a line of the journal, as Vector writes JSON."""
    if isinstance(content, bytes):
        return content
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


@pytest.fixture
def day(access: Access, tmp_path: Path) -> Day:
    """Return a day for this test; the next test's is a month later."""
    return Day(date(2020, 1, 1) + timedelta(days=31 * next(_DAYS)), tmp_path, access)
