"""What an export leaves of the disk: ClickHouse and Vector may live on it."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cvat_analytics.api import export_store, queries
from cvat_analytics.api.config import ExportsConfig
from cvat_analytics.api.exports import Exports
from cvat_analytics.api.filters import Selection
from cvat_analytics.api.principals import Principal


class Endless:
    """Stands for a ClickHouse whose answer is long."""

    def __enter__(self) -> Endless:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def pieces(self) -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 1000


@pytest.mark.parametrize("note_too", [True, False], ids=["its note is written", "not even its note"])
def test_an_export_leaves_room_on_the_disk_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, note_too: bool
) -> None:
    def left(directory: Path) -> SimpleNamespace:
        written = sum(file.stat().st_size for file in directory.glob("*/result*"))
        return SimpleNamespace(free=export_store.MINIMUM_FREE + 5000 - written)

    def write(
        store: export_store.ExportStore,
        job: export_store.Job,
        write: Callable[..., None] = export_store.ExportStore.write,
    ) -> None:
        if job.status == "failed" and not note_too:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(store, job)

    monkeypatch.setattr(export_store.shutil, "disk_usage", left)
    monkeypatch.setattr(export_store.ExportStore, "write", write)
    monkeypatch.setattr(queries, "is_small", lambda *_: True)
    store: Any = SimpleNamespace(ask=lambda *_, **__: Endless())
    made = Exports(ExportsConfig(tmp_path, timedelta(hours=1), 5, 2**30, 2, 4), store)
    principal = Principal("local:ann", 1, "ann")
    job = made.create(principal, Selection(), queries.FORMATS["csv"], "x.csv", {}, "request")
    for thread in threading.enumerate():
        if thread.name == f"export-{job.id}":
            thread.join(20)
    ended = made.get(job.id, principal)
    assert ended
    assert (ended.status, ended.message) == ("failed", "there is no room left on the server")
    assert [file.name for file in tmp_path.glob("*/*")] == ["job.json"]
