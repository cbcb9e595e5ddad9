"""An export as it lies on disk: a directory with a note about it and, once it is complete, the file.

A file is complete when it has its final name and the size that the note says. Both are written in one step each, and
only after ClickHouse has ended its answer without an error and the file's bytes are on the disk. The notes themselves are not
waited for: where a power cut takes one along, the export is made anew, or has to be asked for again.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

Status = Literal["queued", "started", "finished", "failed"]
ATTEMPTS = 3
"""How often an export is begun, counting restarts of this service and of ClickHouse."""

MINIMUM_FREE = 2 * 2**30
"""Bytes that exports leave on the disk, on which ClickHouse and Vector may live, and a full one stops them: Vector's buffers may
need as much (by default 1.25 GiB), and ClickHouse some."""
_WRITE_BACK = 16 * 2**20
"""After how many bytes each time the disk is set to work."""


@dataclass(frozen=True)
class Job:
    """One export. Times are seconds since 1970."""

    id: str
    owner: str
    """The key of the caller whose export it is."""
    owner_id: int | None
    owner_name: str
    request_id: str
    format: str
    filename: str
    filters: dict[str, Any]
    """What was asked for, to be shown."""
    conditions: list[str]
    parameters: dict[str, Any]
    created: float
    status: Status = "queued"
    started: float | None = None
    finished: float | None = None
    expires: float | None = None
    size: int | None = None
    message: str = ""
    attempts: int = 0
    fetched: bool = False
    """Whether the file was downloaded at least once."""

    def with_(self, **changes: Any) -> Job:
        """Return a changed copy."""
        return replace(self, **changes)


@dataclass(frozen=True)
class ExportStore:
    """The directory in which the exports lie."""

    directory: Path

    def file(self, job_id: str) -> Path:
        """Return where the complete file of a job is."""
        return self.directory / job_id / "result"

    def part(self, job_id: str) -> Path:
        """Return where it is written."""
        return self.directory / job_id / "result.part"

    def write(self, job: Job) -> None:
        """Write the note of a job in one step, so that it is old or new and never half."""
        folder = self.directory / job.id
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = folder / "job.json.new"
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(asdict(job), file)
        temporary.replace(folder / "job.json")

    @contextmanager
    def writing(self, job_id: str) -> Iterator[Callable[[bytes], None]]:
        """Yield a function that adds to the file of a job, which it begins anew. It raises OSError (ENOSPC) where no room is left.

        What is written is put on its way to the disk at once and not kept in memory: the end then waits for little, and
        neither an export's pages push ClickHouse's out nor does a flood of them hold its writing up.
        """
        with self.part(job_id).open(
            "wb"
        ) as file:  # buffered: the raw file may take a part of the data and say nothing
            size = 0

            def write(data: bytes) -> None:
                nonlocal size
                if not self.has_room():
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                file.write(data)
                begun = size // _WRITE_BACK
                size += len(data)
                if size // _WRITE_BACK > begun:
                    os.posix_fadvise(file.fileno(), 0, size, os.POSIX_FADV_DONTNEED)

            yield write

    def complete(self, job_id: str) -> int:
        """Give the written file its final name and return its size in bytes."""
        part = self.part(job_id)
        with part.open("rb") as file:
            os.fsync(file.fileno())
            size = os.fstat(file.fileno()).st_size
        part.replace(self.file(job_id))
        return size

    def is_whole(self, job: Job) -> bool:
        """Return whether a finished job's file is there in its full size."""
        try:
            return self.file(job.id).stat().st_size == job.size
        except FileNotFoundError:
            return False

    def remove(self, job_id: str) -> None:
        """Remove a job with all that it has."""
        shutil.rmtree(self.directory / job_id, ignore_errors=True)

    def load(self, now: float, keep_seconds: float) -> list[Job]:
        """Return the jobs as an earlier run of the service has left them, oldest first.

        What was not complete is to be made anew; what has been begun too often has failed. A folder that cannot be
        understood is removed: nobody could fetch it any more.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        jobs = []
        for folder in self.directory.iterdir():
            try:
                job = Job(**json.loads((folder / "job.json").read_text(encoding="utf-8")))
            except (OSError, ValueError, TypeError):
                shutil.rmtree(folder, ignore_errors=True)
                continue
            self.part(job.id).unlink(missing_ok=True)
            if job.status in ("queued", "started") or (job.status == "finished" and not self.is_whole(job)):
                self.file(job.id).unlink(missing_ok=True)
                job = job.with_(status="queued", started=None, finished=None, size=None)
                if job.attempts >= ATTEMPTS:
                    job = job.with_(
                        status="failed", finished=now, expires=now + keep_seconds,
                        message=f"the service ended {job.attempts} times during this export. Ask for it again",
                    )  # fmt: skip
            jobs.append(job)
        return sorted(jobs, key=lambda job: job.created)

    def has_room(self) -> bool:
        """Return whether exports may take more of the disk."""
        return shutil.disk_usage(self.directory).free >= MINIMUM_FREE
