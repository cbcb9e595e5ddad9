"""`cvat-analytics doctor`: say everything that is wrong with a stack, or about to be."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.base.files import refuse_unwritable, write_atomically
from scripts import hints
from scripts.target import Target, target_options
from scripts.terminal import echo, one_line

if TYPE_CHECKING:
    from cvat_analytics.checks.doctor.examination import Diagnosis
    from cvat_analytics.checks.finding import Finding
    from cvat_analytics.checks.status import Report

_HEADINGS = {"now": "wrong now", "soon": "wrong soon", "know": "worth knowing"}


@click.command()
@target_options
@click.option("--json", "as_json", is_flag=True, help="Print as one JSON object.")
@click.option(
    "--bundle",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write what one needs to ask for help into this file, a zip: without passwords and without people's data.",
)
def doctor(target: Target, as_json: bool, file: Path | None) -> None:
    """Say everything that can be known to be wrong with a stack, or about to be: why, and what to do next.

    The heaviest comes first: wrong now, wrong soon, worth knowing. It changes nothing. Exit code 1 when something is wrong now or
    soon, 3 when a host cannot be reached, or when nothing is wrong in what could be looked at, and not all could be.

    The bundle has what status and the doctor say, versions, settings, configuration and logs, as far as an allow list knows them. Its exit
    code says nothing of what is wrong: 0 when it is written.
    """
    if file and file.exists():
        raise InputError(Code.OUTPUT_EXISTS, f"{file}: is there already. Give another name, or remove it")
    if file:
        refuse_unwritable(file)
    report, diagnosis, bundled = examined(target, with_bundle=file is not None)
    if file:
        _write(file, bundled, as_json)
        sys.exit(3 if report.not_asked else 0)
    if as_json:
        echo(json.dumps(plain(diagnosis, target)))
    else:
        _show(diagnosis, target)
    is_wrong = diagnosis.worst in ("now", "soon")
    sys.exit(3 if report.not_asked else 1 if is_wrong else 3 if diagnosis.unknown else 0)


def examined(target: Target, *, with_bundle: bool = False) -> tuple[Report, Diagnosis, dict[str, str]]:
    """Return what `status` says of a stack, what is wrong with it, and, `with_bundle`, the files of a bundle."""
    # with libraries that take a second to load, and nobody needs who asks for help
    from cvat_analytics.checks import status
    from cvat_analytics.checks.bundle import contents
    from cvat_analytics.checks.doctor import examination
    from cvat_analytics.rendering.files import Paths

    logs: dict[tuple[str, str], list[str]] = {}
    if target.inventory:
        from cvat_analytics.connect import remote

        with remote.reach_hosts(target.inventory, partly=True) as (described, access, hosts):
            report = status.of_hosts(described, access, hosts)
            unknown: list[str] = []
            found = examination.places(hosts, described.topology, unknown)
            diagnosis = examination.of(report, access, described.topology, found, unknown)
            if not with_bundle:
                return report, diagnosis, {}
            for name, host in hosts.items():
                said = contents.logs_of(host.shell, found[name].components, Paths().clickhouse_logs)
                logs |= {(name, part): lines for part, lines in said.items()}
            store = examination.asked(access)
        return report, diagnosis, dict(contents.of(report, diagnosis, described.topology, found, store, logs))
    from cvat_analytics.embedded import stack
    from cvat_analytics.embedded import status as embedded

    running = target.embedded()
    report, context = embedded.report(running), running.context()
    place = examination.Place(context.topology.components(stack.HOST), context.settings, context.memory_bytes)
    places = {stack.HOST: place}
    diagnosis = examination.of(report, running.access(), context.topology, places)
    if not with_bundle:
        return report, diagnosis, {}
    for part in stack.PARTS:
        logs[stack.HOST, part] = contents.tail(running.processes.log(part))
    return (
        report,
        diagnosis,
        dict(
            contents.of(
                report, diagnosis, context.topology, places, examination.asked(running.access()), logs
            )
        ),
    )


def _write(file: Path, bundled: dict[str, str], as_json: bool) -> None:
    """Write the zip `file`, which nobody else may read, in one step."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in bundled.items():
            archive.writestr(name, text)
    try:
        write_atomically(file, packed.getvalue())
    except OSError as error:
        raise InputError(
            Code.OUTPUT_UNWRITABLE, f"{file}: cannot be written ({error.strerror}). Give another place"
        ) from None
    if as_json:
        echo(json.dumps({"bundle": str(file), "files": list(bundled)}))
    else:
        echo(
            f"wrote {file}: {len(bundled)} files, {len(packed.getvalue()) // 1024} KiB. Look through it before you give it away"
        )


def plain(diagnosis: Diagnosis, target: Target) -> dict[str, object]:
    """Return a diagnosis as machines read it."""
    return {
        "worst": diagnosis.worst,
        "findings": [
            {
                "weight": each.weight,
                "check": each.check,
                "host": each.host,
                "why": each.why,
                "next": _next(each, target),
                "code": each.code,
            }
            for each in diagnosis.findings
        ],
        "forecasts": [asdict(each) | {"is_known": each.is_known} for each in diagnosis.forecasts],
        "not_known": list(diagnosis.unknown),
        "versions": [
            dict(zip(("host", "part", "version"), each, strict=True)) for each in diagnosis.versions
        ],
    }


def _show(diagnosis: Diagnosis, target: Target) -> None:
    weight = ""
    for finding in diagnosis.findings:
        if finding.weight != weight:
            echo(f"{'' if not weight else chr(10)}{_HEADINGS[finding.weight]}")
            weight = finding.weight
        where = f"  ({finding.host})" if finding.host else ""
        echo(f"  {finding.check:<14} {one_line(hints.pasteable(finding.why))}{where} [{finding.code}]")
        for line in _next(finding, target).splitlines():
            echo(f"  {'':<14} -> {line}")
    if not diagnosis.findings:
        echo("nothing is wrong in what could be looked at" if diagnosis.unknown else "nothing is wrong")
    for forecast in diagnosis.forecasts:
        echo(f"forecast: {forecast}")
    for line in diagnosis.unknown:
        echo(f"not known: {one_line(hints.pasteable(line))}", err=True)


def _next(finding: Finding, target: Target) -> str:
    """Return the next step: a command where there is one, with the words that say when; otherwise words, or a page."""
    words = hints.pasteable(finding.next)
    if not finding.command:
        return words
    command = target.hint(*finding.command)
    return f"{words}\n{command}" if words and not words.startswith("docs/") else command
