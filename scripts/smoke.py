"""`cvat-analytics smoke`: prove that a stack works."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click

from cvat_analytics.base.codes import Code, first_code, marked
from cvat_analytics.checks.causes import Result
from cvat_analytics.checks.smoke import run
from cvat_analytics.connect.access import Access
from cvat_analytics.connect.clocks import warnings
from scripts import hints
from scripts.target import Target, target_options
from scripts.terminal import echo


@click.command()
@target_options
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print the results as one JSON array: passed, failed, not asked or not checked.",
)
def smoke(target: Target, as_json: bool) -> None:
    """Prove that a stack works: send events, read them back, and check rights, schema and dashboards.

    Each check is one line: PASS or FAIL. What hangs on one that has failed is not asked, and named on standard error, as is what this
    stack has nothing of. It takes a minute at most. Exit code 1 when one fails, 3 when a host cannot be reached, or no longer. Its
    events lie apart from all others and are removed again.
    """
    results: list[Result] = []
    with target.reach(partly=True) as access:
        for host, line in access.away.items():
            code = first_code(line) or Code.HOST_UNREACHABLE
            results.append(Result(f"host {host}", None, line, f"host {host}", code=code))
            echo(hints.pasteable(line), err=True)
        try:
            failed = report(access, results, as_json)
            for line in warnings(access.clocks()):
                results.append(Result("clock", None, line, code=Code.CLOCK_WRONG))
                echo(f"clock: {hints.pasteable(line)} [{Code.CLOCK_WRONG}]", err=True)
        finally:
            # when a connection is lost on the way, too
            if as_json:
                echo(json.dumps([{**asdict(result), "outcome": result.outcome} for result in results]))
    sys.exit(3 if access.away else 1 if failed else 0)


def report(access: Access, results: list[Result] | None = None, as_json: bool = False) -> list[Result]:
    """Run the checks, print each and put it into `results`, and return those that failed."""
    results = [] if results is None else results
    not_asked: dict[str, list[str]] = {}
    for result in run(access):
        results.append(result)
        if result.outcome == "not checked":
            echo(f"not checked: {result.name}: {hints.pasteable(result.detail)}", err=True)
        elif result.cause:
            not_asked.setdefault(result.detail, []).append(result.name)
        elif not as_json:
            line = f"{'PASS' if result.passed else 'FAIL'} {result.name}: {hints.pasteable(result.detail)}"
            echo(marked(line, result.code) if result.code else line)
    for why, names in not_asked.items():
        echo(f"{why}: {', '.join(names)}", err=True)
    return [result for result in results if result.passed is False]
