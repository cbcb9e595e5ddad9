"""`cvat-analytics backup restore`: bring a backup into a stack, and `backup inventory`: what the operator's machine had."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import click

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from scripts.backup_progress import at_option, json_option, opened, shown
from scripts.target import Target, target_options
from scripts.terminal import confirm, echo, prompt, secret_from_pipe


@click.command()
@click.argument("name", default="")
@at_option("--from")
@click.option("--table", "tables", multiple=True, help="This table only (may be repeated).")
@click.option(
    "--month",
    "months",
    multiple=True,
    metavar="YYYY-MM",
    help="This month of the events only (may be repeated).",
)
@click.option(
    "--grafana",
    is_flag=True,
    help="Grafana's database too: users, dashboards made by hand, alerts' state. It takes the place of what is there, which is kept beside it.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@target_options
def restore(
    name: str,
    at: str,
    tables: tuple[str, ...],
    months: tuple[str, ...],
    grafana: bool,
    yes: bool,
    as_json: bool,
    target: Target,
) -> None:
    """Restore a backup (default: the newest) into a stack that is empty or running. What is there stays, and nothing doubles.

    First all of it is restored beside the live tables and compared with the manifest; what is damaged is found then, and nothing was
    changed. Then it is put in, people who were erased taken out, and the journal replayed from the backup's start on. A run that was cut
    off is completed by the same command.
    """
    from cvat_analytics.operate.backup import restore as course
    from cvat_analytics.operate.backup import restoring
    from cvat_analytics.operate.backup.agent import keeping

    if wrong := [month for month in months if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", month)]:
        raise InputError(Code.OPTION_VALUE, f"--month {wrong[0]}: is no month, as in 2026-11")
    if grafana and not target.inventory:
        raise InputError(
            Code.COMMAND_LINE,
            "--grafana: is of deployed hosts (--inventory); the viewer of an embedded stack keeps nothing",
        )
    progress = shown(as_json)
    with opened(target, at) as reached:
        there = restoring.events(reached.access)
        backup = restoring.chosen(reached.run(["list"], progress)["backups"], name, at)
        name = str(backup["name"])
        if backup["lacks"]:
            echo(f"Backup {name} is incomplete: {keeping.lacking(backup['lacks'])}.", err=True)
        if not yes:
            stack = (
                f"a stack that has {there:,} events, which stay" if there else "a stack that has no events"
            )
            confirm(
                f"Restore backup {name} with {backup['events']:,} events into {stack}?", abort=True, err=True
            )
        chosen = [f"--table={table}" for table in tables or (_OF_MONTHS if months else ())]
        chosen += [f"--month={month.replace('-', '')}" for month in months]
        with reached.hold():
            done = course.run(reached, name, chosen, progress)
    manifest = done.manifest
    if grafana and target.inventory:
        from cvat_analytics.connect import remote
        from cvat_analytics.operate.backup import grafana as grafanas

        with remote.reach_hosts(target.inventory) as (described, _, hosts):
            grafanas.restore(
                described, hosts, manifest["name"], at, manifest["versions"].get("grafana", ""), progress
            )
    rows = sum(each["rows"] for each in manifest["wanted"].get("events", {}).values())
    if as_json:
        echo(
            json.dumps(
                {
                    "name": manifest["name"],
                    "tables": manifest["wanted"],
                    "replayed": done.replayed,
                    "originals": done.originals,
                }
            )
        )
        return
    echo(
        f"Backup {manifest['name']} is restored: {rows:,} events, and {done.replayed:,} of the journal that came since."
    )


_OF_MONTHS = ("events",)
"""The tables of which there are months."""


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--name", default="", help="The backup.  [default: the newest]")
@at_option("--from")
def inventory(directory: Path, name: str, at: str) -> None:
    """Bring back what the operator's machine had: inventory, passwords, users, certificates, the list of erasures.

    Asks for the recovery key (`backup_recovery_key` of secrets.json), or reads it from a pipe. Needs no stack: it is the first step
    when everything is lost.
    """
    from cvat_analytics.operate.backup import inventory as library
    from cvat_analytics.operate.backup import running

    if not at:
        raise InputError(Code.BACKUP_TARGET_MISSING, "no target: say where, as in `--from /mnt/backup/cvat`")
    if directory.exists() and any(directory.iterdir()):
        raise InputError(Code.OUTPUT_EXISTS, f"{directory}: is not empty. Give a new directory")
    key = prompt("Recovery key", hide_input=True, err=True) if sys.stdin.isatty() else secret_from_pipe()
    archive = running.inventory(at, key.strip(), name, shown(as_json=True))
    names = library.unpack(archive, key.strip(), directory)
    echo(f"{directory} has {len(names)} files now: {', '.join(names)}.")
