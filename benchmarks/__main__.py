"""`python -m benchmarks [SECTION…]`: measure, print, keep the figures, say which targets are met.

Exit code 0 when every target is met, 1 when one is not or something that is measured fails, 2 for bad arguments,
3 when the measured hosts cannot be had.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click

from benchmarks import machine, sections
from benchmarks.report import BenchmarkError, Report
from tests.hosts.docker_engine import HostsUnavailable

RESULTS = Path(__file__).parent / "results"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", metavar="[SECTION]...", nargs=-1)
@click.option(
    "--runs",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="How often each thing is measured.",
)
@click.option(
    "--json", "file", type=click.Path(dir_okay=False, path_type=Path),
    help="Where the figures go; default a file of this moment in benchmarks/results.",
)  # fmt: skip
@click.option(
    "--events",
    type=click.IntRange(min=10_000),
    help="Sections store, dashboards and export: size of the history; default 20 million (export: 10).",
)
def main(names: Sequence[str], runs: int, file: Path | None, events: int | None) -> None:
    """Measure SECTIONs (default: all) and compare them with their targets."""
    for name in names:
        if name not in sections.SECTIONS:
            raise click.BadParameter(f"there is no section {name!r}; there is {', '.join(sections.SECTIONS)}")
    known = machine.facts()
    click.echo(machine.text(known))
    reports: dict[str, Report] = {}
    try:
        for name in dict.fromkeys(names or sections.SECTIONS):
            measure = sections.load(name)
            if name in ("store", "dashboards", "export") and events:
                measure = partial(measure, events=events)
            reports[name] = measure(runs, lambda line: click.echo(f"… {line}", err=True))
            click.echo(f"\n{reports[name].text()}")
    except (BenchmarkError, HostsUnavailable) as error:
        click.echo(f"benchmark {name}: {error}", err=True)
        sys.exit(3 if isinstance(error, HostsUnavailable) else 1)
    now = datetime.now(UTC)
    file = file or RESULTS / f"{now:%Y%m%dT%H%M%SZ}.json"
    figures = {
        "measured_at": now.isoformat(timespec="seconds"),
        "machine": known,
        "sections": {name: report.as_json() for name, report in reports.items()},
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(figures, indent=2) + "\n")
    click.echo(f"\nFigures: {file}")
    sys.exit(0 if all(report.met for report in reports.values()) else 1)


if __name__ == "__main__":
    main()
