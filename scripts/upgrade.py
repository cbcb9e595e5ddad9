"""`cvat-analytics upgrade`: what a deploy makes of the versions on the hosts, and that deploy."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cvat_analytics.base.codes import Code
from cvat_analytics.config.versions import OWN
from cvat_analytics.connect import remote
from cvat_analytics.connect.volumes import size
from scripts import hints
from scripts.target import inventory_option
from scripts.terminal import echo

if TYPE_CHECKING:
    from cvat_analytics.operate.upgrade_plan import Plan, Planned


@click.group()
def upgrade() -> None:
    """Bring the stack's parts to the versions in the settings, one after the other.

    Versions are settings (`clickhouse_version` and its like): change them, look at the plan, deploy (docs/how-to/upgrade.md).
    """


@upgrade.command("plan")
@inventory_option
@click.option("--json", "as_json", is_flag=True, help="Print as one JSON object.")
def plan(inventory: Path, as_json: bool) -> None:
    """Show for each part what runs, is installed, is pinned and was tested, and what a deploy would change.

    Nothing is changed. Exit code 1 when a deploy would refuse a version, the room for it, or the database, 3 when a host cannot be
    reached. What else a deploy looks at (passwords, ports, package source) `deploy --dry` says.
    """
    from cvat_analytics.operate import upgrade_plan

    with remote.reach_hosts(inventory) as reached:
        found = upgrade_plan.of(reached)
    if as_json:
        echo(json.dumps({**asdict(found), "steps": [asdict(step) for step in found.steps]}))
    else:
        _show(found, inventory)
    sys.exit(1 if found.refused else 0)


@upgrade.command("apply")
@inventory_option
@click.option("--yes", is_flag=True, help="Ask nothing: what a shorter retention deletes may be deleted.")
@click.pass_context
def apply(context: click.Context, inventory: Path, yes: bool) -> None:
    """Deploy, which upgrades one part after the other: the same as `deploy`.

    Exit codes as for `deploy`; 1 also when a part failed and was brought back to what it ran with.
    """
    from scripts.deploy import deploy

    context.invoke(deploy, inventory=inventory, dry=False, diff=False, limit=(), yes=yes, verbose=False)


def _show(plan: Plan, inventory: Path) -> None:
    echo(f"{'part':<11} {'running':<14} {'installed':<14} {'pinned':<14} {'tested':<14} host")
    for part in plan.parts:
        values = (part.running or "-", part.installed or "-", part.pinned or "-", part.tested or "-")
        echo(f"{part.part:<11} {' '.join(f'{value:<14}' for value in values)} {part.host}")
    echo(f"{'schema':<11} {plan.schema or '-':<44} {plan.newest}")
    for text in plan.not_known:
        echo(hints.pasteable(text), err=True)
    if plan.events is not None and plan.bytes is not None:
        echo(f"stored      {plan.events:,} events, {size(plan.bytes)} in all tables")
    for step in plan.steps:
        _show_step(step)
    for migration in (*plan.migrations, *plan.views):
        took = (
            "not measured"
            if migration.seconds is None
            else f"about {max(1, round(migration.seconds))} s here"
        )
        echo(f"\n{migration.name}: {took}")
    if plan.refused:
        echo("\nA deploy refuses this, before the first change:")
        for text in plan.refused:
            echo(f"  {hints.pasteable(text)} [{Code.UPGRADE_REFUSED}]")
    elif plan.steps or plan.migrations or plan.views:
        echo(f"\nIt is done by: {hints.command('upgrade', 'apply', '--inventory', inventory)}")
    else:
        echo("\nEverything is in the versions of the settings, and the schema is this checkout's.")


def _show_step(step: Planned) -> None:
    echo(f"\n{step.part} {step.installed} -> {step.pinned} on {step.host}")
    echo(f"  stops: {step.stops}")
    echo(f"  room:  {size(step.needs_bytes)} of {size(step.free_bytes or 0)} free")
    if step.part in OWN:
        echo("  back:  the former checkout, and a deploy")
        return
    back = (
        "its version set back, and a deploy"
        if step.goes_back
        else "only what was kept from before (docs/how-to/upgrade.md#go-back)"
    )
    echo(f"  back:  {back}")
    echo(f"  tested: {step.tested}, {step.tested_how}")
    for note in step.changes:
        echo(f"  {note.since:<6} {note.text} ({note.source})")
