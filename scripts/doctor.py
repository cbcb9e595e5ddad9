"""`cvat-analytics doctor`: say everything that is wrong with a stack, or about to be."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from scripts import hints
from scripts.target import Target, target_options
from scripts.terminal import echo

if TYPE_CHECKING:
    from cvat_analytics.checks.doctor.examination import Diagnosis
    from cvat_analytics.checks.finding import Finding
    from cvat_analytics.checks.status import Report

_HEADINGS = {"now": "wrong now", "soon": "wrong soon", "know": "worth knowing"}


@click.command()
@target_options
@click.option("--json", "as_json", is_flag=True, help="Print as one JSON object.")
def doctor(target: Target, as_json: bool) -> None:
    """Say everything that can be known to be wrong with a stack, or about to be: why, and what to do next.

    The heaviest comes first: wrong now, wrong soon, worth knowing. It changes nothing. Exit code 1 when something is wrong now or
    soon, 3 when a host cannot be reached: what is known of the others is said.
    """
    report, diagnosis = examined(target)
    if as_json:
        echo(json.dumps(plain(diagnosis, target)))
    else:
        _show(diagnosis, target)
    sys.exit(3 if report.not_asked else 1 if diagnosis.worst in ("now", "soon") else 0)


def examined(target: Target) -> tuple[Report, Diagnosis]:
    """Return what `status` says of a stack, and what is wrong with it."""
    # with libraries that take a second to load, and nobody needs who asks for help
    from cvat_analytics.checks import status
    from cvat_analytics.checks.doctor import examination

    if target.inventory:
        from cvat_analytics.connect import remote

        with remote.reach_hosts(target.inventory, partly=True) as (described, access, hosts):
            report = status.of_hosts(described, access, hosts)
            unknown: list[str] = []
            found = examination.places(hosts, described.topology, unknown)
            return report, examination.of(report, access, described.topology, found, unknown)
    from cvat_analytics.embedded import stack
    from cvat_analytics.embedded import status as embedded

    running = target.embedded()
    report, context = embedded.report(running), running.context()
    parts = context.topology.components(stack.HOST)
    place = examination.Place(parts, context.settings, context.memory_bytes)
    return report, examination.of(report, running.access(), context.topology, {stack.HOST: place})


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
        echo(
            f"  {finding.check:<14} {hints.pasteable(finding.why)}{f'  ({finding.host})' if finding.host else ''}"
        )
        for line in _next(finding, target).splitlines():
            echo(f"  {'':<14} -> {line}")
    if not diagnosis.findings:
        echo("nothing is wrong")
    for forecast in diagnosis.forecasts:
        echo(f"forecast: {forecast}")
    for line in diagnosis.unknown:
        echo(f"not known: {hints.pasteable(line)}", err=True)


def _next(finding: Finding, target: Target) -> str:
    """Return the next step: a command where there is one, with the words that say when; otherwise words, or a page."""
    words = hints.pasteable(finding.next)
    if not finding.command:
        return words
    command = target.hint(*finding.command)
    return f"{words}\n{command}" if words and not words.startswith("docs/") else command
