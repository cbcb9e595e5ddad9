"""How files come onto a host: dated when they are written, whole at once, and never with the date of the one before."""

from __future__ import annotations

import getpass
import grp
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cvat_analytics.rendering.files import RenderedFile
from deploys import operations
from deploys.facts import FileState

Write = Callable[..., None]
PATH = "/etc/it's/file name"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes `content` to PATH below `tmp_path` as a deploy does, with programs of `shims` before others."""
    (tmp_path / "etc" / "it's").mkdir(parents=True)

    def run(content: str, shims: Path | None = None) -> None:
        file = RenderedFile(
            PATH, content, getpass.getuser(), grp.getgrgid(os.getgid()).gr_name, "640", secret=True
        )
        command = operations.written([file], f"{tmp_path}/")
        assert content not in str(command)
        text = "\n".join(command.connector_arguments["_stdin"])
        environment = {**os.environ, "PATH": f"{shims}:{os.environ['PATH']}"}
        subprocess.run(["sh", "-c", str(command)], input=text, text=True, check=True, env=environment)

    return run


def shim(directory: Path, program: str, after: str) -> Path:
    """Make a `program` that does what the real one does, and then runs the shell command `after`."""
    directory.mkdir()
    file = directory / program
    file.write_text(f'#!/bin/sh\n{shutil.which(program)} "$@" || exit 1\n{after}\n')
    file.chmod(0o755)
    return directory


def test_a_file_is_dated_with_the_moment_at_which_it_was_written(write: Write, tmp_path: Path) -> None:
    before = time.time() - 2  # a file system's clock may be a little behind
    write("content")
    file = tmp_path / PATH.lstrip("/")
    status = file.stat()
    assert file.read_text() == "content"
    assert before < status.st_mtime < time.time() + 2
    assert status.st_mode & 0o777 == 0o640
    assert list(file.parent.iterdir()) == [file]


def test_two_changes_never_have_the_same_date_though_the_clock_of_the_file_system_stands(
    write: Write, tmp_path: Path
) -> None:
    file = tmp_path / PATH.lstrip("/")
    new = file.with_name(f".{file.name}.new")
    standing = shim(tmp_path / "bin", "tar", f'touch -d @1793000000 "{new}"')
    dates = []
    for content in ("first", "second", "third"):
        write(content, standing)
        assert file.read_text() == content
        dates.append(file.stat().st_mtime)
    # that of the third is another than that of the second, which is all that anybody looks for
    assert dates[0] != dates[1] != dates[2]


def test_who_looks_meanwhile_finds_the_old_file_or_the_new_one(write: Write, tmp_path: Path) -> None:
    file = tmp_path / PATH.lstrip("/")
    write("old")
    seen = tmp_path / "seen"
    with file.open() as held:
        write("later", shim(tmp_path / "bin", "tar", f'cat "{file}" > "{seen}"'))
        assert held.read() == "old"
    assert seen.read_text() == "old"
    assert file.read_text() == "later"


@pytest.mark.parametrize(
    ("effect", "seconds", "expected"),
    [("none", 0, True), ("none", 1793000000, False), ("restart", 0, False)],
)
def test_a_file_that_an_earlier_version_dated_1970_gets_its_time_where_a_service_goes_by_it(
    effect: str, seconds: int, expected: bool
) -> None:
    file = RenderedFile("/etc/file", "content", effect=effect)  # type: ignore[arg-type]
    found = {"/etc/file": FileState("0" * 64, "644", "root", "root", seconds)}
    assert operations.undated([file], found) == (["/etc/file"] if expected else [])
    assert operations.undated([file], {}) == []
