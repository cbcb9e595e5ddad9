"""A file is written in one step, and nobody reads what is private meanwhile."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from cvat_analytics.base.files import write_atomically


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_its_owners_only_even_where_it_was_everybodys(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "passwords"
    write_atomically(file, "first ü")
    assert (file.read_text(encoding="utf-8"), mode(file)) == ("first ü", 0o600)
    file.chmod(0o644)
    write_atomically(file, "second")
    assert (file.read_text(), mode(file)) == ("second", 0o600)
    write_atomically(file, "public", 0o644)
    assert mode(file) == 0o644
    assert list(file.parent.iterdir()) == [file]


def test_a_failure_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "passwords"
    write_atomically(file, "before")

    def full(descriptor: int) -> None:
        assert mode(next(path for path in tmp_path.iterdir() if path != file)) == 0o600
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_atomically(file, "after")
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]


def test_a_link_goes_on_leading_to_its_file(tmp_path: Path) -> None:
    file, link = tmp_path / "elsewhere" / "passwords", tmp_path / "passwords"
    file.parent.mkdir()
    file.write_text("before")
    link.symlink_to(file)
    write_atomically(link, "after")
    assert link.is_symlink()
    assert (file.read_text(), mode(file)) == ("after", 0o600)
