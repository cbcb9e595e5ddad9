"""`cvat-analytics users`: who may log in where there is no CVAT to ask."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cvat_analytics import events_api
from cvat_analytics import inventory as inventories
from cvat_analytics import users as library
from cvat_analytics.embedded import stack
from cvat_analytics.errors import InputError
from cvat_analytics.users import User, Users
from scripts.reach import target_options
from scripts.target import DEFAULT_DIRECTORY


@click.group()
def users() -> None:
    """Say who may log in to the dashboards and the events API where there is no CVAT to ask.

    The users are in `users.json` beside the passwords, each with an argon2 hash. An embedded stack takes a change at once; on
    hosts the next `cvat-analytics deploy` brings it.
    """


class _File:
    """The users file of the stack that the options name."""

    def __init__(self, directory: Path | None, inventory: Path | None) -> None:
        self._stack = None if inventory else stack.find(directory or DEFAULT_DIRECTORY)
        if self._stack:
            self.path = stack.users_file(self._stack.directory)
        elif inventory:
            self.path = inventories.load(inventory).secrets_file.with_name(events_api.USERS_FILE)

    def read(self) -> Users:
        return library.load(self.path)

    def write(self, changed: Users) -> None:
        library.save(self.path, changed)
        if self._stack:
            stack.apply_users(self._stack)
        else:
            click.echo("`cvat-analytics deploy` brings it to the hosts.")


def _password(name: str) -> str:
    """Return the password that is typed twice, or the first line of standard input where that is a pipe."""
    if sys.stdin.isatty():
        return str(click.prompt(f"Password of {name}", hide_input=True, confirmation_prompt=True, err=True))
    return sys.stdin.readline().rstrip("\n")


@users.command()
@click.argument("name")
@click.option("--analytics", is_flag=True, help="May see the dashboards.")
@click.option("--admin", is_flag=True, help="May see everything, and change dashboards.")
@click.option(
    "--id",
    "id_",
    type=int,
    help="The person's user id in the events; without one, events of that user name are his.",
)
@click.option("--email", default="", help="E-mail address that his events get.")
@target_options
def add(
    name: str,
    analytics: bool,
    admin: bool,
    id_: int | None,
    email: str,
    directory: Path | None,
    inventory: Path | None,
) -> None:
    """Add a user. The password is asked for, or read from a pipe; it never stands in a command line."""
    file = _File(directory, inventory)
    if name == events_api.ADMIN:
        raise InputError(f"user {name!r}: is the stack's own administrator. Use another name")
    known = library.add(file.read(), User(name, "", analytics, admin, id_, email))
    file.write(library.set_password(known, name, _password(name)))
    click.echo(f"{file.path}: {name} may log in now.")


@users.command("list")
@target_options
def list_(directory: Path | None, inventory: Path | None) -> None:
    """List the users and what each of them may."""
    known = _File(directory, inventory).read()
    for name in sorted(known):
        user = known[name]
        may = ["admin"] * user.admin + ["analytics"] * user.analytics
        click.echo(
            f"{name:<24} {', '.join(may) or '-':<18} {'' if user.id is None else f'id {user.id}':<10} {user.email}".rstrip()
        )
    if not known:
        click.echo("Nobody but the stack's own administrator. Add one with `cvat-analytics users add NAME`.")


@users.command()
@click.argument("name")
@target_options
def remove(name: str, directory: Path | None, inventory: Path | None) -> None:
    """Remove a user."""
    file = _File(directory, inventory)
    file.write(library.remove(file.read(), name))
    click.echo(f"{file.path}: {name} may not log in any more.")


@users.command("set-password")
@click.argument("name")
@target_options
def set_password(name: str, directory: Path | None, inventory: Path | None) -> None:
    """Change a user's password. It is asked for, or read from a pipe."""
    file = _File(directory, inventory)
    known = file.read()
    library.find(known, name)  # says so before a password is asked for when there is no such user
    file.write(library.set_password(known, name, _password(name)))
    click.echo(f"{file.path}: {name} has a new password.")
