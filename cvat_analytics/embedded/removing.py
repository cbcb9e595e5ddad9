"""Take an embedded stack away from its directory: with its data, or without."""

from __future__ import annotations

import os
from collections.abc import Iterator
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
    """Return what of the stack in `directory` goes, and what stays. Raises InputError when there is none: nothing there is a stack's then."""
    found = stack.find(directory)
    directory = found.directory
    removal = Removal(directory)
    for path in sorted(directory.iterdir()):
        if path.name in _MADE_ANEW or (purge and path.name in _LAST):
            removal.removed.append(path)
        elif path.name not in OURS:
            removal.left.append(path)
        elif path.name not in _LAST:
            (removal.data if purge else removal.kept).append(path)
    if purge:
        removal.data += dict.fromkeys(_elsewhere(found))
    return removal


def _elsewhere(found: stack.Stack) -> Iterator[Path]:
    """Yield where in the stack's directory a link leads to data elsewhere, on a larger disk."""
    paths = found.paths
    for data in (paths.clickhouse_data, paths.vector_data, paths.grafana_data, paths.events_api_data):
        for path in (Path(data), *Path(data).parents):
            if path.parent != found.directory and path.is_relative_to(found.directory) and path.is_symlink():
                yield path


def carry_out(removal: Removal) -> list[str]:
    """Stop the stack, take away what is planned, and return the names of the parts that ran."""
    with stack.locked(removal.directory):
        stopped = []
        if (removal.directory / "stack.json").exists():
            stopped = stack.stop(stack.find(removal.directory))
        # what is deepest comes first, and a link before the directory that it is in
        order = sorted(
            [*removal.removed, *removal.data],
            key=lambda path: (path.name in _LAST and _LAST.index(path.name) + 1, -len(path.parts)),
        )
        for path in order:
            _delete(path)
        if removal.directory / "stack.json" in order:
            # made for this very run where there was none
            _delete(removal.directory / "lock")
    with suppress(OSError):  # not empty: what else is in it is not ours
        removal.directory.rmdir()
    return stopped


def _delete(path: Path) -> None:
    """Delete a file, or what is in a directory, wherever a link leads to; and itself, unless a disk is mounted there."""
    if path.is_dir():
        place = path.resolve()
        for above, directories, files in os.walk(place, topdown=False, onerror=_refused):
            for each in (Path(above) / name for name in (*files, *directories)):
                if each.is_symlink() or not each.is_dir():
                    each.unlink()
                else:
                    with suppress(OSError):
                        each.rmdir()
        with suppress(OSError):
            place.rmdir()
    if path.is_symlink() or path.is_file():
        path.unlink()


def _refused(error: OSError) -> None:
    raise error
