"""The script that packs the journal and keeps it within its size, run by a shell as the timer on a host runs it."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

from cvat_analytics.rendering import render
from tests.locks import held, waited_for
from tests.vector.configuration import context
from tests.waiting import until

HOUR = 100_000
"""Bytes of each hour's file in these tests."""
NOW = datetime(2026, 1, 31, 10, 59, 59, tzinfo=UTC)
"""What the clock shows: the hour that is being written does not change meanwhile."""


def journal(root: Path, hours: int, quiet: timedelta = timedelta(hours=1)) -> list[Path]:
    """Write a journal of `hours` files, the last of which is the hour that is being written, and return them."""
    directory = root / "var/lib/vector/journal"
    directory.mkdir(parents=True)
    files = [
        directory / f"events-{NOW - timedelta(hours=hours - 1 - number):%Y-%m-%dT%H}.jsonl"
        for number in range(hours)
    ]
    for file in files:
        write(file, random.Random(file.name).randbytes(HOUR), quiet)
    write(directory / "somebody's notes.txt", bytes(HOUR), quiet)
    return files


def write(file: Path, data: bytes, quiet: timedelta = timedelta(hours=1)) -> None:
    """Write a file to which nothing has come for so long."""
    file.write_bytes(data)
    moment = time.time() - quiet.total_seconds()
    os.utime(file, (moment, moment))


def keep(root: Path, free: str = "1TiB", programs: dict[str, str] | None = None, **settings: Any) -> str:
    """Run the script with `free` bytes left on the volume, and other programs in the place of its own; return what it says."""
    done = ran(root, free, programs, **settings)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def ran(
    root: Path, free: str = "1TiB", programs: dict[str, str] | None = None, **settings: Any
) -> subprocess.CompletedProcess[str]:
    script = render.render("vector/keep-journal.j2", context(root, **settings).variables())
    directory = root / "bin"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    own = {
        "df": f"echo Avail\necho {render_size(free)}",
        "date": f'exec /bin/date -d "{NOW:%Y-%m-%d %H:%M:%S} UTC" "$@"',
    }
    for name, text in (own | (programs or {})).items():
        (directory / name).write_text(f"#!/bin/sh\n{text}\n")
        (directory / name).chmod(0o755)
    return subprocess.run(
        ["sh", "-c", script],
        env={"PATH": f"{directory}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def render_size(text: str) -> int:
    return int(text.removesuffix("TiB")) * 2**40 if text.endswith("TiB") else int(text)


def packed(file: Path) -> Path:
    return file.with_name(f"{file.name}.zst")


def there(files: list[Path]) -> list[bool]:
    return [file.exists() or packed(file).exists() for file in files]


def names(root: Path) -> list[str]:
    return sorted(file.name for file in (root / "var/lib/vector/journal").iterdir())


def content(file: Path) -> bytes:
    """Return what the packed `file` holds, all its frames."""
    return zstd.decompress(packed(file).read_bytes())


def test_the_oldest_hours_go_until_the_rest_fits(tmp_path: Path) -> None:
    files = journal(tmp_path, 14)
    size = sum(file.stat().st_size for file in files[0].parent.iterdir()) + 4096
    log = keep(tmp_path, journal_max_size="1MiB")
    gone = -(-(size - 2**20) // HOUR)
    assert there(files) == [False] * gone + [True] * (14 - gone)
    assert len(log.splitlines()) == gone
    assert f"removing {files[0].name}: the journal has " in log
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


def test_closed_hours_are_packed_and_the_one_that_is_written_never(tmp_path: Path) -> None:
    files = journal(tmp_path, 4)
    letters = files[0].with_name(files[0].name.replace("events", "dead-letters"))
    write(letters, b"letter\n" * 99)
    old = files[0].with_name("events-2026-01-30.jsonl.gz")
    write(old, b"gzip")
    before = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in [*files[:-1], letters]}
    assert keep(tmp_path) == ""
    assert names(tmp_path) == sorted(
        [*(packed(file).name for file in before), files[-1].name, old.name, "somebody's notes.txt"]
    )
    for file, (data, moment) in before.items():
        assert content(file) == data
        assert packed(file).stat().st_mtime_ns == moment
    assert keep(tmp_path) == ""


def test_an_hour_that_may_still_be_open_waits(tmp_path: Path) -> None:
    files = journal(tmp_path, 3, quiet=timedelta(minutes=9))
    assert keep(tmp_path) == ""
    assert [file.exists() for file in files] == [True] * 3
    write(files[0], b"closed\n", quiet=timedelta(minutes=12))
    assert keep(tmp_path) == ""
    assert [file.exists() for file in files] == [False, True, True]


KILLERS = {
    "while it packs": {"zstd": '/usr/bin/zstd "$@" | head -c 1000\ncase $1 in -qc) kill -9 $PPID ;; esac'},
    "before it is in place": {"mv": "kill -9 $PPID"},
    "once it is in place": {"mv": '/bin/mv "$@"\nkill -9 $PPID'},
    "before the plain one goes": {
        "rm": 'case $* in "-f -- events"*) kill -9 $PPID ;; *) exec /bin/rm "$@" ;; esac'
    },
}


@pytest.mark.parametrize("programs", KILLERS.values(), ids=KILLERS)
def test_a_kill_at_any_point_loses_nothing_and_the_next_run_goes_on(
    tmp_path: Path, programs: dict[str, str]
) -> None:
    first, second, _ = journal(tmp_path, 3)
    before = {first: first.read_bytes(), second: second.read_bytes()}
    assert ran(tmp_path, programs=programs).returncode == -9
    assert first.read_bytes() == before[first]
    assert not packed(first).exists() or content(first) == before[first]
    assert keep(tmp_path) == ""
    assert {file: content(file) for file in before} == before
    assert not first.exists()
    assert not [name for name in names(tmp_path) if name.startswith(".")]


def test_what_comes_to_a_packed_hour_later_is_added_to_it(tmp_path: Path) -> None:
    file, _ = journal(tmp_path, 2)
    early, late = file.read_bytes(), b"the clock went back\n"
    keep(tmp_path)
    write(file, late)
    mv = {"mv": '/bin/mv "$@"\nkill -9 $PPID'}
    assert ran(tmp_path, programs=mv).returncode == -9
    assert file.exists()
    for _ in range(2):
        assert keep(tmp_path) == ""
        assert content(file) == early + late
        assert not file.exists()


@pytest.mark.parametrize(
    "program",
    [
        "exit 1",
        '/usr/bin/zstd "$@" | head -c 500',
        '/usr/bin/zstd "$@"\n[ "$1" != -qc ] || echo late >> "$4"',
    ],
    ids=["cannot", "writes half", "the file grows"],
)
def test_an_hour_that_cannot_be_packed_stays(tmp_path: Path, program: str) -> None:
    file, _ = journal(tmp_path, 2)
    before = file.read_bytes()
    done = ran(tmp_path, programs={"zstd": program})
    assert "could not be packed, or changed meanwhile" in done.stderr
    assert file.read_bytes().startswith(before)
    assert not packed(file).exists()
    assert not [name for name in names(tmp_path) if name.startswith(".")]


def test_packing_waits_until_there_is_room_for_it(tmp_path: Path) -> None:
    big, small, _ = journal(tmp_path, 3)
    free = 300 * 2**20
    os.truncate(big, free + 1)
    write_time = time.time() - 3600
    os.utime(big, (write_time, write_time))
    log = keep(tmp_path, free=str(free), vector_buffer_size="260MiB")
    assert log == f"{big.name} stays as it is: packing it may need {free + 1} bytes, {free} are free\n"
    assert (big.exists(), packed(small).exists()) == (True, True)


def test_the_oldest_go_first_whatever_they_are(tmp_path: Path) -> None:
    files = journal(tmp_path, 3)
    day = files[0].with_name("events-2026-01-30.jsonl.gz")
    letters = files[0].with_name("dead-letters-2026-01-31T08.jsonl.zst")
    for file in (day, letters):
        write(file, bytes(HOUR))
    log = keep(tmp_path, free=str(2**30 - 1), vector_buffer_size="1GiB")
    removed = [line.split()[1].rstrip(":") for line in log.splitlines()]
    assert removed == [day.name, letters.name, files[0].name, files[1].name]


def test_a_host_without_the_program_says_so(tmp_path: Path) -> None:
    file, _ = journal(tmp_path, 2)
    tools = ("ls", "sed", "sort", "df", "date", "du", "cut", "tail", "find", "rm", "flock")
    script = render.render("vector/keep-journal.j2", context(tmp_path).variables())
    directory = tmp_path / "few"
    directory.mkdir()
    for name in tools:
        (directory / name).symlink_to(shutil.which(name) or "")
    done = subprocess.run(
        ["/bin/sh", "-c", script], env={"PATH": str(directory)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "zstd is not installed" in done.stderr) == (1, True), done.stderr
    assert file.exists()


def test_it_waits_for_an_erasure_and_leaves_its_file(tmp_path: Path) -> None:
    old, _ = journal(tmp_path, 2)
    written = old.with_name(f".{old.name}.zst.erase")
    written.touch()
    with ThreadPoolExecutor(1) as pool:
        with held(old.parent):
            keeping = pool.submit(keep, tmp_path)
            until(lambda: waited_for(old.parent), "the timer waits for the lock")
            assert written.exists()
            assert not packed(old).exists()
        assert keeping.result() == ""
    assert packed(old).exists()
    assert not written.exists(), "what a kill has left"
