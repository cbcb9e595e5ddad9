"""What `status` knows, each as a finding."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cvat_analytics.base.codes import Code, first_code
from cvat_analytics.checks import part_codes, said
from cvat_analytics.checks.finding import Finding, Weight
from cvat_analytics.connect import clocks
from cvat_analytics.connect.volumes import RECIPE
from cvat_analytics.rendering.files import UNITS

if TYPE_CHECKING:
    from cvat_analytics.checks.backups import Backups
    from cvat_analytics.checks.flow import Buffer, Flow
    from cvat_analytics.checks.status import Part, Report

_ADVICE = re.compile(
    r"^(.*?)(?:: |[.,;] )((?:deploy again|see (?!there)|see$|run |make room|look at|stop it|`).*)$", re.I
)
"""Where the advice begins in a line that has both."""
_PAGES = {
    "stopped": "docs/how-to/a-part-does-not-do-its-work.md",
    "failing": "docs/how-to/a-part-does-not-do-its-work.md",
    "not answering": "docs/how-to/a-part-does-not-do-its-work.md",
    "not asked": "docs/how-to/a-host-is-away.md",
}


def findings(report: Report) -> Iterator[Finding]:
    """Yield what is wrong by the report of `status`."""
    for line in report.not_asked.values():
        own = first_code(line)
        why, advice = parted(line.removesuffix(f" [{own}]"))
        yield Finding("now", "host", why, advice or "docs/how-to/a-host-is-away.md", own=own)
    for part in report.parts:
        if part.state != "not asked":  # that its host is away is said once
            yield from _of_part(part)
    for volume in report.volumes:
        if volume.is_little:
            weight: Weight = "now" if volume.refuses else "soon"
            yield Finding(
                weight,
                "disk",
                str(volume).rpartition(": make room")[0].rpartition(";")[0],
                RECIPE,
                host=volume.host,
                own=Code.DISK_FULL if volume.refuses else None,
            )
    for line in clocks.warnings(report.clocks):
        why, _ = parted(line)
        yield Finding("soon", "clock", why, "docs/how-to/set-clocks-right.md")
    for difference in report.not_deployed:
        why, _ = parted(str(difference))
        yield Finding("know", "not-deployed", why, command=("deploy",), own=Code.NOT_DEPLOYED)
    for name, line in report.left.items():
        why, _ = parted(line)
        yield Finding("soon", "host-left", why, command=("uninstall", "--limit", name))
    stores = {part.host for part in report.parts if part.name == "clickhouse"}
    for problem in report.problems:
        if not stores & report.not_asked.keys():  # one cause, one line
            yield Finding("now", "pipeline", problem, "docs/how-to/clickhouse-is-down.md")
    if report.flow:
        yield from _of_flow(report.flow)
    if report.backups:
        yield from _of_backups(report.backups)


def codes(report: Report) -> set[Code]:
    """Return those that `status` prints beside what is not well: none beside what is only to be known, unless it has one of its own."""
    return {
        each.code
        for each in findings(report)
        if each.own or (each.weight != "know" and each.check != "part")  # a part's line has its own, or none
    }


def fills(buffer: Buffer) -> bool:
    """Return whether a buffer of Vector's is more than half full."""
    return buffer.size is not None and bool(buffer.capacity) and buffer.size > buffer.capacity // 2


def _of_part(part: Part) -> Iterator[Finding]:
    bad = part.state in ("stopped", "not answering", "failing")
    lines = part.problem.splitlines() or ([f"is {part.state}"] if bad else [])
    for line in lines:
        why, advice = parted(line)
        weight: Weight = "now" if bad else "soon"
        check = "part"
        if "its certificate ends" in line:
            check, weight = "certificate", "soon"
            why, advice = line.partition(": ")[0], "docs/how-to/certificates.md"
            why = f"{part.name}: {why}"
        elif part.state == "starting" or "is not known" in line or "was not asked" in line:
            weight = "know"
        if not advice:
            advice = _PAGES.get(part.state, f"`journalctl -u {UNITS.get(part.name, part.name)}`")
        named = why if why.startswith(f"{part.name}: ") else f"{part.name} {part.state}: {why}"
        # words that are a command of ours are given as one
        mends = ("deploy",) if advice == "deploy again" else ()
        own = None if check == "certificate" else part_codes.of_line(part.state, line)
        yield Finding(weight, check, named, "" if mends else advice, mends, part.host, own)


def _of_flow(flow: Flow) -> Iterator[Finding]:
    for refusal in flow.refusals:
        yield said.refusal(refusal)
    yield from said.two_cvats(flow.two_cvats)
    for refused in flow.cvat_refusals:
        yield said.cvat_refusal(refused)
    yield from said.sources(flow.sources)
    yield from said.future(flow)
    yield from said.implausible(flow)
    yield from said.other_users(flow.other_users)
    for line in said.silent(flow):
        yield Finding("soon", "vector", line, "docs/how-to/a-part-does-not-do-its-work.md")
    for buffer in flow.buffers:
        if fills(buffer):
            share = 100 * (buffer.size or 0) // buffer.capacity
            yield Finding(
                "now" if share > 90 else "soon",
                "buffer",
                f"Vector's buffer {buffer.name} is {share} % full ({buffer.events or 0:,} events wait): beyond it CVAT is refused, and keeps what it has",
                "docs/how-to/clickhouse-is-down.md",
                host=buffer.host,
            )
    for port in flow.ports:
        if port.extra and port.recent_requests == 0:
            yield Finding(
                "know",
                "port",
                f"nothing comes at the old port {port.port} any more",
                "docs/how-to/move-a-port.md",
            )


def _of_backups(found: Backups) -> Iterator[Finding]:
    page = "docs/how-to/back-up.md"
    if found.last:
        if found.too_old:
            when = f"{said.length(said.age(found.started))} old" if found.started else "of an unknown time"
            yield Finding("now", "backup", f"the last good backup is {when}", page)
        if not found.proven:
            yield Finding("know", "backup", "no backup was ever proven by restoring it", page)
    elif found.known and found.target:
        yield Finding("now", "backup", "there is no good backup yet", page)
    elif found.known:
        yield Finding("know", "backup", "this stack makes no backups (setting 'backup_target')", page)
    elif found.target:
        yield Finding(
            "know",
            "backup",
            f"how it is with backups is not known{f': {found.why}' if found.why else ''}",
            page,
        )
    if found.failed:
        yield Finding(
            "now" if found.too_old else "soon",
            "backup",
            f"{found.failed} failed: {said.one_line(found.why)}",
            page,
        )
    for problem in found.problems:
        why, advice = parted(problem)
        yield Finding("now", "backup", why, advice or page)


def parted(line: str) -> tuple[str, str]:
    """Return what a line says is wrong, and what to do as far as it says that."""
    found = _ADVICE.match(line)
    return (found[1], found[2]) if found else (line, "")
