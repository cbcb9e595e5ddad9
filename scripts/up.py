"""`cvat-analytics up`: start the embedded stack."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import click

from cvat_analytics.embedded import stack, starting
from scripts import hints
from scripts.target import directory_option
from scripts.terminal import echo


@click.command()
@directory_option
@click.option(
    "--port-base",
    type=int,
    help="First of the ports that the parts listen on; default: free ones, then the same ones again.",
)
@click.option("--detach", is_flag=True, help="Return when the stack is ready, and leave it running.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print addresses, passwords and process ids as one JSON object."
)
def up(directory: Path, port_base: int | None, detach: bool, as_json: bool) -> None:
    """Start the embedded stack, or what is missing of it. No root and no hosts are needed."""
    running = starting.up(directory, port_base, lambda text: echo(text, err=True))
    description = running.describe()
    if as_json:
        echo(json.dumps(description))
    else:
        show(description)
    if detach:
        if not as_json:
            echo(f"Stop it with: {hints.command('down', '--dir', directory)}")
        return
    wait_for_interrupt()
    stack.down(directory)


def show(description: dict[str, dict[str, str]]) -> None:
    """Print where the parts listen."""
    echo(
        f"ClickHouse  {description['clickhouse']['http']}  (database {description['clickhouse']['database']})"
    )
    echo(f"Events to   {description['vector']['http']}")
    echo(f"Dashboards  {description['viewer']['http']}")


def wait_for_interrupt(meanwhile: Callable[[threading.Event], object] = threading.Event.wait) -> None:
    """Return when the user presses Ctrl-C, or when the process is told to end: `meanwhile` ends when the event is set."""
    echo("Running. Ctrl-C stops the stack; the data stays.", err=True)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    meanwhile(stop)
    echo("Stopping ...", err=True)
