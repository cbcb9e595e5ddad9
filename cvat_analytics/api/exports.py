"""Make exports: a few at a time in threads, from ClickHouse straight to disk, and forget them after their time."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import threading
import time
import uuid
from collections import Counter
from typing import Any

from cvat_analytics.api import queries
from cvat_analytics.api.clickhouse import (
    MEMORY_LIMIT_EXCEEDED,
    TOO_MANY_SIMULTANEOUS_QUERIES,
    Answer,
    ClickHouse,
    QueryError,
)
from cvat_analytics.api.config import ExportsConfig
from cvat_analytics.api.export_store import ATTEMPTS, ExportStore, Job
from cvat_analytics.api.filters import Selection
from cvat_analytics.api.principals import Principal
from cvat_analytics.api.problems import Problem
from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError, UnreachableError

log = logging.getLogger("cvat_analytics.api")

_PATIENCE = (1.0, 5.0, 15.0)
"""Seconds to wait for ClickHouse after each attempt that it broke off."""
_NO_ROOM = (TOO_MANY_SIMULTANEOUS_QUERIES, MEMORY_LIMIT_EXCEEDED)
"""What it may have room for later, when others of its user have ended."""


class _Stopped(Exception):
    pass


class _Run:
    """A running export, and the way to end it from another thread."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.answer: Answer | None = None
        self.query_id = ""
        self.thread: threading.Thread | None = None
        self.written = 0
        """Bytes of the file so far."""

    def cancel(self) -> None:
        self.stop.set()
        if answer := self.answer:
            answer.cancel()


class Exports:
    """All exports of this service. Safe to use from several threads."""

    def __init__(self, config: ExportsConfig, clickhouse: ClickHouse) -> None:
        self._config = config
        self._clickhouse = clickhouse
        self._lock = threading.RLock()
        self._runs: dict[str, _Run] = {}
        self._closing = False
        self.store = ExportStore(config.directory)
        self._jobs = {job.id: job for job in self.store.load(time.time(), config.keep.total_seconds())}
        for job in self._jobs.values():
            if job.status == "failed":
                self.store.write(job)

    def resume(self) -> None:
        """Begin what an earlier run of the service has left unfinished."""
        with self._lock:
            self._begin_what_may()

    def create(
        self,
        principal: Principal,
        selection: Selection,
        form: queries.Format,
        filename: str,
        filters: dict[str, Any],
        request_id: str,
    ) -> Job:
        """Take an export in and return it. Raises Problem where the caller has too many (429) or the disk is full (507)."""
        with self._lock:
            self.forget_expired()
            mine = [job for job in self._jobs.values() if job.owner == principal.key]
            if len(mine) >= self._config.per_user:
                done_with = [job for job in mine if job.fetched or job.status == "failed"]
                if not done_with:
                    raise _too_many(mine)
                # a script that fetches one export after the other must not be stopped by those that it has
                self._remove_oldest(done_with)
            if not self.store.has_room():
                raise Problem(
                    507,
                    "there is no room left on the server for an export. Ask for less, or stream it with `format`",
                    code=Code.EXPORT_QUOTA,
                )
            job = Job(
                id=str(uuid.uuid4()), owner=principal.key, owner_id=principal.id, owner_name=principal.name, request_id=request_id,
                format=form.name, filename=filename, filters=filters, conditions=list(selection.conditions),
                parameters=selection.parameters, created=time.time(),
            )  # fmt: skip
            self._set(job)
            self._begin_what_may()
            return self._jobs[job.id]

    def get(self, job_id: str, principal: Principal) -> Job | None:
        """Return the caller's export of that id; None for one that is not there, not theirs, or forgotten."""
        with self._lock:
            self.forget_expired()
            job = self._jobs.get(job_id)
            return job if job and job.owner == principal.key else None

    def of(self, principal: Principal) -> list[Job]:
        """Return the caller's exports, newest first."""
        with self._lock:
            self.forget_expired()
            return sorted(
                (j for j in self._jobs.values() if j.owner == principal.key), key=lambda j: -j.created
            )

    def fetched(self, job: Job) -> None:
        """Note that the file of a finished export is being downloaded."""
        with self._lock:
            if not job.fetched and self._jobs.get(job.id) == job:
                self._set(job.with_(fetched=True))

    def remove(self, job_id: str) -> None:
        """End an export if it runs, and remove what there is of it."""
        with self._lock:
            self._jobs.pop(job_id, None)
            run = self._runs.get(job_id)
            if run is None:
                self.store.remove(job_id)
            else:
                run.cancel()  # its thread removes the folder when it is done with it

    def progress(self, job: Job) -> float | None:
        """Return how far an export is, from 0 to 1; None when nobody knows."""
        if job.status == "finished":
            return 1.0
        run = self._runs.get(job.id)
        if run is None or not run.query_id:
            return None
        with contextlib.suppress(CvatAnalyticsError, ValueError):
            return queries.progress(self._clickhouse, run.query_id)
        return None

    def forget_expired(self) -> None:
        """Remove the exports whose time is over."""
        with self._lock:
            now = time.time()
            for job in list(self._jobs.values()):
                if job.expires is not None and job.expires <= now:
                    del self._jobs[job.id]
                    self.store.remove(job.id)

    def close(self, patience: float = 5.0) -> None:
        """End what runs, so that the next run of the service begins it anew."""
        with self._lock:
            self._closing = True
            runs = list(self._runs.values())
            for run in runs:
                run.cancel()
        for run in runs:
            if run.thread:
                run.thread.join(patience)

    def _set(self, job: Job) -> None:
        self.store.write(job)
        self._jobs[job.id] = job

    def _begin_what_may(self) -> None:
        """Start queued exports, oldest first, as far as the limits allow."""
        running = Counter(self._jobs[job_id].owner for job_id in self._runs if job_id in self._jobs)
        for job in sorted(self._jobs.values(), key=lambda job: job.created):
            if self._closing or len(self._runs) >= self._config.running:
                return
            if (
                job.status == "queued"
                and running[job.owner] < self._config.running_per_user
                and job.id not in self._runs
            ):
                running[job.owner] += 1
                self._runs[job.id] = run = _Run()
                run.thread = threading.Thread(
                    target=self._work, args=[job.id, run], name=f"export-{job.id}", daemon=True
                )
                run.thread.start()

    def _work(self, job_id: str, run: _Run) -> None:
        """Carry one export through, in a thread of its own."""
        message = ""
        try:
            self._attempts(job_id, run)
        except _Stopped:
            pass
        except OSError as error:
            message = f"it could not be written ({error.strerror})"
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                message = "there is no room left on the server"
        except CvatAnalyticsError as error:
            message = str(error)
        except Exception:
            log.exception("export %s", job_id)
            message = "the service failed; its log has the reason"
        with self._lock:
            self._runs.pop(job_id, None)
            job = self._jobs.get(job_id)
            if job is None:
                self.store.remove(job_id)
            elif message:
                self.store.part(job_id).unlink(missing_ok=True)
                self._end(job.with_(status="failed", message=message))
            if job is not None:
                ended = self._jobs[job_id]
                log.info(
                    "request_id=%s export=%s user=%s status=%s bytes=%s message=%s",
                    job.request_id, job_id, json.dumps(job.owner), ended.status, ended.size, json.dumps(message),
                )  # fmt: skip
            self._begin_what_may()

    def _attempts(self, job_id: str, run: _Run) -> None:
        while True:
            with self._lock:
                job = self._jobs.get(job_id)
                if job is None or run.stop.is_set():
                    raise _Stopped
                job = job.with_(
                    status="started", started=job.started or time.time(), attempts=job.attempts + 1
                )
                self._set(job)
            try:
                self._attempt(job, run)
            except (UnreachableError, QueryError) as error:
                if isinstance(error, QueryError) and error.number not in _NO_ROOM:
                    raise
                if run.stop.is_set():
                    raise _Stopped from None
                if job.attempts >= ATTEMPTS:
                    raise CvatAnalyticsError(
                        Code.EXPORT_FAILED, f"{error}; given up after {job.attempts} attempts"
                    ) from None
                if run.stop.wait(_PATIENCE[min(job.attempts, len(_PATIENCE)) - 1]):
                    raise _Stopped from None
            else:
                return

    def _attempt(self, job: Job, run: _Run) -> None:
        """Write the file once from its beginning. Raises what the clients of ClickHouse and of the disk raise."""
        selection = Selection(tuple(job.conditions), job.parameters)
        try:
            if not (queries.is_small(self._clickhouse, selection) and self._fits(job, run, selection)):
                self._write(job, run, selection, queries.ORDER)
        except QueryError:
            if run.stop.is_set():
                raise _Stopped from None
            raise
        size = self.store.complete(job.id)
        with self._lock:
            if job.id in self._jobs:
                self._end(job.with_(status="finished", size=size))

    def _fits(self, job: Job, run: _Run, selection: Selection) -> bool:
        """Write the file, sorted at once, and return whether ClickHouse had the memory for it: few events may be large."""
        try:
            self._write(job, run, selection, queries.ORDER_AT_ONCE)
        except QueryError as error:
            if error.number != MEMORY_LIMIT_EXCEEDED or run.stop.is_set():
                raise
            return False
        return True

    def _write(self, job: Job, run: _Run, selection: Selection, order: str) -> None:
        sql = queries.statement(selection, queries.FORMATS[job.format], order)
        run.query_id = f"export-{job.id}-{job.attempts}-{uuid.uuid4()}"
        run.written = 0
        try:
            with (
                self._clickhouse.ask(sql, selection.parameters, query_id=run.query_id) as answer,
                self.store.writing(job.id) as write,
            ):
                run.answer = answer
                for piece in answer.pieces():
                    if run.stop.is_set():
                        raise _Stopped
                    run.written += len(piece)
                    self._make_room(job, run)
                    write(piece)
        finally:
            run.answer = None
            run.query_id = ""

    def _make_room(self, job: Job, run: _Run) -> None:
        """Keep a person's exports within their size. Raises CvatAnalyticsError where none may be removed for it."""
        with self._lock:
            while self._size(job.owner) > self._config.bytes_per_user:
                done_with = [each for each in self._jobs.values() if each.owner == job.owner and each.fetched]
                if not done_with:
                    run.written = 0  # it will be gone, and another of the same person may go on
                    raise CvatAnalyticsError(
                        Code.EXPORT_QUOTA,
                        f"your exports may take {self._config.bytes_per_user >> 20} MiB together, and nobody has downloaded those "
                        "that are there. Ask for less, download or remove one (DELETE /api/requests/{id}), or stream it with `format`",
                    )
                self._remove_oldest(done_with)

    def _size(self, owner: str) -> int:
        """Return how many bytes the exports of a person are, as far as they are written."""
        mine = [job for job in self._jobs.values() if job.owner == owner]
        return sum(job.size or (self._runs[job.id].written if job.id in self._runs else 0) for job in mine)

    def _remove_oldest(self, jobs: list[Job]) -> None:
        self.remove(min(jobs, key=lambda job: job.finished or 0).id)

    def _end(self, job: Job) -> None:
        now = time.time()
        job = job.with_(finished=now, expires=now + self._config.keep.total_seconds())
        self._jobs[job.id] = job
        # without the note, on a full disk, the next run of the service makes the export anew; this one knows how it ended
        with contextlib.suppress(OSError):
            self.store.write(job)


def _too_many(jobs: list[Job]) -> Problem:
    wait = min(job.expires or time.time() + 60 for job in jobs) - time.time()
    return Problem(
        429,
        f"you have {len(jobs)} exports that nobody has downloaded, and no more are kept for one person. Remove one with "
        "DELETE /api/requests/{id}, or wait until the oldest is forgotten",
        headers={"Retry-After": str(max(1, int(wait)))},
        code=Code.EXPORT_QUOTA,
    )
