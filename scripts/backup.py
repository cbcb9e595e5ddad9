"""`cvat-analytics backup`: make backups, list, prove and prune them, and restore."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from scripts.backup_progress import at_option, json_option, opened, shown, size
from scripts.backup_restore import inventory, restore
from scripts.target import Target, target_options
from scripts.terminal import echo

if TYPE_CHECKING:
    from cvat_analytics.operate.backup.running import Said


@click.group()
def backup() -> None:
    """Make backups, list, prove and prune them, and restore."""


@backup.command()
@at_option("--to")
@json_option
@target_options
def create(at: str, as_json: bool, target: Target) -> None:
    """Back the stack up while it goes on: tables, Grafana's database, the journal, inventory and passwords (encrypted).

    It is a backup as soon as all of it is there; what is cut off before is never listed, and removed by the next run. Of several hosts
    each backs up what it has; where one fails, the backup of the others is made, and called incomplete: exit code 1.
    """
    said = _run(target, at, ["create"], as_json)
    manifest, failures = said["manifest"], said.get("failures", {})
    lacks = manifest.get("lacks")
    for why in failures.values():
        echo(f"cvat-analytics: {why}", err=True)
    if not as_json:
        events = sum(each["rows"] for each in manifest["tables"].get("events", {}).values())
        whole = sum(each["bytes"] for each in manifest["parts"].values())
        added = sum(each.get("added", 0) for each in manifest["parts"].values())
        is_what = f"INCOMPLETE, as {_lacking(lacks)}" if lacks else "complete"
        echo(
            f"Backup {manifest['name']} is {is_what}: {events:,} events, {size(whole)}, of which {size(added)} were new. "
            f"Prove it: {target.hint('backup', 'verify', manifest['name'], '--restore', *_option('--at', at))}"
        )
    if lacks or failures:
        sys.exit(1)


@backup.command("list")
@at_option("--at")
@json_option
@target_options
def list_(at: str, as_json: bool, target: Target) -> None:
    """List the backups, the newest first, and what each lacks of other hosts. What was cut off is none."""
    found = _run(target, at, ["list"], as_json)["backups"]
    if as_json:
        return
    if not found:
        echo("There is no backup.")
        return
    echo(f"{'name':<22}{'events':>14}{'size':>12}  ")
    for each in found:
        state = "DAMAGED" if each["damaged"] else "proven by restoring" if each["proven"] else "unproven"
        lacks = f", INCOMPLETE: {_lacking(each['lacks'])}" if each["lacks"] else ""
        echo(f"{each['name']:<22}{each['events']:>14,}{size(each['bytes']):>12}  {state}{lacks}")


@backup.command()
@click.argument("name", default="")
@click.option(
    "--restore", "restoring", is_flag=True, help="Restore it beside the live data, compare, ask, and drop it."
)
@at_option("--at")
@json_option
@target_options
def verify(name: str, restoring: bool, at: str, as_json: bool, target: Target) -> None:
    """Read every byte of all backups and look whether each has what it had; with --restore restore one (default: the newest).

    That compares rows and checksums by table and month with the manifest, reads every block, brings the schema up to date, and asks
    each query of the dashboards. A backup that has not been restored is called unproven.
    """
    if name and not restoring:
        raise InputError(
            Code.COMMAND_LINE, "without --restore all backups are read: leave the name out, or add --restore"
        )
    said = _run(
        target, at, ["verify", *([name] if name else []), *(["--restore"] if restoring else [])], as_json
    )
    if as_json:
        return
    if not restoring:
        whole = sum(not each["lacks"] for each in said["backups"])
        rest = f" and {less} INCOMPLETE" if (less := len(said["backups"]) - whole) else ""
        echo(f"All of the target was read: {whole} complete{rest} backups, nothing is damaged.")
        return
    for table, partitions in said["tables"].items():
        for partition, sums in partitions.items():
            echo(f"{table:<24}{partition:<12}{sums['rows']:>14,} rows, as in the manifest")
    echo(
        f"Backup {said['proven']} is proven: restored, compared, {said['queries']} queries of the dashboards answered."
    )


@backup.command()
@at_option("--at")
@json_option
@target_options
def prune(at: str, as_json: bool, target: Target) -> None:
    """Forget backups that are older than is to be kept (settings 'backup_keep_…'), and what was never completed."""
    said = _run(target, at, ["prune"], as_json)
    if not as_json:
        echo(
            f"{len(said['gone'])} backups are gone, {len(said['kept'])} are kept: {', '.join(said['kept'])}."
        )


def _run(target: Target, at: str, arguments: list[str], as_json: bool) -> Said:
    """Have the agent of the stack do something, show how far it is, and with `--json` print what came of it."""
    with opened(target, at, partly=True) as reached:
        said = reached.run(arguments, shown(as_json))
    if as_json:
        echo(
            json.dumps(
                {name: value for name, value in said.items() if name not in ("step", "exit_code", "message")}
            )
        )
    return said


def _lacking(lacks: dict[str, str]) -> str:
    from cvat_analytics.operate.backup.agent import keeping

    return keeping.lacking(lacks)


def _option(name: str, value: str) -> list[str]:
    return [name, value] if value else []


backup.add_command(restore)
backup.add_command(inventory)
