"""`cvat-analytics uninstall`: take away from the hosts, or from a directory, what this project has made there."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError, InputError
from cvat_analytics.connect.volumes import DIRECTORIES, size
from cvat_analytics.rendering.made import STATE
from scripts import hints
from scripts.target import DEFAULT_DIRECTORY, Target, target_options
from scripts.terminal import confirm, echo

if TYPE_CHECKING:
    from pathlib import Path

    from cvat_analytics.operate.uninstall import HostPlan, Hosts

_DATA = {
    DIRECTORIES["clickhouse"]: "all events, and what was made of them",
    DIRECTORIES["vector"]: "the journal, and what waits to be delivered",
    DIRECTORIES["grafana"]: "users, dashboards made by hand, the state of alerts",
    "/var/lib/private/cvat-analytics-events-api": "exports",
}
"""What is lost with each directory; in the others there are logs."""


@click.command()
@target_options
@click.option("--keep-data", is_flag=True, help="Leave the data where it is: what happens without --purge.")
@click.option("--purge", is_flag=True, help="Delete the data, too, for good.")
@click.option("--limit", multiple=True, metavar="HOST", help="Only this host or group. May be repeated.")
@click.option(
    "--forget",
    metavar="HOST",
    default="",
    help="Take nothing away: a host that has left the inventory is no more. Nobody speaks of it after that.",
)
@click.option("--dry", is_flag=True, help="Change nothing; show what would be taken away.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print what is taken away and what is left as one JSON object; needs --dry or --yes.",
)
def uninstall(
    target: Target,
    keep_data: bool,
    purge: bool,
    limit: tuple[str, ...],
    forget: str,
    dry: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Take away what deploys have made: services, packages, files, users, firewall rules. The data stays without --purge.

    Shows what goes and what stays, and asks. What was on a host before its first deploy stays as it was. What was cut off is
    completed by the same command. A host that has left the inventory since is named with --limit.

    Exit code 1 when a step failed, 3 when a host could not be reached: the others are done, and the same command does the rest; 2
    when another deploy is at work everywhere, and nothing was done.
    """
    if keep_data and purge:
        raise click.UsageError("give either --keep-data or --purge, not both")
    if as_json and not (dry or yes):
        raise click.UsageError("--json asks nothing: give --dry or --yes with it")
    if forget:
        _forget(target, forget)
    elif target.inventory:
        _hosts(target.inventory, purge, limit, dry, yes, as_json)
    elif limit:
        raise click.UsageError("--limit is about the hosts of an --inventory")
    else:
        _directory(target.directory or DEFAULT_DIRECTORY, purge, dry, yes, as_json)


def _forget(target: Target, name: str) -> None:
    from cvat_analytics.config import inventory
    from cvat_analytics.operate import left_hosts

    if not target.inventory:
        raise click.UsageError("--forget is about the hosts of an --inventory")
    with ExitStack() as opened:
        left = left_hosts.find(inventory.load(target.inventory), opened)
        if name not in left.hosts:
            others = f"; those are {', '.join(left.hosts)}" if left.hosts else ""
            raise InputError(
                Code.UNINSTALL_HOST, f"--forget {name}: is no host that has left {target.inventory}{others}"
            )
        left.forget(name)
    echo(f"host {name}: is forgotten")


def _hosts(inventory: Path, purge: bool, limit: tuple[str, ...], dry: bool, yes: bool, as_json: bool) -> None:
    from cvat_analytics.operate import uninstall as library

    with library.planned(inventory, purge, limit) as hosts:
        left = _left(hosts, inventory, limit, purge)
        if not as_json:
            _show(hosts)
            for name, command in left.items():
                echo(
                    f"host {name}: has left the inventory, and something of a deploy is there. Nobody knows of it when these are done; first: {command}"
                )
        work = [each for each in hosts.plans if not each.removal.is_nothing]
        failures: dict[str, CvatAnalyticsError] = {}
        if work and not dry:
            if not yes:
                confirm("Delete it for good?" if purge else "Take it away?", abort=True, err=True)
            for host in work:

                def tell(step: object, name: str = host.name) -> None:
                    echo(f"host {name}: {step}", err=as_json)

                try:
                    library.carry_out(host, tell)
                except CvatAnalyticsError as error:
                    failures[host.name] = error
        if not dry:
            for each in hosts.plans:
                if each.name not in failures and not each.removal.kept:
                    hosts.forget(each.name)
        if as_json:
            echo(json.dumps({**_as_json(hosts, failures), "left": left}, indent=1))
        elif work and not dry:
            _tell_left(hosts, failures, inventory, limit)
    for reason in (*hosts.away.values(), *(each.told for each in failures.values())):
        echo(f"cvat-analytics: {reason}", err=True)
    if failures or hosts.away:
        again = _command(inventory, limit, purge)
        if hosts.left:
            for name in hosts.away.keys() & hosts.left.hosts.keys():
                command = hints.command("uninstall", "--inventory", inventory, "--forget", name)
                echo(f"If host {name} is no more: {command}", err=True)
        echo(f"Not everything is done. When the cause is gone, the rest is done by: {again}", err=True)
        codes = {error.exit_code for error in failures.values()} | ({3} if hosts.away else set())
        # another deploy may be at work on one of several
        is_refused = codes == {InputError.exit_code} and len(failures) == len(work)
        sys.exit(InputError.exit_code if is_refused else 3 if codes == {3} else 1)


def _left(hosts: Hosts, inventory: Path, limit: tuple[str, ...], purge: bool) -> dict[str, str]:
    """Return the hosts that have left the inventory and are not meant, each with the command for it."""
    names = hosts.left.hosts if hosts.left and not limit else ()
    return {name: _command(inventory, (name,), purge) for name in names}


def _show(hosts: Hosts) -> None:
    """Print what goes from each host and what stays, and which hosts are away."""
    for host in hosts.plans:
        if host.removal.is_nothing:
            echo(
                f"host {host.name}: nothing of a deploy is there"
                + (", but data that was kept" if host.removal.kept else "")
            )
            for what in _kept(host):
                echo(f"  keeps       {what}")
            continue
        echo(f"host {host.name}:")
        for word, what in _lines(host):
            echo(f"  {word:<11} {what}")
    for reason in hosts.away.values():
        echo(f"NOT DONE: {reason}")


def _lines(host: HostPlan) -> list[tuple[str, str]]:
    removal = host.removal
    lines = [("stops", unit) for unit in removal.units]
    lines += [("package", f"{name} {version}") for name, version in removal.packages.items()]
    lines += [("removes", path) for path in removal.files]
    lines += [("removes", f"{path}/") for path in removal.trees]
    lines += [("removes", f"{path}/ if nothing else is in it") for path in removal.directories]
    if removal.ends_record:
        notes = "what is noted there of deploys" + (", but what is about the data" if removal.kept else "")
        lines.append(("removes", f"{STATE}/: {notes}"))
    lines += [("puts back", path) for path in removal.restored]
    lines += [("user", name) for name in removal.users]
    lines += [("group", name) for name in removal.groups]
    lines += [("starts anew", unit) for unit in removal.again]
    for path, count in removal.data.items():
        if host.found.leads.get(path) in removal.data:
            continue
        what = host.events if host.events and path == DIRECTORIES["clickhouse"] else _DATA.get(path, "logs")
        lines.append(("DELETES", f"{_place(host, path)} ({size(count)}): {what}"))
    lines += [("keeps", what) for what in _kept(host)]
    lines += [("leaves", f"{what}: {why}") for what, why in removal.left]
    return lines


def _kept(host: HostPlan) -> list[str]:
    there = host.removal.kept
    return [
        f"{_place(host, path)} ({size(count)})"
        for path, count in there.items()
        if host.found.leads.get(path) not in there
    ]


def _place(host: HostPlan, path: str) -> str:
    """Return a directory's path, and where it leads to as a link."""
    return f"{path} -> {host.found.leads[path]}" if path in host.found.leads else path


def _command(inventory: Path, limit: tuple[str, ...], purge: bool) -> str:
    """Return the command for the same hosts, to be pasted."""
    limits = [option for each in limit for option in ("--limit", each)]
    return hints.command("uninstall", "--inventory", inventory, *limits, *(["--purge"] if purge else []))


def _tell_left(
    hosts: Hosts, failures: dict[str, CvatAnalyticsError], inventory: Path, limit: tuple[str, ...]
) -> None:
    """Say at the end what stays, on the hosts and elsewhere."""
    for host in hosts.plans:
        if host.name in failures or host.removal.is_nothing:
            continue
        echo(f"host {host.name}: done")
        for word, what in _lines(host):
            if word in ("keeps", "leaves"):
                echo(f"  {word:<11} {what}")
    if any(host.removal.kept for host in hosts.plans):
        echo(f"The data is deleted by: {_command(inventory, limit, purge=True)}")
    echo(
        f"Left as they are: what is beside {inventory} (passwords, certificates, users), the hosts' own logs (journalctl, apt, dpkg), and "
        "what CVAT was told (docs/how-to/uninstall.md)."
    )


def _as_json(hosts: Hosts, failures: dict[str, CvatAnalyticsError]) -> dict[str, Any]:
    return {
        "hosts": {
            host.name: {
                "units": host.removal.units,
                "packages": host.removal.packages,
                "files": host.removal.files,
                "directories": [*host.removal.trees, *host.removal.directories],
                "put_back": host.removal.restored,
                "users": host.removal.users,
                "groups": host.removal.groups,
                "deleted_data": host.removal.data,
                "events": host.events,
                "kept_data": host.removal.kept,
                "left": [{"what": what, "why": why} for what, why in host.removal.left],
                "failure": str(failures.get(host.name, "")),
                "code": failures[host.name].code if host.name in failures else "",
            }
            for host in hosts.plans
        },
        "away": hosts.away,
    }


def _directory(directory: Path, purge: bool, dry: bool, yes: bool, as_json: bool) -> None:
    from cvat_analytics.embedded import removing

    removal = removing.plan(directory, purge)
    if not as_json:
        for word, paths in (
            ("removes", removal.removed), ("DELETES", removal.data), ("keeps", removal.kept), ("leaves", removal.left),
        ):  # fmt: skip
            for path in paths:
                leads = f" -> {path.resolve()}" if path.is_symlink() else ""
                echo(f"  {word:<11} {path}{leads}")
        if removal.is_nothing:
            echo(
                f"{directory}: nothing of a stack is there"
                + (", but data that was kept" if removal.kept else "")
            )
    stopped: list[str] = []
    if not dry and not removal.is_nothing:
        if not yes:
            confirm("Delete it for good?" if purge else "Take it away?", abort=True, err=True)
        stopped = removing.carry_out(removal)
    if as_json:
        names = ("removed", "data", "kept", "left")
        echo(json.dumps({name: [str(path) for path in getattr(removal, name)] for name in names}, indent=1))
    elif not dry and not removal.is_nothing:
        echo(f"Stopped: {', '.join(stopped)}. Done." if stopped else "Nothing was running. Done.")
        if removal.kept:
            echo(f"The stack comes back with its data by: {hints.command('up', '--dir', directory)}")
