"""`cvat-analytics status`: say how a stack is."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cvat_analytics.base.codes import Code, marked
from cvat_analytics.base.errors import InputError
from cvat_analytics.base.files import refuse_unwritable, write_atomically
from cvat_analytics.checks import part_codes, said
from cvat_analytics.checks import status as library
from cvat_analytics.checks.backups import Backups
from cvat_analytics.checks.cvat_refusals import CvatRefusal
from cvat_analytics.checks.doctor import of_status
from cvat_analytics.checks.flow import RECENT_MINUTES, Buffer, Flow, Port, Refusal, Sources
from cvat_analytics.checks.status import Report
from cvat_analytics.checks.two_cvats import TwoCvats
from cvat_analytics.connect.clocks import warnings
from cvat_analytics.embedded import status as embedded
from scripts import hints
from scripts.target import Target, target_options
from scripts.terminal import echo, one_line

if TYPE_CHECKING:
    from cvat_analytics.embedded.processes import Processes


@click.command()
@target_options
@click.option("--json", "as_json", is_flag=True, help="Print as one JSON object.")
@click.option(
    "--prometheus",
    "metrics",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Write it as metrics into this file, in one step, for node_exporter's textfile collector; `-` prints them.",
)
def status(target: Target, as_json: bool, metrics: Path | None) -> None:
    """Say which parts of a stack do their work and why not, what arrives at which port, what waits, and what was refused.

    Exit code 1 when a part does not do its work, ClickHouse refuses what a sink of Vector's wants to insert, or cannot be asked for
    the pipeline; 3 when a host cannot be reached: its parts are `not asked`, the others are shown. The JSON object has each part's state by its name, and more.
    """
    if metrics and as_json:
        raise click.UsageError("give either --json or --prometheus, not both")
    if metrics and str(metrics) != "-":
        refuse_unwritable(metrics)
    logs = None
    if target.inventory:
        from cvat_analytics.connect import (
            remote,
        )  # with the settings, which an embedded stack that is down does without

        with remote.reach_hosts(target.inventory, partly=True) as (described, access, hosts):
            report = library.of_hosts(described, access, hosts)
    else:
        running = target.embedded()
        report, logs = embedded.report(running), running.processes
    if metrics:
        _write(metrics, report)
    elif as_json:
        echo(json.dumps(_plain(report, logs), default=lambda moment: moment.isoformat()))
    else:
        for volume in report.volumes:
            if volume.is_little:
                echo(
                    marked(hints.pasteable(str(volume)), Code.DISK_FULL if volume.refuses else Code.DISK_LOW)
                )
        for part in report.parts:
            log = f"  (log: {logs.log(part.name)})" if logs and part.state != "running" else ""
            line = f"{part.name:<11} {part.state:<14} {one_line(part.version):<18} {one_line(part.address):<30} {part.host}{log}".rstrip()
            alone = None if part.problem else part_codes.of_line(part.state, "")
            echo(f"{line} [{alone}]" if alone else line)
            for line in part.problem.splitlines():
                code = part_codes.of_line(part.state, line)
                echo(f"            {hints.pasteable(line)}{f' [{code}]' if code else ''}")
        for line in report.not_asked.values():
            echo(one_line(hints.pasteable(line)))
        for line in warnings(report.clocks):
            echo(f"clock       {line} [{Code.CLOCK_WRONG}]")
        for difference in report.not_deployed:
            echo(f"not deployed: {one_line(hints.pasteable(str(difference)))} [{Code.NOT_DEPLOYED}]")
        for line in report.left.values():
            echo(f"not deployed: {one_line(hints.pasteable(line))} [{Code.HOST_LEFT}]")
        if report.flow:
            _show(report.flow, target)
        for line in _backups(report.backups, target) if report.backups else []:
            echo(line)
        of_its_own = Code.PIPELINE_UNKNOWN in of_status.codes(report)  # or that of its host, which is away
        for problem in report.problems:
            line = one_line(hints.pasteable(problem))
            echo(marked(line, Code.PIPELINE_UNKNOWN) if of_its_own else line, err=True)
    sys.exit(3 if report.not_asked else 0 if report.fine else 1)


def _write(file: Path, report: Report) -> None:
    """Write a report as metrics, readable for the collector's user, who is another."""
    from cvat_analytics.checks import exposition

    text = exposition.text(report)
    if str(file) == "-":
        echo(text, nl=False)
        return
    try:
        write_atomically(file, text, 0o644)
    except OSError as error:
        raise InputError(Code.OUTPUT_UNWRITABLE, f"{file}: cannot be written ({error.strerror})") from None


def _plain(report: Report, logs: Processes | None) -> dict[str, object]:
    return {
        **report.states,
        "fine": report.fine,
        "parts": [
            asdict(part) | ({"log": str(logs.log(part.name))} if logs else {}) for part in report.parts
        ],
        "codes": sorted(map(str, of_status.codes(report))),
        "disks": [
            asdict(volume) | {"is_little": volume.is_little, "refuses": volume.refuses}
            for volume in report.volumes
        ],
        "pipeline": asdict(report.flow) if report.flow else None,
        "problems": list(report.problems),
        "not_asked": dict(report.not_asked),
        "clocks": {
            "hosts": [asdict(clock) for clock in report.clocks],
            "warnings": warnings(report.clocks),
        },
        "backups": asdict(report.backups) | {"fine": report.backups.fine} if report.backups else None,
        "not_deployed": [asdict(each) for each in report.not_deployed],
        "left": dict(report.left),
    }


def _show(flow: Flow, target: Target) -> None:
    last = f"the last one {_ago(flow.last_event)}" if flow.last_event else "none in 30 days"
    echo(f"\nevents      {flow.recent_events:,} in the last {RECENT_MINUTES} minutes, {last}{_delay(flow)}")
    for found in said.future(flow):
        echo(f"future      {found.why} ({found.next}) [{found.code}]")
    for line in _sources(flow.sources):
        echo(line)
    for line in _two_cvats(flow.two_cvats):
        echo(line)
    for port in flow.ports:
        echo(f"port {port.port:<6} {_port(port)}")
    for buffer in flow.buffers:
        code = f" [{Code.BUFFER_FILLS}]" if of_status.fills(buffer) else ""
        echo(f"buffer      {one_line(_buffer(buffer))}{code}")
    echo(f"journal     {'not known' if flow.journal_bytes is None else _size(flow.journal_bytes)}")
    more = f"  ({target.hint('dead-letters', 'list')})" if flow.dead_letters else ""
    echo(f"refused     {flow.dead_letters:,} dead letters in the last day{more}")
    for found in said.implausible(flow):
        echo(f"            of these {found.why} ({found.next}) [{found.code}]")
    for refusal in flow.refusals:
        for line in _refusal(refusal, target):
            echo(line)
    for refused in flow.cvat_refusals:
        for line in _cvat_refusal(refused):
            echo(line)
    for line in _other_users(flow.other_users):
        echo(line)
    for line in said.silent(flow):
        echo(f"{line} [{Code.VECTOR_SILENT}]")


def _backups(found: Backups, target: Target) -> list[str]:
    """Return when the last good backup was, and what is wrong with that."""
    if not found.known and not found.last:
        why = f": {one_line(hints.pasteable(found.why))}" if found.why and not found.failed else ""
        lines = [f"backup      not known{why}"] if found.target else []
    elif not found.last:
        lines = [
            "backup      NONE yet: " + ("make one" if found.target else "docs/how-to/back-up.md says how")
        ]
        if found.target:
            lines[0] += f" ({target.hint('backup', 'create')}) [{Code.BACKUP_OVERDUE}]"
    else:
        proven = (
            f"the last that was proven by restoring it: {found.proven}"
            if found.proven
            else "none was ever proven by restoring it"
        )
        too_old = "TOO OLD: " if found.too_old else ""
        age = _ago(found.started) if found.started else "at an unknown time"
        lines = [
            f"backup      {too_old}the last good one {age} ({found.last}, {_size(found.size)} of data); {proven}{f' [{Code.BACKUP_OVERDUE}]' if too_old else ''}"
        ]
    if found.failed:
        lines.append(f"            {found.failed} FAILED: {one_line(found.why)} [{Code.BACKUP_OVERDUE}]")
    return lines + [
        f"            {one_line(hints.pasteable(each))} [{Code.BACKUP_OVERDUE}]" for each in found.problems
    ]


def _buffer(buffer: Buffer) -> str:
    name, size = buffer.name, _size(buffer.capacity)
    if buffer.events is None or buffer.size is None:
        return f"{name}: what waits is not known, on {buffer.host}"
    share = 100 * buffer.size / buffer.capacity if buffer.capacity else 0
    return f"{name}: {buffer.events:,} events wait, {share:.1f}% of {size} on {buffer.host}"


def _delay(flow: Flow) -> str:
    parts = []
    if flow.delay_seconds:
        parts.append(
            f"the server's arrive after {flow.delay_seconds[0]:.1f} s, 95% within {flow.delay_seconds[1]:.1f} s"
        )
    if flow.not_live:
        parts.append(f"{flow.not_live:,} of other times (a queue, an import, a replay, a clock)")
    return "".join(f"; {part}" for part in parts)


def _sources(sources: Sources) -> list[str]:
    """Return who was heard of when, and what is wrong with that."""
    seen = [
        f"{name} {_ago(sources.last[name]) if name in sources.last else 'nothing in 30 days'}"
        for name in ("client", "server")
    ]
    lines = [f"sources     {', '.join(seen)}"]
    for found in said.sources(sources):
        see = f". See {found.next}" if found.weight == "now" else ""
        lines.append(f"            {found.why}{see} [{found.code}]")
    return lines


def _two_cvats(two: TwoCvats | None) -> list[str]:
    """Return what tells that two CVATs send into the stack."""
    return [
        line
        for found in said.two_cvats(two)
        for line in (
            f"TWO CVATS   {found.why} [{found.code}]",
            f"            every number mixes both. See {found.next}",
        )
    ]


def _refusal(refusal: Refusal, target: Target) -> list[str]:
    """Return which sink is refused, and what to do about it."""
    found = said.refusal(refusal)
    lines = [f"REFUSED     {found.why} [{found.code}]", f"            {found.next}"]
    return [*lines, f"            {target.hint(*found.command)}"] if found.command else lines


def _other_users(names: Sequence[str]) -> list[str]:
    """Return who reads ClickHouse beside the users that a deploy knows, and what to do about it."""
    return [
        line
        for found in said.other_users(names)
        for line in (f"users       {found.why} [{found.code}]", f"            see {found.next}")
    ]


def _cvat_refusal(refusal: CvatRefusal) -> list[str]:
    """Return what CVAT's own user was refused, and what to do about it."""
    found = said.cvat_refusal(refusal)
    return [
        f"CVAT        {found.why} [{found.code}]",
        *(f"            {line}" for line in found.next.splitlines()),
    ]


def _port(port: Port) -> str:
    if port.recent_requests is None:
        return "not known (yet): Vector says every 15 seconds what has come"
    received = f"{port.recent_requests:,} requests in the last {RECENT_MINUTES} minutes, "
    received += f"the last one {_ago(port.last)}" if port.last else _none(port)
    if not port.extra:
        return received
    if port.recent_requests:
        return f"{received}: the old port still receives; a CVAT service has not been changed yet"
    return f"{received}: take it out of 'vector_extra_ports' when every CVAT service has been changed"


def _none(port: Port) -> str:
    """Return for how long nothing has come."""
    since = port.counted_since
    if since is None or datetime.now(UTC) - since > timedelta(days=29):
        return "none in 30 days"
    return f"none since {since:%Y-%m-%d %H:%M} UTC, when counting by port began"


def _ago(moment: datetime) -> str:
    return f"{said.length(said.age(moment))} ago"


def _size(size: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
