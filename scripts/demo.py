"""`cvat-analytics demo`: the whole stack with an annotation team at work in it."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from cvat_analytics import events
from cvat_analytics.embedded import stack
from scripts.smoke import report
from scripts.target import directory_option
from scripts.up import wait_for_interrupt


@click.command()
@directory_option
@click.option(
    "--port-base", type=int, help="First of the ports that the parts listen on; default: free ones."
)
@click.option(
    "--once",
    is_flag=True,
    help="Stop when everything has been shown to work, instead of running until Ctrl-C.",
)
def demo(directory: Path, port_base: int | None, once: bool) -> None:
    """Start the embedded stack, send an annotation session as CVAT would, test it, and say where to look."""
    begin = time.monotonic()
    click.echo("Starting ClickHouse, Vector and the dashboards ...")
    running = stack.up(directory, port_base)
    access = running.access()
    click.echo(f"  ready after {time.monotonic() - begin:.1f} s")
    now = datetime.now(UTC)
    session = list(
        events.make_session(
            seed=int(now.timestamp()), start=now - timedelta(hours=2), duration=timedelta(hours=2)
        )
    )
    click.echo(f"Sending {len(session)} events of an annotation team with CVAT's own client ...")
    events.send(session, *access.vector)
    click.echo("Smoke test:")
    failed = report(access)
    _say_where_to_look(running, directory)
    if once or failed:
        stack.down(directory)
        sys.exit(1 if failed else 0)
    wait_for_interrupt()
    stack.down(directory)


def _say_where_to_look(running: stack.Stack, directory: Path) -> None:
    description = running.describe()
    clickhouse, vector = description["clickhouse"], description["vector"]["http"]
    click.echo(f"""
Look at the dashboards:  {description["viewer"]["http"]}
Send an event:           curl -sS {vector}/ -H 'Content-Type: application/json' \\
                           -d '[{{"scope": "load:cvat", "source": "client", "timestamp": "'$(date +%s)'", "user_id": 1}}]'
Query the events:        curl -sS '{clickhouse["http"]}/?database={clickhouse["database"]}' --netrc-file {directory}/netrc \\
                           --data-binary 'SELECT scope, count() FROM events GROUP BY scope ORDER BY 2 DESC'
Point a CVAT server at it: DJANGO_LOG_SERVER_HOST={vector.split("//")[1].split(":")[0]} DJANGO_LOG_SERVER_PORT={vector.rsplit(":", 1)[1]}
""")
