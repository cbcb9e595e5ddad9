"""The options `--dir` and `--inventory`, by which a command is told which stack it is about, and the way to that stack.

Every command imports this module: it loads the rest of the library only where a stack is really reached.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cvat_analytics.connect.volumes import refuse_without_room
from cvat_analytics.embedded import stack
from scripts import hints
from scripts.terminal import echo

if TYPE_CHECKING:
    from cvat_analytics.connect.access import Access
    from cvat_analytics.connect.volumes import Volume

DEFAULT_DIRECTORY = Path(".cvat-analytics")


@dataclass(frozen=True)
class Target:
    """The stack that a command is about: a deployed one with an `inventory`, otherwise an embedded one."""

    directory: Path | None = None
    inventory: Path | None = None

    @property
    def is_given(self) -> bool:
        """Return whether an option names it, so that it is not merely the default."""
        return bool(self.directory or self.inventory)

    @property
    def options(self) -> tuple[str, str]:
        """Return the option that names it, for another command."""
        if self.inventory:
            return "--inventory", str(self.inventory)
        return "--dir", str(self.directory or DEFAULT_DIRECTORY)

    def hint(self, *words: object) -> str:
        """Return a command about this stack for pasting."""
        return hints.command(*words, *self.options)

    def embedded(self) -> stack.Stack:
        """Return the embedded stack. Raises InputError when there is none."""
        return stack.find(self.directory or DEFAULT_DIRECTORY)

    @contextmanager
    def reach(self, *, partly: bool = False, begin: str = "") -> Iterator[Access]:
        """Yield the way to the running stack, and say first when a disk of it is nearly full.

        Raises InputError when there is none, UnreachableHostError when a host is away. `partly`: as `remote.reach` has it.
        `begin`: as `look_for_room` has it.
        """
        if self.inventory:
            from cvat_analytics.connect import remote

            with remote.reach(self.inventory, partly=partly) as access:
                look_for_room(access.volumes(), begin)
                yield access
        else:
            running = self.embedded()
            look_for_room(running.volumes(), begin)
            yield running.access()


def look_for_room(volumes: Sequence[Volume], begin: str = "") -> None:
    """Say of each disk on which little is free that it is so: of much that fails then it is the cause.

    `begin`: what is to begin that needs room. Raises InputError when there is not enough for it.
    """
    if begin:
        refuse_without_room(volumes, begin)
    for volume in volumes:
        if volume.is_little:
            echo(hints.pasteable(str(volume)), err=True)


def target_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add `--dir` and `--inventory`, of which one names the stack that the command is about; it gets a `target`."""

    @functools.wraps(function)
    def command(*arguments: Any, directory: Path | None, inventory: Path | None, **options: Any) -> None:
        if directory and inventory:
            raise click.UsageError("give either --dir or --inventory, not both")
        function(*arguments, target=_remembered(Target(directory, inventory)), **options)

    embedded = click.option(
        "--dir",
        "directory",
        type=click.Path(path_type=Path, file_okay=False),
        help=f"Directory of an embedded stack.  [default: {DEFAULT_DIRECTORY}]",
    )
    deployed = click.option(
        "--inventory",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Inventory file of a deployed stack; it is reached over its hosts' SSH.",
    )
    return embedded(deployed(command))


def directory_option[F: Callable[..., Any]](function: F) -> F:
    """Add `--dir`, the directory of an embedded stack."""
    return click.option(
        "--dir",
        "directory",
        type=click.Path(path_type=Path, file_okay=False),
        default=DEFAULT_DIRECTORY,
        show_default=True,
        callback=lambda _, __, value: _remembered(Target(directory=value)).directory,
        help="Directory of the embedded stack.",
    )(function)


def inventory_option[F: Callable[..., Any]](function: F) -> F:
    """Add `--inventory`, the file that names the hosts."""
    return click.option(
        "--inventory",
        type=click.Path(path_type=Path, dir_okay=False),
        default=Path("inventory/hosts.py"),
        show_default=True,
        callback=lambda _, __, value: _remembered(Target(inventory=value)).inventory,
        help="Inventory file; its group_data/ holds the settings.",
    )(function)


def _remembered(target: Target) -> Target:
    """Return `target`, kept for hints in the message of an error, which does not know it (cli.py)."""
    click.get_current_context().find_root().obj = target
    return target
