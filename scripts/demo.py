"""`cvat-analytics demo`: the whole stack with an annotation team at work in it."""

from __future__ import annotations

import shlex
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import batched
from pathlib import Path

import click

from cvat_analytics.connect.access import Access
from cvat_analytics.demo import DAYS, history, live
from cvat_analytics.embedded import stack, starting
from cvat_analytics.pipeline import events
from cvat_analytics.store import working_time_report
from scripts.smoke import report
from scripts.target import directory_option
from scripts.terminal import echo
from scripts.up import wait_for_interrupt

_SEED = 2026
_BATCH, _SENDERS = 100, 2
"""The history is sent in larger requests than CVAT's, by two senders, so that weeks take seconds."""
_LIVE_STEP = 2.0
"""Seconds between two requests of a CVAT server that has something to send."""
_BROKEN = (
    {"scope": "draw:object", "source": "client", "timestamp": "yesterday", "user_id": 3, "payload": "{}"},
    {"scope": "save:job", "source": "client", "timestamp": "", "user_id": 9, "payload": "{}"},
    {"scope": "", "source": "client", "timestamp": "1793000000.5", "user_id": 9, "payload": "{}"},
)
"""What a broken producer might send: it becomes dead letters, which the dashboard Pipeline shows."""


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
@click.option("--live", is_flag=True, help="Let the team go on working: events keep arriving until Ctrl-C.")
def demo(directory: Path, port_base: int | None, once: bool, live: bool) -> None:
    """Start the embedded stack, send four weeks of an annotation team as CVAT would, test it, and say where to look."""
    begin = time.monotonic()
    echo("Starting ClickHouse, Vector and the dashboards ...")
    running = starting.up(directory, port_base, lambda text: echo(text, err=True))
    access = running.access()
    echo(f"  ready after {time.monotonic() - begin:.1f} s")
    now = datetime.now(UTC)
    send_history(access, now)
    echo("Smoke test:")
    failed = report(access)
    if not failed:
        # the smoke test has seen its own event arrive, which was sent after all others
        for _ in working_time_report.refresh(access):
            pass
    _say_where_to_look(running, directory)
    if once or failed:
        stack.down(directory)
        sys.exit(1 if failed else 0)
    try:
        if live:
            echo("The team goes on working.")
            wait_for_interrupt(lambda stop: go_on(stop, access, now))
        else:
            wait_for_interrupt()
    finally:
        stack.down(directory)


def send_history(access: Access, now: datetime) -> None:
    """Send what the team did in the weeks before `now`, and a few broken events.

    Raises UnreachableError when Vector does not accept them.
    """
    past = list(history(seed=_SEED, end=now))
    people = len({event["user_id"] for event in past})
    echo(f"Sending {len(past):,} events of {people} people in {DAYS} days as CVAT's server does ...")
    begin = time.monotonic()

    def send(part: Iterable[events.Event]) -> None:
        events.send(part, *access.vector.address, batch_size=_BATCH)

    with ThreadPoolExecutor(_SENDERS) as senders:
        # a list: a problem of a sender must come out here
        list(senders.map(send, batched(past, _BATCH)))
    events.send(_BROKEN, *access.vector.address)
    echo(f"  sent in {time.monotonic() - begin:.1f} s, and {len(_BROKEN)} broken ones for the dead letters")


def go_on(stop: threading.Event, access: Access, since: datetime) -> None:
    """Send what the team does as time goes by, until `stop` is set."""
    waiting: list[events.Event] = []
    for event in live(seed=_SEED, start=since):
        while float(event["timestamp"]) > time.time():
            if waiting:
                events.send(waiting, *access.vector.address)
                waiting = []
            if stop.wait(_LIVE_STEP):
                return
        waiting.append(event)


def _say_where_to_look(running: stack.Stack, directory: Path) -> None:
    description = running.describe()
    clickhouse, vector = description["clickhouse"], description["vector"]["http"]
    echo(f"""
Look at the dashboards:  {description["viewer"]["http"]}
Send an event:           curl -sS {vector}/ -H 'Content-Type: application/json' \\
                           -d '[{{"scope": "load:cvat", "source": "client", "timestamp": "'$(date +%s)'", "user_id": 1}}]'
Query the events:        curl -sS '{clickhouse["http"]}/?database={clickhouse["database"]}' --netrc-file {shlex.quote(str(directory / "netrc"))} \\
                           --data-binary 'SELECT scope, count() FROM events GROUP BY scope ORDER BY 2 DESC'
Point a CVAT server at it: DJANGO_LOG_SERVER_HOST={vector.split("//")[1].split(":")[0]} DJANGO_LOG_SERVER_PORT={vector.rsplit(":", 1)[1]}
""")
