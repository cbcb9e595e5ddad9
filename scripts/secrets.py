"""`cvat-analytics secrets`: the generated passwords."""

from __future__ import annotations

from pathlib import Path

import click

from cvat_analytics import inventory as inventories
from cvat_analytics import secrets as library
from scripts.target import inventory_option


@click.group()
def secrets() -> None:
    """Make the stack's passwords."""


@secrets.command()
@inventory_option
def init(inventory: Path) -> None:
    """Generate the passwords that the inventory's secrets file lacks. Existing ones are never changed."""
    path = inventories.load(inventory).secrets_file
    added = library.init(path)
    if added:
        click.echo(f"{path}: generated {', '.join(added)}. Keep a copy in your password store.")
    else:
        click.echo(f"{path}: has every password already; nothing changed.")


@secrets.command("set")
@click.argument("name", type=click.Choice(library.GIVEN))
@inventory_option
def set_(name: str, inventory: Path) -> None:
    """Put the password of another system (mail server, webhook) into the secrets file. It is read from standard input."""
    path = inventories.load(inventory).secrets_file
    value = click.prompt(name, hide_input=True, err=True)
    library.give(path, name, value)
    click.echo(f"{path}: has {name} now. `cvat-analytics deploy` brings it to the hosts.")
