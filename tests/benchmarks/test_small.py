"""The benchmark of a small host: its control group holds what is started in it, and its people do what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.report import BenchmarkError
from benchmarks.small.group import MEMORY, Cage, cage


def test_what_takes_too_much_memory_is_killed_in_the_group_and_counted() -> None:
    if os.getuid():
        pytest.skip("a control group is root's to make")
    with cage() as group:
        assert group.kills == 0
        greedy = [sys.executable, "-c", f"bytearray(b'x') * {MEMORY + 2**28}"]
        assert subprocess.run(group.inside(greedy), check=False, timeout=120).returncode != 0
        assert group.kills == 1
    assert not group.memory.exists()


def test_without_the_right_to_make_a_group_it_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("benchmarks.small.group._ROOT", tmp_path / "not mounted")
    with pytest.raises(BenchmarkError, match="run this section as root"), cage():
        pass


@pytest.mark.parametrize(
    ("stat", "bytes_"),
    [("anon 7\nfile 99\n", 7), ("cache 99\ntotal_cache 99\ntotal_rss 5\n", 5)],
    ids=["version 2", "version 1"],
)
def test_memory_is_what_is_not_page_cache(tmp_path: Path, stat: str, bytes_: int) -> None:
    (tmp_path / "memory.stat").write_text(stat)
    group = Cage(tmp_path, tmp_path)
    group.look(NOTHING_RUNS)  # type: ignore[arg-type]
    assert group.used == bytes_


class _Processes:
    def pid(self, _: str) -> None:
        return None


class _Nothing:
    processes = _Processes()


NOTHING_RUNS: object = _Nothing()
