"""Commands as they are named in what is printed: so that they can be pasted into the shell where this one was typed."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

NAME = "cvat-analytics"


def program() -> str:
    """Return what starts this program: its name where PATH leads to it, otherwise as it was started now."""
    started = Path(sys.argv[0])
    if started.name != NAME:
        return NAME  # within another program, such as a test's
    on_path = shutil.which(NAME)
    if on_path and Path(on_path).resolve() == started.resolve():
        return NAME
    return shlex.quote(sys.argv[0])


def command(*words: object) -> str:
    """Return a command of this program for pasting, as in `command("down", "--dir", directory)`."""
    return f"{program()} {shlex.join(map(str, words))}"
