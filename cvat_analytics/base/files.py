"""Write a file in one step: whoever reads it sees what was there before, or all of what is new."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError


def write_atomically(path: Path, text: str | bytes, mode: int = 0o600) -> None:
    """Have `text` in the file `path`, which nobody can read at any moment whom `mode` does not let. Raises OSError.

    It is on disk when this returns: a password that is in use and nowhere written would be lost for good.
    """
    # beside the file itself: a link goes on leading to it
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    unfinished = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode() if isinstance(text, str) else text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)


def refuse_unwritable(path: Path) -> None:
    """Raise InputError where a file cannot be written to `path`: asked before the work whose outcome it is to hold.

    A directory that is not there is a name that is misspelt, and is not made.
    """
    directory = path.resolve().parent
    if not directory.is_dir():
        raise InputError(
            Code.OUTPUT_UNWRITABLE,
            f"{path}: there is no directory {directory}. Make it, or give another place",
        )
    if not os.access(directory, os.W_OK | os.X_OK):
        raise InputError(
            Code.OUTPUT_UNWRITABLE, f"{path}: {directory} does not let you write into it. Give another place"
        )


def fsync_directory(directory: Path) -> None:
    """Have the names in `directory` on disk: of files that are new, renamed or removed. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
