"""The way from the options `--dir` or `--inventory` to a running stack, embedded or deployed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import click

from cvat_analytics.connect import remote
from cvat_analytics.connect.access import Access
from cvat_analytics.embedded import stack
from scripts.target import DEFAULT_DIRECTORY


def target_options[F: Callable[..., Any]](function: F) -> F:
    """Add `--dir` and `--inventory`, of which one names the stack that the command is about."""
    embedded = click.option(
        "--dir",
        "directory",
        type=click.Path(path_type=Path, file_okay=False),
        callback=_only_one,
        help=f"Directory of an embedded stack.  [default: {DEFAULT_DIRECTORY}]",
    )
    deployed = click.option(
        "--inventory",
        type=click.Path(path_type=Path, dir_okay=False),
        callback=_only_one,
        help="Inventory file of a deployed stack; it is reached over its hosts' SSH.",
    )
    return embedded(deployed(function))


def _only_one(context: click.Context, option: click.Parameter, value: Path | None) -> Path | None:
    """Return the option's value; refuse the second of the two that is given."""
    other = "inventory" if option.name == "directory" else "directory"
    if value and context.params.get(other):
        raise click.UsageError("give either --dir or --inventory, not both")
    return value


def reach(directory: Path | None, inventory: Path | None) -> AbstractContextManager[Access]:
    """Return the way to the stack that the options name."""
    if inventory:
        return remote.reach(inventory)
    return nullcontext(stack.find(directory or DEFAULT_DIRECTORY).access())
