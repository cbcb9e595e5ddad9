"""`cvat-analytics secrets`: the generated passwords."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

import click

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.config import inventory as inventories
from cvat_analytics.credentials import secrets as library
from cvat_analytics.operate import replacement, rotation
from scripts import hints
from scripts.target import Target, inventory_option, target_options
from scripts.terminal import echo, prompt, secret_from_pipe


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
    value = prompt(name, hide_input=True, err=True) if sys.stdin.isatty() else secret_from_pipe()
    library.give(path, name, value)
    echo(
        f"{path}: has {name} now. `{hints.command('deploy', '--inventory', inventory)}` brings it to the hosts."
    )


@secrets.command()
@click.argument("user", type=click.Choice((*rotation.USERS, *replacement.NAMES)))
@click.option(
    "--finish", is_flag=True, help="For cvat and vector_ingest: have the old password forgotten now."
)
@target_options
def rotate(user: str, finish: bool, target: Target) -> None:
    """Give a user of the stack a new password while events flow; no event is lost and nothing has to be stopped.

    ClickHouse, and for vector_ingest Vector, accepts both passwords until nobody uses the old one any more. That of `cvat` is used by
    the CVAT server, `vector_ingest` by whoever sends to a Vector that wants a password: both stay valid until you have changed it
    there and run this with --finish. Of grafana_admin and events_api_admin, with which nobody sends events, the old one ends at once.
    A deployed stack must be as its inventory says; each step is a deploy. An interrupted change is completed by running the same
    command again.
    """
    if finish and user not in rotation.OUTSIDE:
        raise click.UsageError(
            f"--finish is for {' and '.join(rotation.OUTSIDE)} only; the others are finished by themselves"
        )
    path, bring, reach, vectors_name = _stack(user, target)
    if user in replacement.NAMES:
        replacement.replace(user, path, bring, reach, _say)
        echo(
            f"{path}: {user} is a new password, and the old one is not valid any more. Keep a copy of the file."
        )
        return
    if user == rotation.INGEST and not vectors_name:
        raise InputError(
            Code.ROTATION_NOTHING,
            "vector_ingest: Vector asks nobody for a password, as there is no 'vector_username'. There is nothing to change",
        )
    change = rotation.Rotation(user, path, bring, reach, _say)
    if finish and not change.begun:
        raise InputError(
            Code.ROTATION_NOTHING,
            f"there is no change of the password of {user} to finish: begin one with `{target.hint('secrets', 'rotate', user)}`",
        )
    if change.run(finish=finish or user not in rotation.OUTSIDE):
        echo(
            f"{change.path}: {user} has a new password, and the old one is not valid any more. Keep a copy of the file."
        )
        return
    finishing = f"`{target.hint('secrets', 'rotate', user, '--finish')}`"
    if user == rotation.INGEST:
        echo(
            f"Vector accepts a new password beside the old one; the events API uses it already. Now give it to your proxy and other senders "
            f"(`vector_ingest` in {path}), then run {finishing}."
        )
        return
    echo(
        f"ClickHouse accepts a new password of cvat beside the old one. Now set CLICKHOUSE_PASSWORD on the CVAT side "
        f"(`{target.hint('cvat-env', '--show-password')}`), restart its server and workers, then run {finishing}."
    )


def _say(text: str) -> None:
    echo(text, err=True)


def _stack(user: str, target: Target) -> tuple[Path, rotation.Apply, rotation.Reach, str | None]:
    """Return the secrets file, how its passwords come to where they belong, the way there, and under which name Vector takes events."""
    if not target.inventory:
        running = target.embedded()

        def start() -> object:
            from cvat_analytics.embedded import starting  # what renders files, when it has come to that

            return starting.up(running.directory)

        file = running.directory / "secrets.json"
        return file, start, lambda: nullcontext(running.access()), None
    # what deploys, which no other command here needs
    from cvat_analytics.connect import remote
    from scripts import deploy

    inventory = target.inventory
    described = inventories.load(inventory)
    settings = described.topology.settings
    file = described.secrets_file
    if user not in (*replacement.NAMES, rotation.INGEST):
        rotation.refuse_old(settings[described.topology.clickhouse_host].clickhouse_version)
    if not any(name.startswith(_password_of(user) + "_") for name in library.load(file)):
        deploy.refuse_pending(inventory)
    name = settings[described.topology.groups["vector"][0]].vector_username
    return file, lambda: deploy.bring(inventory, quiet=True), lambda: remote.reach(inventory), name


def _password_of(user: str) -> str:
    return user if user in library.NAMES else f"clickhouse_{user}"
