"""`python -m benchmarks [SECTION…]`: measure, print, keep the figures, say which targets are met.

Exit code 0 when every target is met, 1 when one is not or something that is measured fails, 2 for bad arguments,
3 when the measured hosts cannot be had.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from benchmarks import machine, sections
from benchmarks.report import BenchmarkError, Report
from cvat_analytics.base.files import write_atomically
from tests.hosts.docker_engine import HostsUnavailable

RESULTS = Path(__file__).parent / "results"
SMALLEST = 10_000
"""Events of a history that has all that is asked for in it."""


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
    callback=lambda _, __, value: _sizes(value),
    help="Sections store, dashboards, export, backup and small: size of the history; default 20 million (export: 10). "
    "Several with commas: store is measured at each, the others at the last.",
)
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    help="Section store: leave the data in this directory, and go on with what is there.",
)
@click.option("--minutes", type=click.FloatRange(min=0.1), help="Section small: how long; default 60.")
@click.option(
    "--renew", is_flag=True, help="Section guard: write down this run's ratios as those to compare with."
)
def main(
    names: Sequence[str],
    runs: int,
    file: Path | None,
    events: Sequence[int],
    keep: Path | None,
    minutes: float | None,
    renew: bool,
) -> None:
    """Measure SECTIONs (default: all but guard and small) and compare them with their targets."""
    for name in names:
        if name not in sections.SECTIONS:
            raise click.BadParameter(f"there is no section {name!r}; there is {', '.join(sections.SECTIONS)}")
    known = machine.facts()
    click.echo(machine.text(known))
    now = datetime.now(UTC)
    file = file or RESULTS / f"{now:%Y%m%dT%H%M%SZ}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    reports: dict[str, Report] = {}

    def save(report: Report) -> None:
        """Keep what is measured so far: what fails later costs no figure."""
        reports[name] = report
        figures = {
            "measured_at": now.isoformat(timespec="seconds"),
            "machine": known,
            "sections": {each: report.as_json() for each, report in reports.items()},
        }
        write_atomically(file, json.dumps(figures, indent=2) + "\n", mode=0o644)

    options: dict[str, dict[str, Any]] = {
        "store": {"save": save, "keep": keep, **({"sizes": events} if events else {})},
        "small": {"minutes": minutes} if minutes else {},
        "guard": {"renew": renew},
    }
    status = 0
    try:
        for name in dict.fromkeys(
            names or (each for each in sections.SECTIONS if each not in sections.BY_NAME)
        ):
            chosen = options.get(name, {})
            if events and name in ("backup", "dashboards", "export", "small"):
                chosen["events"] = events[-1]
            save(sections.load(name)(runs, lambda line: click.echo(f"… {line}", err=True), **chosen))
            click.echo(f"\n{reports[name].text()}")
    except (BenchmarkError, HostsUnavailable) as error:
        click.echo(f"benchmark {name}: {error}", err=True)
        status = 3 if isinstance(error, HostsUnavailable) else 1
        if name in reports:
            click.echo(f"\nUp to there:\n\n{reports[name].text()}")
    if reports:
        click.echo(f"\nFigures: {file}")
    sys.exit(status or (0 if all(report.met for report in reports.values()) else 1))


def _sizes(text: str | None) -> list[int]:
    """Return the numbers of events in `text`. Raises BadParameter for what is none."""
    try:
        sizes = [int(each.replace("_", "")) for each in text.split(",")] if text else []
    except ValueError:
        raise click.BadParameter(
            f"{text!r}: write numbers, with commas between them, as in 20000000,200000000"
        ) from None
    if any(size < SMALLEST for size in sizes):
        raise click.BadParameter(f"{text!r}: at least {SMALLEST} events")
    return sizes


if __name__ == "__main__":
    main()
