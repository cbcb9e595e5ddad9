"""`cvat-analytics dashboards`: carry dashboards between the files in git and Grafana, compare them, and check the files."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import click

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.connect.access import Access
from cvat_analytics.dashboards import DASHBOARDS, engine, exchange, lint
from cvat_analytics.dashboards.grafana import Grafana
from cvat_analytics.dashboards.places import Refusal
from scripts import hints
from scripts.target import DEFAULT_DIRECTORY, Target, target_options
from scripts.terminal import echo


@click.group()
def dashboards() -> None:
    """Bring what was edited in Grafana into git, compare, check, and put files into Grafana."""


@dashboards.command()
@click.argument("name", required=False)
@target_options
def pull(name: str | None, target: Target) -> None:
    """Bring what was edited in Grafana into the files, tidy, and say what changed.

    NAME is a file's name, or a dashboard's title or uid; without it all files are brought up to date. A dashboard that was
    made in Grafana becomes a new file. What breaks a rule of `lint` is not written: exit code 2.
    """
    with target.reach() as access:
        here = exchange.site_of(access.grafana.settings)
        outcomes = list(exchange.pull(Grafana(access), here, name, DASHBOARDS, _refusal(access)))
    _report(outcomes, "as in Grafana already", "updated")
    if any(outcome.lines and not outcome.findings for outcome in outcomes):
        echo("Look at `git diff grafana/dashboards`, then commit.")


@dashboards.command()
@click.argument("name", required=False)
@target_options
def push(name: str | None, target: Target) -> None:
    """Put the files into Grafana, without a restart, where it has something else, and say what changed.

    NAME is a file's name, or a dashboard's title or uid; without it all are put. What was edited in Grafana and not pulled
    is overwritten (Grafana keeps it among the dashboard's versions). What breaks a rule of `lint` is not sent: exit code 2.
    """
    with target.reach() as access:
        here = exchange.site_of(access.grafana.settings)
        outcomes = list(exchange.push(Grafana(access), here, name, DASHBOARDS, _refusal(access)))
    _report(outcomes, "Grafana has it already", "put into Grafana")


@dashboards.command()
@click.argument("name", required=False)
@target_options
def diff(name: str | None, target: Target) -> None:
    """Show what Grafana has other than the files, by dashboard, panel and field. Exit code 1 when something differs."""
    with target.reach() as access:
        here = exchange.site_of(access.grafana.settings)
        outcomes = list(exchange.diff(Grafana(access), here, name, DASHBOARDS))
    _report(outcomes, "the same", "differs (first the file, then Grafana)")
    sys.exit(1 if any(outcome.lines for outcome in outcomes) else 0)


@dashboards.command("lint")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@target_options
def lint_(files: tuple[Path, ...], target: Target) -> None:
    """Check dashboard files; without FILES all in git. Exit code 1 when something is found.

    Queries are put to the ClickHouse of --dir or --inventory, or of the embedded stack if one runs here; without any, only
    their syntax is checked.
    """
    paths = files or tuple(sorted(DASHBOARDS.glob("*.json")))
    try:
        with target.reach() as access:
            findings = lint.lint(paths, engine.refusal(access))
        how = "queries accepted by ClickHouse"
    except CvatAnalyticsError:
        if target.is_given:
            raise
        findings = lint.lint(paths)
        how = f"queries' syntax only: no stack runs in {DEFAULT_DIRECTORY}"
    for finding in findings:
        echo(f"{finding} [{Code.DASHBOARD_RULE}]")
    if findings:
        sys.exit(1)
    echo(f"{len(paths)} {'file' if len(paths) == 1 else 'files'} without a finding ({how}).")


def _refusal(access: Access) -> Refusal | None:
    """Return what asks the stack's ClickHouse; nothing when it is away, which must not keep anybody from editing."""
    try:
        return engine.refusal(access)
    except CvatAnalyticsError:
        return None


def _report(outcomes: Iterable[exchange.Outcome], same: str, changed: str) -> None:
    """Print what happened to each dashboard; end with exit code 2 when one was left alone."""
    refused = False
    for outcome in outcomes:
        verdict = "left alone" if outcome.findings else changed if outcome.lines else same
        echo(f"{outcome.name} ({outcome.file.name}): {verdict}")
        for line in outcome.lines:
            echo(f"  {line}")
        for finding in outcome.findings:
            echo(f"cvat-analytics: {hints.pasteable(str(finding))} [{Code.DASHBOARD_RULE}]", err=True)
            refused = True
    if refused:
        sys.exit(2)
