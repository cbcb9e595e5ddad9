"""`cvat-analytics down`: stop the embedded stack."""

from __future__ import annotations

from pathlib import Path

import click

from cvat_analytics.embedded import stack
from scripts.target import directory_option
from scripts.terminal import echo


@click.command()
@directory_option
def down(directory: Path) -> None:
    """Stop the embedded stack. The data stays; `up` brings it back."""
    stopped = stack.down(directory)
    echo(f"Stopped: {', '.join(stopped)}" if stopped else "Nothing was running.")
