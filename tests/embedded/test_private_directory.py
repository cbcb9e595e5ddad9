"""A stack's directory is its owner's alone, whatever the umask is, also one that an earlier version has left open."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from cvat_analytics.credentials import users
from cvat_analytics.embedded import privacy, stack
from cvat_analytics.operate import erasure_list, person_record


def open_to_others(directory: Path) -> list[Path]:
    """Return what in `directory`, and the directory itself, others may do anything with; of a link that says nothing."""
    return [
        path
        for path in (directory, *directory.rglob("*"))
        if not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]


def as_before(directory: Path) -> None:
    """Make what a version before left: readable by everybody."""
    directory.mkdir(mode=0o755)
    for name in (
        "etc/grafana/x.ini",
        "var/lib/clickhouse/store/a/data.bin",
        "credentials/v/p",
        "run/vector.json",
    ):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text("")
    for name in ("stack.json", users.FILE_NAME, erasure_list.FILE_NAME, person_record.FILE):
        (directory / name).write_text("{}")
    (directory / "var" / "link").symlink_to("/etc")
    for path in (directory, *directory.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o777 if path.is_dir() else 0o666)


def test_an_earlier_versions_directory_is_closed_and_that_is_said(tmp_path: Path) -> None:
    directory = tmp_path / "stack"
    as_before(directory)
    count = len(open_to_others(directory))
    mode = os.stat("/etc").st_mode  # noqa: PTH116 - what the link leads to
    told: list[str] = []
    privacy.tighten(directory, told.append)
    assert open_to_others(directory) == []
    assert os.stat("/etc").st_mode == mode  # noqa: PTH116
    assert told == [
        f"{directory}: could be read by other users of this machine. It is yours alone now ({count} files and directories)"
    ]
    privacy.tighten(directory, told.append)
    assert len(told) == 1, "there is nothing to say of one that is closed"


def test_of_a_directory_with_other_things_in_it_only_the_stack_is_closed(tmp_path: Path) -> None:
    directory = tmp_path / "stack"
    as_before(directory)
    (directory / "others").mkdir()
    (directory / "others").chmod(0o755)
    told: list[str] = []
    privacy.tighten(directory, told.append)
    assert open_to_others(directory) == [directory, directory / "others"]
    assert "What is the stack's in it is yours alone now" in told[0]


def test_what_is_made_for_a_stack_is_private_whatever_the_umask_is(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    before = os.umask(0)
    request.addfinalizer(lambda: os.umask(before))
    with stack.locked(tmp_path / "stack"):
        (tmp_path / "stack" / "etc").mkdir()
        (tmp_path / "stack" / "etc" / "file").write_text("")
    assert open_to_others(tmp_path / "stack") == []
    assert os.umask(0) == 0, "the process is as it was"
