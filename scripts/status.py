"""`cvat-analytics status`: say how a stack is."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from cvat_analytics import remote
from cvat_analytics.checks import status as library
from cvat_analytics.checks.status import RECENT_MINUTES, Flow, Port, Report
from cvat_analytics.embedded import stack
from scripts.reach import target_options
from scripts.target import DEFAULT_DIRECTORY


@click.command()
@target_options
@click.option("--json", "as_json", is_flag=True, help="Print as one JSON object.")
def status(directory: Path | None, inventory: Path | None, as_json: bool) -> None:
    """Say which parts of a stack do their work and why not, what arrives at which port, what waits, and what was refused.

    Exit code 1 when a part does not do its work. The JSON object has each part's state by its name, and more.
    """
    logs = None
    if inventory:
        with remote.reach_hosts(inventory) as (described, access, hosts):
            report = library.of_hosts(described, access, hosts)
    else:
        running = stack.find(directory or DEFAULT_DIRECTORY)
        report, logs = library.of_embedded(running), running.processes
    if as_json:
        click.echo(json.dumps(_plain(report), default=lambda moment: moment.isoformat()))
    else:
        for part in report.parts:
            log = f"  (log: {logs.log(part.name)})" if logs and part.state != "running" else ""
            click.echo(
                f"{part.name:<11} {part.state:<14} {part.version:<18} {part.address:<30} {part.host}{log}".rstrip()
            )
            if part.problem:
                click.echo(f"            {part.problem}")
        if report.flow:
            _show(report.flow)
        for problem in report.problems:
            click.echo(problem, err=True)
    sys.exit(0 if report.fine else 1)


def _plain(report: Report) -> dict[str, object]:
    return {
        **report.states,
        "parts": [asdict(part) for part in report.parts],
        "pipeline": asdict(report.flow) if report.flow else None,
        "problems": list(report.problems),
    }


def _show(flow: Flow) -> None:
    last = f"the last one {_ago(flow.last_event)}" if flow.last_event else "none in 30 days"
    delay = (
        f"; readable after {flow.delay_seconds[0]:.1f} s, 95% within {flow.delay_seconds[1]:.1f} s"
        if flow.delay_seconds
        else ""
    )
    click.echo(f"\nevents      {flow.recent_events:,} in the last {RECENT_MINUTES} minutes, {last}{delay}")
    for port in flow.ports:
        click.echo(f"port {port.port:<6} {_port(port)}")
    for buffer in flow.buffers:
        share = 100 * buffer.size / buffer.capacity if buffer.capacity else 0
        click.echo(
            f"buffer      {buffer.name}: {buffer.events:,} events wait, {share:.1f}% of {_size(buffer.capacity)} on {buffer.host}"
        )
    if flow.journal_bytes is not None:
        click.echo(f"journal     {_size(flow.journal_bytes)}")
    more = "  (cvat-analytics dead-letters list)" if flow.dead_letters else ""
    click.echo(f"refused     {flow.dead_letters:,} dead letters in the last day{more}")
    if flow.measured_at is None or (datetime.now(UTC) - flow.measured_at).total_seconds() > 120:
        when = f"since {_ago(flow.measured_at)}" if flow.measured_at else "yet"
        click.echo(
            f"Vector has not said anything of itself {when}: ports, buffers and journal are not known."
        )


def _port(port: Port) -> str:
    received = f"{port.recent_requests:,} requests in the last {RECENT_MINUTES} minutes, "
    received += f"the last one {_ago(port.last)}" if port.last else "none in 30 days"
    if not port.extra:
        return received
    if port.recent_requests:
        return f"{received}: the old port still receives; a CVAT service has not been changed yet"
    return f"{received}: take it out of 'vector_extra_ports' when every CVAT service has been changed"


def _ago(moment: datetime) -> str:
    seconds = max(0, int((datetime.now(UTC) - moment).total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} s ago"


def _size(size: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
