"""`cvat-analytics move`: bring a part to another host while events come in, and afterwards take the old one away."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scripts import hints
from scripts.backup_progress import shown
from scripts.target import inventory_option
from scripts.terminal import confirm, echo

if TYPE_CHECKING:
    from cvat_analytics.config.moves import Move
    from cvat_analytics.operate.move.copying import Counted
    from cvat_analytics.operate.move.on_hosts import Deploy
    from cvat_analytics.operate.move.site import Site


@click.command()
@click.argument("part", type=click.Choice(["clickhouse", "vector", "grafana"]))
@click.option(
    "--to",
    "target",
    metavar="HOST",
    required=True,
    help="The new host; the inventory has it, in whatever group.",
)
@inventory_option
@click.option(
    "--finish",
    is_flag=True,
    help="Take the old part away, after the inventory has been changed. Its data stays.",
)
@click.option("--dry", is_flag=True, help="Change nothing; show what would be done.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object for machines; needs --dry or --yes."
)
def move(part: str, target: str, inventory: Path, finish: bool, dry: bool, yes: bool, as_json: bool) -> None:
    """Bring a part to another host while events come in; the old one stays until --finish. No event is lost, and none doubles.

    What was cut off goes on where it was by the same command. Until the inventory agrees with where the part is, each deploy refuses.

    Exit code 2, with nothing changed, where it cannot be: a host that the inventory does not have, too little room there, a part that is
    there already, another move or deploy under way, an inventory that is not deployed; 3 when a host cannot be reached; 1 when a step failed.
    """
    if as_json and not (dry or yes):
        raise click.UsageError("--json asks nothing: give --dry or --yes with it")
    from cvat_analytics.operate.move import site

    with site.opened(inventory, part, target) as found:
        if dry:
            _preview(found, finish, as_json)
            return
        (_finish if finish else _move)(found, yes, as_json)


def _deploying(inventory: Path, quiet: bool, lock: str = "") -> Deploy:
    """Return what deploys with the groups of a move, sharing the lock that it holds."""
    from deploys import moving
    from deploys.report import HELD, LEAVING
    from scripts.deploy import bring

    def deploy(move: Move, stage: str, hosts: Sequence[str], leaving: Sequence[str] = ()) -> object:
        limits = [argument for name in hosts for argument in ("--limit", name)]
        environment = (
            dict(moving.told(move, stage))
            | ({LEAVING: ",".join(leaving)} if leaving else {})
            | ({HELD: lock} if lock else {})
        )
        return bring(inventory, options=limits, quiet=quiet, environment=environment)

    return deploy


def _preview(site: Site, finish: bool, as_json: bool) -> None:
    from cvat_analytics.operate.move import finishing

    if finish:
        old = finishing.planned(site)
        gone = [*old.removal.units, *old.removal.packages]
        if as_json:
            echo(json.dumps({**_described(site.move), "removes": gone, "keeps": list(old.removal.kept)}))
            return
        for what in gone:
            echo(f"would remove  {what}  from {old.name}")
        for what in old.removal.kept:
            echo(f"would keep    {what}  on {old.name}")
        return
    if as_json:
        echo(json.dumps(_described(site.move)))
        return
    _tell_steps(site)
    echo("Nothing was changed.")


def _tell_steps(site: Site) -> None:
    from cvat_analytics.connect.volumes import size
    from cvat_analytics.operate.move.site import stored
    from cvat_analytics.operate.move.steps import TOLD

    move = site.move
    also = f", with {' and '.join(move.along)}," if move.along else ""
    echo(
        f"{move.part}{also} moves from {move.source} to {move.target} ({size(stored(site))} of data):",
        err=True,
    )
    for number, step in enumerate(TOLD[move.part], 1):
        echo(f"  {number}. {step.format(source=move.source, target=move.target)}", err=True)
    if not site.is_new:
        echo(f"It began {move.since} and goes on: {move.step}.", err=True)


def _move(site: Site, yes: bool, as_json: bool) -> None:
    from cvat_analytics.config import moves
    from cvat_analytics.operate import deploy_lock
    from cvat_analytics.operate.move.on_hosts import HandsOnHosts
    from cvat_analytics.operate.move.site import refuse_changed
    from cvat_analytics.operate.move.steps import OF_PART

    if not as_json:
        _tell_steps(site)
    if not yes:
        confirm("Begin?" if site.is_new else "Go on?", abort=True, err=True)
    tell = shown(as_json)
    with deploy_lock.held_on(list(site.shells.values()), "a move") as lock:
        refuse_changed(site)
        hands = HandsOnHosts(site, _deploying(site.inventory, as_json, lock.name), tell)
        if site.is_new:
            hands.note(moves.BEGUN)
        counted = OF_PART[site.move.part](hands, tell)
    _tell(site, hands.move, counted, as_json)


def _tell(site: Site, move: Move, counted: Sequence[Counted], as_json: bool) -> None:
    """Say what was compared, and what is left to do by hand."""
    from cvat_analytics.gateway import cvat_env

    before = cvat_env.environment(site.before.topology).values
    after = cvat_env.environment(site.after.topology).values
    told = {name: value for name, value in after.items() if before.get(name) != value}
    change = move.disagreement(site.stack.topology.groups)
    finish = hints.command("move", move.part, "--to", move.target, "--finish", "--inventory", site.inventory)
    people = site.after.topology.settings[move.target].grafana_root_url if move.part == "grafana" else ""
    if as_json:
        rows = [asdict(each) for each in counted]
        echo(
            json.dumps(
                {**_described(move), "tables": rows, "tell_cvat": told, "inventory": change, "finish": finish}
            )
        )
        return
    for each in counted:
        echo(
            f"{each.table:<24}{each.month:<12}{each.old:>14,} on {move.source}{each.new:>14,} on {move.target}"
        )
    echo(f"{move.part} is on {move.target}. That on {move.source} stays as it is until you finish.")
    if told:
        echo(
            "Tell CVAT, in the environment of its server and workers, and restart them (docs/how-to/connect-cvat.md):"
        )
        for name, value in told.items():
            echo(f"  {name}={value}")
    if people:
        echo(f"People come in at: {people}")
    if change:
        echo(f"Change {site.inventory}: {change.rpartition(': ')[2]}. Until then each deploy refuses.")
    if move.source not in site.after.topology.settings:
        echo(
            f'{move.source} has no other part: keep it there in a group of its own until you finish, for example `former = ["{move.source}"]`.'
        )
    echo(f"When you are sure, take the old one away: {finish}")


def _finish(site: Site, yes: bool, as_json: bool) -> None:
    from cvat_analytics.operate import deploy_lock
    from cvat_analytics.operate.move import finishing
    from cvat_analytics.operate.move.on_hosts import HandsOnHosts
    from cvat_analytics.operate.move.site import refuse_changed

    move = site.move
    old = finishing.planned(site)
    if not yes:
        for path in old.removal.kept:
            echo(f"keeps {path} on {old.name}", err=True)
        confirm(f"Take {move.part} away from {old.name}?", abort=True, err=True)
    with deploy_lock.held_on(list(site.shells.values()), "a move") as lock:
        refuse_changed(site)
        # the question may have stood there for a day
        old = finishing.planned(site)
        hands = HandsOnHosts(site, _deploying(site.inventory, as_json, lock.name), shown(as_json))
        finishing.carry_out(site, old, hands, lambda step: echo(f"host {old.name}: {step}", err=True))
    if as_json:
        echo(json.dumps({**_described(move), "finished": True, "keeps": list(old.removal.kept)}))
        return
    echo(f"{move.part} is gone from {old.name}; deploys go on as usual.")
    for path in old.removal.kept:
        echo(f"Its data is still in {path} there.")
    if old.name not in site.after.topology.settings:
        rest = hints.command("uninstall", "--limit", old.name, "--inventory", site.inventory)
        echo(f"All else of it, and with `--purge` the data: {rest}")


def _described(move: Move) -> dict[str, object]:
    return {
        "part": move.part,
        "from": move.source,
        "to": move.target,
        "along": list(move.along),
        "step": move.step,
    }
