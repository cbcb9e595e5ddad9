"""`cvat-analytics buffer`: get a batch that ClickHouse refuses for good out of the way of everything behind it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import click

from cvat_analytics.base.codes import Code, marked
from cvat_analytics.base.errors import CvatAnalyticsError, InputError
from cvat_analytics.checks import health
from cvat_analytics.connect import remote
from cvat_analytics.connect.remote import ReachedHost
from cvat_analytics.connect.shell import Shell
from cvat_analytics.embedded import starting
from cvat_analytics.operate.buffers import SINKS, Buffers, Kept, Place
from cvat_analytics.rendering.files import UNITS, Paths
from scripts.replay import run
from scripts.target import Target, look_for_room, target_options
from scripts.terminal import confirm, echo

_STARTING = 60.0
"""Seconds for Vector to answer after it was started."""

host_option = click.option("--host", default="", help="Which host, where more than one has a Vector.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print as one JSON object.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group()
def buffer() -> None:
    """Get a batch that ClickHouse refuses for good out of the way, so that everything behind it flows.

    `status` names the sink. What was set aside is kept on Vector's host until it is purged.
    """


@buffer.command("list")
@host_option
@target_options
@json_option
def list_(host: str, target: Target, as_json: bool) -> None:
    """List the buffers that were set aside, and what has become of them."""
    with _buffers(host, target) as (buffers, _):
        kept = buffers.kept()
    if as_json:
        echo(json.dumps([asdict(each) for each in kept], default=lambda moment: moment.isoformat()))
    elif not kept:
        echo("No buffer was set aside.")
    else:
        echo(f"{'name':<30} {'bytes':>14}  state")
        for each in kept:
            echo(f"{each.name:<30} {each.size:>14,}  {each.state}")


@buffer.command("set-aside")
@click.argument("sink", metavar="SINK")
@host_option
@click.option("--dry-run", is_flag=True, help="Change nothing; say what would be done.")
@yes_option
@target_options
def set_aside(sink: str, host: str, dry_run: bool, yes: bool, target: Target) -> None:
    """Set aside what waits in a sink (events or dead_letters) whose batch ClickHouse refuses again and again.

    Vector is stopped for a moment, its buffer moved away and kept, and Vector started: what comes from now on flows at once. The events
    that waited are then inserted again from the journal, each once; a row that ClickHouse refuses by itself becomes a dead letter with
    ClickHouse's words (`dead-letters retry` sends it again once the cause is mended). Dead letters are in no journal: they wait in the
    kept buffer for `buffer put-back`.

    Mend first what can be mended: with a right, a table or a column put right (a deploy does that) the batch goes through by itself.
    A command that was cut off is completed by running it again. Exit code 1 when the journal did not have everything, 2 with nothing
    changed when nothing is refused.
    """
    if sink not in SINKS:
        raise InputError(
            Code.BUFFER_UNKNOWN,
            f"{sink!r}: is no sink with a buffer on disk; those are {' and '.join(SINKS)}. In the others nothing waits for ever",
        )
    begin = "" if dry_run else "the setting aside of a buffer, whose events are inserted again,"
    with _buffers(host, target, begin) as (buffers, place):
        planned, refused = buffers.plan(sink)
        if refused:
            echo(
                f"ClickHouse refuses what {sink} on {place.host} inserts, since {refused.since:%Y-%m-%d %H:%M:%S} UTC, {refused.times:,} times: "
                f"{refused.words or 'HTTP ' + refused.statuses}"
            )
        _say(planned, place)
        if dry_run:
            return
        if not yes:
            confirm("Go on?", abort=True)
        moved = buffers.set_aside(planned)
        echo(f"{moved.name}: is set aside; what comes now flows.")
        if sink != "events":
            echo(
                f"When the cause is mended, its dead letters come back by `{target.hint('buffer', 'put-back', moved.name)}`."
            )
            return
        replay, everything = buffers.replay(moved)
        outcome = run(replay, target, dry=False)
        buffers.inserted(moved, everything=everything and not outcome.unreadable)
        if not everything or outcome.unreadable:
            said = (
                f"The journal does not have everything that waited since {moved.since:%Y-%m-%d %H:%M} UTC. The buffer has: when the cause is mended, "
                f"`{target.hint('buffer', 'put-back', moved.name)}`."
                if moved.since
                else "Not all of the journal could be read."
            )
            echo(marked(said, Code.JOURNAL_INCOMPLETE))
            sys.exit(1)
        echo(
            f"Everything that waited is stored or a dead letter. `{target.hint('buffer', 'purge', moved.name)}` makes room."
        )


@buffer.command("put-back")
@click.argument("name", metavar="NAME")
@host_option
@yes_option
@target_options
def put_back(name: str, host: str, yes: bool, target: Target) -> None:
    """Give a buffer that was set aside back to Vector, when what was refused will be taken.

    The buffer that Vector has in its place then is kept in turn, with whatever waits in it: put it back next, once this one is empty.
    An event that is stored already is stored once.
    """
    with _buffers(host, target) as (buffers, place):
        kept = buffers.named(name)
        if not yes:
            confirm(
                f"Stop Vector on {place.host} for a moment and give it {kept.size:,} bytes of {kept.sink}?",
                abort=True,
            )
        present = buffers.put_back(name)
    echo(f"{name}: Vector delivers it now; see `{target.hint('status')}`.")
    if present:
        echo(f"What Vector had in its place is kept as {present.name}: put it back when this one is empty.")


@buffer.command()
@click.argument("name", metavar="NAME")
@host_option
@yes_option
@target_options
def purge(name: str, host: str, yes: bool, target: Target) -> None:
    """Remove a buffer that was set aside for good."""
    with _buffers(host, target) as (buffers, place):
        kept = buffers.named(name)
        only = "" if kept.state == "inserted" else ", which has what is nowhere else: it was not put back"
        if not yes:
            confirm(f"Remove {kept.size:,} bytes of {kept.sink} on {place.host} for good{only}?", abort=True)
        buffers.purge(name)
    echo(f"{name}: removed.")


def _say(buffer: Kept, place: Place) -> None:
    """Say what will be done."""
    if buffer.state == "moved":
        echo(f"{buffer.name}: is moved already; its events are still to be inserted from the journal.")
        return
    echo(
        f"Vector on {place.host} is stopped for a moment, and its buffer of {buffer.sink} becomes {buffer.name}."
    )
    if buffer.sink == "events":
        since = f"since {buffer.since:%Y-%m-%d %H:%M} UTC" if buffer.since else "at any time"
        echo(f"Then what of the journal arrived {since} and is missing is inserted.")


@contextmanager
def _buffers(host: str, target: Target, begin: str = "") -> Iterator[tuple[Buffers, Place]]:
    """Yield the buffers of the Vector that the options name, and where it is. `begin`: as `look_for_room` has it."""
    if not target.inventory:
        if host:
            raise InputError(
                Code.COMMAND_LINE, "--host is for deployed stacks: an embedded one has one Vector"
            )
        running = target.embedded()
        look_for_room(running.volumes(), begin)
        here = Place(
            str(running.directory),
            Shell("this machine", {}, None),
            running.paths.vector_data,
            stop=lambda: running.processes.stop("vector"),
            start=lambda: starting.start(running, ["vector"]),
        )
        yield Buffers(running.access(), here), here
        return
    with remote.reach_hosts(target.inventory) as (described, access, hosts):
        look_for_room(access.volumes(), begin)
        names = described.topology.groups["vector"]
        if host and host not in names:
            raise InputError(Code.BUFFER_UNKNOWN, f"--host {host}: has no Vector; {', '.join(names)} have")
        if not host and len(names) > 1:
            raise InputError(
                Code.BUFFER_UNKNOWN,
                f"more than one host has a Vector: give --host, one of {', '.join(names)}",
            )
        name = host or names[0]
        unit = UNITS["vector"]
        there = Place(
            name,
            hosts[name].shell,
            Paths().vector_data,
            stop=lambda: hosts[name].shell.run(f"systemctl stop {unit}"),
            start=lambda: _start(hosts[name], unit),
        )
        yield Buffers(access, there), there


def _start(host: ReachedHost, unit: str) -> None:
    """Start Vector on a host and wait until it answers. Raises CvatAnalyticsError when it does not."""
    host.shell.run(f"systemctl reset-failed {unit} 2>/dev/null; systemctl start {unit}")
    deadline = time.monotonic() + _STARTING
    while (vector := health.of(host.access, "vector")).state != "running":
        if time.monotonic() > deadline:
            raise CvatAnalyticsError(
                Code.BUFFER_HALF_DONE,
                f"Vector does not answer {_STARTING:.0f} s after it was started: {vector.problem}. Run the same command again then",
            )
        time.sleep(0.5)
