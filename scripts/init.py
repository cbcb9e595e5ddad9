"""`cvat-analytics init`: an inventory to start from."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.base.project import ROOT
from scripts import hints
from scripts.terminal import echo


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
def init(directory: Path) -> None:
    """Write an inventory to start from into DIRECTORY: the hosts, and every setting with its default.

    Passwords and certificates will lie beside it. Nothing that is there already is touched.
    """
    files = [Path("hosts.py"), Path("group_data/all.py")]
    if there := [str(directory / file) for file in files if (directory / file).exists()]:
        raise InputError(
            Code.OUTPUT_EXISTS,
            f"{', '.join(there)}: is there already. Give another directory, or edit what is there",
        )
    for file in files:
        (directory / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / "inventory" / file, directory / file)
    echo(f"Write your server into {directory / files[0]}, look through {directory / files[1]}, then:")
    echo(f"  {hints.command('deploy', '--inventory', directory / files[0], '--dry')}")
