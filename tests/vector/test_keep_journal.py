"""The script that keeps the journal within its size, run by a shell as the timer on a host runs it."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cvat_analytics import render
from tests.vector.conftest import context

HOUR = 100_000
"""Bytes of each hour's file in these tests."""
NOW = datetime(2026, 1, 31, 10, 59, 59, tzinfo=UTC)
"""What the clock shows: the hour that is being written does not change meanwhile."""


def journal(root: Path, hours: int) -> list[Path]:
    """Write a journal of `hours` files, the last of which is the hour that is being written, and return them."""
    directory = root / "var/lib/vector/journal"
    directory.mkdir(parents=True)
    files = [
        directory / f"events-{NOW - timedelta(hours=hours - 1 - number):%Y-%m-%dT%H}.jsonl.gz"
        for number in range(hours)
    ]
    for file in files:
        file.write_bytes(bytes(HOUR))
    (directory / "somebody's notes.txt").write_bytes(bytes(HOUR))
    return files


def keep(root: Path, free: str = "1TiB", **settings: Any) -> str:
    """Run the script with `free` bytes left on the volume; return what it says."""
    script = render.render("vector/keep-journal.j2", context(root, **settings).variables())
    programs = root / "bin"
    programs.mkdir(exist_ok=True)
    for name, text in {
        "df": f"echo Avail\necho {render_size(free)}",
        "date": f'exec /bin/date -d "{NOW:%Y-%m-%d %H:%M:%S} UTC" "$@"',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    done = subprocess.run(
        ["sh", "-c", script],
        env={"PATH": f"{programs}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


def render_size(text: str) -> int:
    return int(text.removesuffix("TiB")) * 2**40 if text.endswith("TiB") else int(text)


def there(files: list[Path]) -> list[bool]:
    return [file.exists() for file in files]


def test_the_oldest_hours_go_until_the_rest_fits(tmp_path: Path) -> None:
    files = journal(tmp_path, 14)
    size = sum(file.stat().st_size for file in files[0].parent.iterdir()) + 4096
    said = keep(tmp_path, journal_max_size="1MiB")
    gone = -(-(size - 2**20) // HOUR)
    assert there(files) == [False] * gone + [True] * (14 - gone)
    assert len(said.splitlines()) == gone
    assert f"removing {files[0].name}: the journal has " in said
    assert keep(tmp_path, journal_max_size="1MiB") == ""


def test_the_journal_gives_way_where_the_disk_fills_but_never_the_hour_that_is_being_written(
    tmp_path: Path,
) -> None:
    files = journal(tmp_path, 5)
    keep(tmp_path, free=str(2**30 - 1), vector_buffer_size="1GiB")
    assert there(files) == [False] * 4 + [True]
    assert (files[0].parent / "somebody's notes.txt").exists()


@pytest.mark.parametrize("hours", [0, 1, 10])
def test_what_fits_is_left_alone(tmp_path: Path, hours: int) -> None:
    files = journal(tmp_path, hours)
    assert keep(tmp_path, free=str(2**30)) == ""
    assert there(files) == [True] * hours


def test_a_host_that_has_no_journal_yet_is_fine(tmp_path: Path) -> None:
    assert keep(tmp_path) == ""
