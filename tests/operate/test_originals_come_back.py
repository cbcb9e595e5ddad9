"""Whole originals that come back to beside a Vector whose last line was cut off."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError, UnreachableError
from cvat_analytics.operate.backup import restore
from cvat_analytics.operate.backup.agent import creating, keeping, originals, putting
from cvat_analytics.operate.backup.agent.config import Config
from cvat_analytics.operate.backup.agent.report import AgentError
from cvat_analytics.operate.backup.agent.restic import Restic

DIGESTS = ["a" * 64, "b" * 64]
LINES = [f'{{"sha256": "{digest}", "original": "…"}}\n'.encode() for digest in DIGESTS]
NAME = "dead-letters-2026-11-30T01.jsonl"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    for name in ("journal", "place", "state"):
        (tmp_path / name).mkdir()
    (tmp_path / "place" / NAME).write_bytes(LINES[0])
    return Config("view", str(tmp_path / "state"), "", "", journal=str(tmp_path / "journal"))


def add(config: Config) -> int:
    return originals.add(config, Path(config.journal).parent / "place", DIGESTS)


@pytest.mark.parametrize(
    "before", [b'{"sha256": "0', LINES[1] + LINES[0][:-9]], ids=["half a digest", "its own half"]
)
def test_after_half_a_line_they_have_a_line_of_their_own(config: Config, before: bytes) -> None:
    file = Path(config.journal) / NAME
    file.write_bytes(before)
    assert (add(config), add(config)) == (1, 0)
    assert file.read_bytes() == before + b"\n" + LINES[0]


def test_what_half_a_line_has_taken_into_itself_counts_as_lost(config: Config) -> None:
    (Path(config.journal) / NAME).write_bytes(LINES[1][:-9] + LINES[0])
    assert (add(config), add(config)) == (1, 0)


def test_on_a_full_disk_no_half_line_is_left(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    file = Path(config.journal) / NAME
    file.write_bytes(LINES[1])

    def opened(number: int, *arguments: Any, **more: Any) -> Any:
        stream = os.fdopen(number, *arguments, **more)

        class Full:
            def __enter__(self) -> Full:
                return self

            def __exit__(self, *error: object) -> None:
                stream.close()

            def write(self, line: bytes) -> int:
                return int(stream.write(line[:5]))

        return Full()

    with monkeypatch.context() as full:
        full.setattr(originals, "open", opened, raising=False)
        with pytest.raises(AgentError, match="bytes could be written"):
            add(config)
    assert file.read_bytes() == LINES[1]
    assert add(config) == 1


@pytest.mark.parametrize("is_away", [False, True], ids=["a full disk", "the host is away"])
def test_what_was_fetched_goes_also_where_it_cannot_be_put_back(is_away: bool) -> None:
    asked: list[str] = []

    def agent(arguments: Sequence[str], tell: object) -> dict[str, Any]:
        asked.append(arguments[0])
        if arguments[0] == "originals":
            raise CvatAnalyticsError(Code.BACKUP_ROOM, "it is full")
        if arguments[0] == "drop" and is_away:
            raise UnreachableError(Code.CONNECTION_LOST, "it is away")
        return {"places": {"view": "/fetched/0"}}

    answer = SimpleNamespace(query=lambda query: SimpleNamespace(result_rows=[["a"]]))
    reached: Any = SimpleNamespace(
        access=SimpleNamespace(database="cvat", client=lambda: answer), beside_vectors={"view": agent}
    )
    manifest = {"name": "one", "host": "store", "parts": {"journal of view": {}}}
    with pytest.raises(CvatAnalyticsError, match="it is full"):
        restore._originals(reached, manifest, lambda said: None)
    assert asked == ["fetch", "originals", "drop"]


def test_what_a_restore_that_was_killed_has_fetched_goes_with_the_next_backup(config: Config) -> None:
    (fetched := Path(config.state) / "fetched").mkdir()
    putting.begun(config, "one")
    creating.clean(config)
    assert fetched.exists()
    putting.ended(config)
    creating.clean(config)
    assert not fetched.exists()
    with pytest.raises(AgentError, match="is not there any more, as a backup began here"):
        originals.add(config, fetched, DIGESTS)


def test_a_journal_whose_disk_is_not_mounted_is_an_error_where_it_is_all_there_is(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("open", "unlock"):
        monkeypatch.setattr(Restic, name, lambda self, **more: None)
    monkeypatch.setattr(Restic, "snapshots", lambda self, *tags: [])
    Path(config.journal).rmdir()
    with pytest.raises(AgentError, match="Is its disk mounted"):
        creating.create(config, Restic.__new__(Restic), datetime.now(UTC), keeping.Awaited(datetime.now(UTC)))
