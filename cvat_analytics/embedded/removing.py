"""Take an embedded stack away from its directory: with its data, or without."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cvat_analytics.embedded import stack
from cvat_analytics.embedded.privacy import OURS

_MADE_ANEW = ("credentials", "etc", "netrc", "run")
"""What `up` writes each time."""
_LAST = ("stack.json", "lock")
"""By which a stack is known: what was cut off is found again."""


@dataclass
class Removal:
    """What is taken away from a directory, and what stays."""

    directory: Path
    removed: list[Path] = field(default_factory=list)
    data: list[Path] = field(default_factory=list)
    """Deleted for good: data and logs, passwords, users, the list of erasures."""
    kept: list[Path] = field(default_factory=list)
    left: list[Path] = field(default_factory=list)
    """What is in the directory and is not the stack's."""

    @property
    def is_nothing(self) -> bool:
        """Return whether there is nothing to take away."""
        return not self.removed and not self.data


def plan(directory: Path, purge: bool) -> Removal:
    """Return what of the stack in `directory` goes, and what stays."""
    directory = directory.absolute()
    removal = Removal(directory)
    for path in sorted(directory.iterdir()) if directory.is_dir() else ():
        if path.name in _MADE_ANEW or (purge and path.name in _LAST):
            removal.removed.append(path)
        elif path.name not in OURS:
            removal.left.append(path)
        elif path.name not in _LAST:
            (removal.data if purge else removal.kept).append(path)
    return removal


def carry_out(removal: Removal) -> list[str]:
    """Stop the stack, take away what is planned, and return the names of the parts that ran."""
    with stack.locked(removal.directory):
        stopped = []
        if (removal.directory / "stack.json").exists():
            stopped = stack.stop(stack.find(removal.directory))
        order = sorted(
            [*removal.removed, *removal.data],
            key=lambda path: _LAST.index(path.name) + 1 if path.name in _LAST else 0,
        )
        for path in order:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    with suppress(OSError):  # not empty: what else is in it is not ours
        removal.directory.rmdir()
    return stopped
