"""The options `--dir` and `--inventory`, by which a command is told which stack it is about."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

DEFAULT_DIRECTORY = Path(".cvat-analytics")


def directory_option[F: Callable[..., Any]](function: F) -> F:
    """Add `--dir`, the directory of an embedded stack."""
    return click.option(
        "--dir",
        "directory",
        type=click.Path(path_type=Path, file_okay=False),
        default=DEFAULT_DIRECTORY,
        show_default=True,
        help="Directory of the embedded stack.",
    )(function)


def inventory_option[F: Callable[..., Any]](function: F) -> F:
    """Add `--inventory`, the file that names the hosts."""
    return click.option(
        "--inventory",
        type=click.Path(path_type=Path, dir_okay=False),
        default=Path("inventory/hosts.py"),
        show_default=True,
        help="Inventory file; its group_data/ holds the settings.",
    )(function)
