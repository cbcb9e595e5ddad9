"""`cvat-analytics bundle`: fill the directory from which hosts without a network are installed."""

from __future__ import annotations

from pathlib import Path

import click

from cvat_analytics.rendering import events_api_wheels
from cvat_analytics.rendering.events_api_wheels import MACHINES, SYSTEMS, Target
from scripts.terminal import echo


@click.group()
def bundle() -> None:
    """Fill an offline bundle, the directory that `package_source` names, on a machine that has the internet."""


@bundle.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--system",
    "systems",
    multiple=True,
    type=click.Choice(list(SYSTEMS)),
    help="Only for hosts with this system. May be repeated. Without it: for all.",
)
@click.option(
    "--architecture",
    "architectures",
    multiple=True,
    type=click.Choice(list(MACHINES)),
    help="Only for hosts of this architecture. May be repeated. Without it: for all.",
)
def wheels(directory: Path, systems: tuple[str, ...], architectures: tuple[str, ...]) -> None:
    """Put the wheels of the events API into DIRECTORY: what its lock file names, with the hashes that it names.

    They come from the package index that pip on this machine is set to, PyPI by default. What is there already is checked and
    not fetched again; run it again after an update of this project. The deploy says when one is missing.
    """
    chosen_systems, chosen_architectures = systems or tuple(SYSTEMS), architectures or tuple(MACHINES)
    # two systems may have the same Python
    targets = dict.fromkeys(
        Target(SYSTEMS[system], architecture)
        for system in chosen_systems
        for architecture in chosen_architectures
    )
    new = events_api_wheels.fetch(directory, targets)
    for file in new:
        echo(f"fetched  {file.name}")
    echo(
        f"{directory}: has every wheel for {', '.join(chosen_systems)} on {', '.join(chosen_architectures)} "
        f"({len(new)} new, {sum(file.stat().st_size for file in new) / 2**20:.1f} MiB)."
    )
