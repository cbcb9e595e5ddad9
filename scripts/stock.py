"""`cvat-analytics stock`: convert the event table of a stock CVAT installation where it stands."""

from __future__ import annotations

import click

from cvat_analytics.importing import stock as library
from scripts import terminal
from scripts.import_ import report
from scripts.target import Target, target_options
from scripts.terminal import echo


@click.group()
def stock() -> None:
    """Convert the event table of a stock CVAT installation where it stands, and undo that until it is confirmed."""


@stock.command()
@target_options
def convert(target: Target) -> None:
    """Put this stack's event table in the place of the stock one, and copy all events into it.

    New events go into the new table from the first moment. The stock table stays as `events_stock` until `confirm`. Can be
    interrupted and repeated.
    """
    with target.reach(begin="the conversion") as access:
        report(library.convert(access), "Converting")
    echo(
        "The stock table is kept as `events_stock`. Deploy the stack, look at your dashboards, then run "
        f"`{target.hint('stock', 'confirm')}` to drop it, or `{target.hint('stock', 'rollback')}` to return to it."
    )


@stock.command()
@target_options
def rollback(target: Target) -> None:
    """Put the stock table back into its place, with the events that have arrived in the meantime."""
    with target.reach(begin="the way back") as access:
        arrived = library.rollback(access, lambda rows: None)
    echo(f"The stock table is `events` again; {arrived:,} events that had arrived in the meantime are in it.")


@stock.command()
@target_options
@click.option("--yes", is_flag=True, help="Do not ask before the stock table is dropped.")
def confirm(target: Target, yes: bool) -> None:
    """Drop the stock table that `convert` has kept, after comparing both once more. This cannot be undone."""
    with target.reach() as access:
        report(library.conversion(access), "Copying what is left")
        if not yes:
            terminal.confirm(f"Drop the table {access.database}.{library.ASIDE} for good?", abort=True)
        library.confirm(access)
    echo("The stock table is gone; the conversion is complete.")
