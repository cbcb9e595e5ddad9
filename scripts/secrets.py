"""`cvat-analytics secrets`: the generated passwords."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

import click

from cvat_analytics.base.errors import InputError
from cvat_analytics.config import inventory as inventories
from cvat_analytics.credentials import secrets as library
from cvat_analytics.operate import rotation
from scripts import hints
from scripts.target import Target, inventory_option, target_options
from scripts.terminal import echo, secret_from_pipe


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
        echo(f"{path}: generated {', '.join(added)}. Keep a copy in your password store.")
    else:
        echo(f"{path}: has every password already; nothing changed.")


@secrets.command("set")
@click.argument("name", type=click.Choice(library.GIVEN))
@inventory_option
def set_(name: str, inventory: Path) -> None:
    """Put the password of another system (mail server, webhook) into the secrets file. It is asked for, or read from a pipe."""
    path = inventories.load(inventory).secrets_file
    value = click.prompt(name, hide_input=True, err=True) if sys.stdin.isatty() else secret_from_pipe()
    library.give(path, name, value)
    echo(
        f"{path}: has {name} now. `{hints.command('deploy', '--inventory', inventory)}` brings it to the hosts."
    )


@secrets.command()
@click.argument("user", type=click.Choice(rotation.USERS))
@click.option("--finish", is_flag=True, help="For cvat: let ClickHouse forget the old password now.")
@target_options
def rotate(user: str, finish: bool, target: Target) -> None:
    """Give a user of ClickHouse a new password while events flow; no event is lost and nothing has to be stopped.

    ClickHouse accepts both passwords until nobody uses the old one any more. That of `cvat` is used by the CVAT server: both
    stay valid until you have changed it there and run this with --finish. A deployed stack must be as its inventory says;
    each step is a deploy. An interrupted change is completed by running the same command again.
    """
    if finish and user != "cvat":
        raise click.UsageError("--finish is for cvat only; the others are finished by themselves")
    change = _change(user, target)
    if finish and not change.begun:
        raise InputError(
            f"there is no change of the password of cvat to finish: begin one with `{target.hint('secrets', 'rotate', 'cvat')}`"
        )
    if change.run(finish=finish or user != "cvat"):
        echo(
            f"{change.path}: {user} has a new password, and the old one is not valid any more. Keep a copy of the file."
        )
    else:
        echo(
            f"ClickHouse accepts a new password of cvat beside the old one. Now set CLICKHOUSE_PASSWORD on the CVAT side "
            f"(`{target.hint('cvat-env', '--show-password')}`), restart its server and workers, then run "
            f"`{target.hint('secrets', 'rotate', 'cvat', '--finish')}`."
        )


def _change(user: str, target: Target) -> rotation.Rotation:
    def say(text: str) -> None:
        echo(text, err=True)

    if not target.inventory:
        running = target.embedded()

        def start() -> object:
            from cvat_analytics.embedded import starting  # what renders files, when it has come to that

            return starting.up(running.directory)

        return rotation.Rotation(
            user,
            running.directory / "secrets.json",
            start,
            lambda: nullcontext(running.access()),
            say,
        )
    # what deploys, which no other command here needs
    from cvat_analytics.connect import remote
    from scripts import deploy

    inventory = target.inventory
    described = inventories.load(inventory)
    change = rotation.Rotation(
        user,
        described.secrets_file,
        lambda: deploy.bring(inventory, quiet=True),
        lambda: remote.reach(inventory),
        say,
    )
    change.refuse_old(described.topology.settings[described.topology.clickhouse_host].clickhouse_version)
    if not change.begun:
        deploy.refuse_pending(inventory)
    return change
