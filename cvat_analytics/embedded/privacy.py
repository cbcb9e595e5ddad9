"""Keep a stack's directory to whoever started it: passwords, people's names and their work are in it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.credentials import users
from cvat_analytics.operate import erasure_list, person_record

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
OURS = frozenset(
    (
        "credentials", "etc", "lock", "netrc", "run", "secrets.json", "stack.json", "var", users.FILE_NAME, erasure_list.FILE_NAME,
        person_record.FILE,
    )
)  # fmt: skip
"""What a stack has in its directory. Other things may be there too."""


@contextmanager
def private() -> Iterator[None]:
    """Let what is made within the block be its owner's alone, whatever the umask is."""
    before = os.umask(_OTHERS)
    try:
        yield
    finally:
        os.umask(before)


def tighten(directory: Path, tell: Callable[[str], object]) -> None:
    """Take from others what they may do in the stack in `directory`, and say so: versions before this one left it open.

    A directory that has more in it than the stack stays as open as it is, and the stack's own in it is closed.
    Raises InputError where somebody else owns it.
    """
    try:
        names = {path.name for path in directory.iterdir()}
        closed = sum(_close(directory / name) for name in sorted(names & OURS))
        alone = names <= OURS
        if alone:
            closed += _take_away(directory)
    except PermissionError as error:
        raise InputError(
            Code.DIRECTORY_UNUSABLE,
            f"{error.filename}: is somebody else's. Run this as its owner, or choose another directory with --dir",
        ) from None
    if closed:
        whose = "What is the stack's in it"
        tell(
            f"{directory}: could be read by other users of this machine. "
            f"{'It' if alone else whose} is yours alone now ({closed:,} files and directories)"
        )


def _close(path: Path) -> int:
    """Close what is below `path`, and at last itself: whoever is interrupted begins anew. Return how much was open."""
    if path.is_symlink() or not path.lstat().st_mode & _OTHERS:
        return 0
    below = path.iterdir() if path.is_dir() else ()
    return sum(map(_close, below)) + _take_away(path)


def _take_away(path: Path) -> int:
    mode = stat.S_IMODE(path.lstat().st_mode)
    if not mode & _OTHERS:
        return 0
    path.chmod(mode & ~_OTHERS)
    return 1
