"""Whole originals that come back to beside a Vector whose last line was cut off."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from cvat_analytics.operate.backup.agent import originals
from cvat_analytics.operate.backup.agent.config import Config
from cvat_analytics.operate.backup.agent.report import AgentError

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
