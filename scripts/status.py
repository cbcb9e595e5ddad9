"""`cvat-analytics status`: say what of the embedded stack runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from cvat_analytics.embedded import stack
from scripts.target import directory_option


@click.command()
@directory_option
@click.option("--json", "as_json", is_flag=True, help="Print as one JSON object.")
def status(directory: Path, as_json: bool) -> None:
    """Say for each part of the embedded stack whether it runs. Exit code 1 when one does not."""
    states = stack.status(directory)
    if as_json:
        click.echo(json.dumps(states))
    else:
        logs = stack.find(directory).processes
        for name, state in states.items():
            click.echo(f"{name:<11} {state}" + ("" if state == "running" else f"  (log: {logs.log(name)})"))
    sys.exit(0 if set(states.values()) == {"running"} else 1)
