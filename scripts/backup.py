"""`cvat-analytics backup`: make backups, list, prove and prune them, and restore."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from cvat_analytics.base.errors import InputError
from scripts.target import Target, target_options
from scripts.terminal import echo

if TYPE_CHECKING:
    from cvat_analytics.operate.backup.running import Said

_WORDS = {
    "target": "looking at the target",
    "clickhouse": "tables are written by ClickHouse",
    "tables": "tables",
    "grafana": "Grafana's database",
    "journal": "the journal",
    "inventory": "inventory and passwords",
    "manifest": "the manifest",
    "forget": "choosing what to keep",
    "prune": "giving room back",
    "read": "reading all of the target",
    "manifests": "looking at each backup",
    "fetch": "fetching",
    "restore": "tables are restored beside the live ones",
    "compare": "comparing each table and month with the manifest",
    "schema": "migrations and views",
    "queries": "the dashboards' queries",
}


@click.group()
def backup() -> None:
    """Make backups, list, prove and prune them, and restore."""


def _json[F: Callable[..., Any]](function: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object for machines.")(
        function
    )


def _at(option: str) -> Callable[[Any], Any]:
    return click.option(
        option,
        "at",
        metavar="TARGET",
        default="",
        help="A directory, sftp:user@host:/path or s3:https://host/bucket.  [default: the setting 'backup_target']",
    )


@backup.command()
@_at("--to")
@_json
@target_options
def create(at: str, as_json: bool, target: Target) -> None:
    """Back the stack up while it goes on: tables, Grafana's database, the journal, inventory and passwords (encrypted).

    It is a backup as soon as all of it is there; what is cut off before is never listed, and removed by the next run.
    """
    manifest = run(target, at, ["create"], as_json)["manifest"]
    if not as_json:
        events = sum(each["rows"] for each in manifest["tables"].get("events", {}).values())
        size = sum(each["bytes"] for each in manifest["parts"].values())
        added = sum(each.get("added", 0) for each in manifest["parts"].values())
        echo(
            f"Backup {manifest['name']} is complete: {events:,} events, {_bytes(size)}, of which {_bytes(added)} were new. "
            f"Prove it: {target.hint('backup', 'verify', manifest['name'], '--restore', *_option('--at', at))}"
        )


@backup.command("list")
@_at("--at")
@_json
@target_options
def list_(at: str, as_json: bool, target: Target) -> None:
    """List the backups that are complete, the newest first."""
    found = run(target, at, ["list"], as_json)["backups"]
    if as_json:
        return
    if not found:
        echo("There is no complete backup.")
        return
    echo(f"{'name':<22}{'events':>14}{'size':>12}  ")
    for each in found:
        echo(
            f"{each['name']:<22}{each['events']:>14,}{_bytes(each['bytes']):>12}  {'proven by restoring' if each['proven'] else 'unproven'}"
        )


@backup.command()
@click.argument("name", default="")
@click.option(
    "--restore", "restoring", is_flag=True, help="Restore it beside the live data, compare, ask, and drop it."
)
@_at("--at")
@_json
@target_options
def verify(name: str, restoring: bool, at: str, as_json: bool, target: Target) -> None:
    """Read every byte of all backups and look whether each is complete; with --restore restore one (default: the newest).

    That compares rows and checksums by table and month with the manifest, reads every block, brings the schema up to date, and asks
    each query of the dashboards. A backup that has not been restored is called unproven.
    """
    if name and not restoring:
        raise InputError("without --restore all backups are read: leave the name out, or add --restore")
    said = run(
        target, at, ["verify", *([name] if name else []), *(["--restore"] if restoring else [])], as_json
    )
    if as_json:
        return
    if not restoring:
        echo(f"All of the target was read: {len(said['backups'])} complete backups, nothing is damaged.")
        return
    for table, partitions in said["tables"].items():
        for partition, sums in partitions.items():
            echo(f"{table:<24}{partition:<12}{sums['rows']:>14,} rows, as in the manifest")
    echo(
        f"Backup {said['proven']} is proven: restored, compared, {said['queries']} queries of the dashboards answered."
    )


@backup.command()
@_at("--at")
@_json
@target_options
def prune(at: str, as_json: bool, target: Target) -> None:
    """Forget backups that are older than is to be kept (settings 'backup_keep_…'), and what was never completed."""
    said = run(target, at, ["prune"], as_json)
    if not as_json:
        echo(
            f"{len(said['gone'])} backups are gone, {len(said['kept'])} are kept: {', '.join(said['kept'])}."
        )


def run(target: Target, at: str, arguments: list[str], as_json: bool) -> Said:
    """Have the agent of the stack do something, show how far it is, and with `--json` print what came of it."""
    tell = _quiet if as_json else Progress()
    if target.inventory:
        from cvat_analytics.connect import remote
        from cvat_analytics.operate.backup import over_ssh

        with remote.reach_hosts(target.inventory) as (described, _, hosts):
            said = over_ssh.run(described, hosts, at, arguments, tell)
    else:
        from cvat_analytics.embedded import backup as embedded

        if not at:
            raise InputError("no target: give --to or --at, as in `--to /mnt/backup/cvat`")
        said = embedded.run(target.embedded(), at, arguments, tell)
    if as_json:
        echo(
            json.dumps(
                {name: value for name, value in said.items() if name not in ("step", "exit_code", "message")}
            )
        )
    return said


class Progress:
    """Shows what the agent says: a line for each step, on a terminal with how far it is."""

    def __call__(self, said: Said) -> None:
        """Show one thing."""
        words = _WORDS.get(said["step"], said["step"])
        if said["state"] == "going on" and sys.stderr.isatty() and said.get("total"):
            echo(f"\r{words}: {100 * said['done'] // said['total']} %   ", nl=False, err=True)
        elif said["state"] == "done":
            rows = f", {said['rows']:,} rows" if "rows" in said else ""
            echo(f"{'\r' if sys.stderr.isatty() else ''}{words}{rows}: done", err=True)


def _quiet(said: Said) -> None:
    """Show nothing: what came of it is printed as JSON."""


def _option(name: str, value: str) -> list[str]:
    return [name, value] if value else []


def _bytes(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
