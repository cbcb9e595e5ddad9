"""`cvat-analytics users`: who may log in where there is no CVAT to ask."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import click

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.credentials import users as library
from cvat_analytics.credentials.users import User, Users
from cvat_analytics.embedded import stack
from scripts.target import Target, target_options
from scripts.terminal import echo, one_line, prompt, secret_from_pipe

if TYPE_CHECKING:
    from cvat_analytics.config.settings import Settings


@click.group()
def users() -> None:
    """Say who may log in to the dashboards and the events API where there is no CVAT to ask.

    The users are in `users.json` beside the passwords, each with an argon2 hash. An embedded stack takes a change at once; on
    hosts the next `cvat-analytics deploy` brings it.
    """


class _File:
    """The users file of the stack that the options name."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._stack = None if target.inventory else target.embedded()
        self._settings: Settings | None = None
        self._gateway = False
        if self._stack:
            self.path = stack.users_file(self._stack.directory)
        elif target.inventory:
            from cvat_analytics.config import (
                inventory as inventories,  # settings, which an embedded stack's list does without
            )

            described = inventories.load(target.inventory)
            self.path = described.secrets_file.with_name(library.FILE_NAME)
            for host in described.topology.groups["gateway"] or described.topology.groups["events_api"]:
                self._settings = described.topology.settings[host]
            self._gateway = bool(described.topology.groups["gateway"])

    def read(self) -> Users:
        return library.load(self.path)

    def write(self, changed: Users, done: str) -> None:
        """Save what has changed, say what was `done`, and what is still to do before that is so."""
        library.save(self.path, changed)
        echo(f"{self.path}: {done}.")
        if self._stack:
            from cvat_analytics.embedded import starting  # what renders files, which only a change takes

            starting.apply_users(self._stack)
            return
        if self._settings is None:
            echo("Nothing asks these users: the inventory has no host in the group 'events_api'.")
        elif self._asks_cvat:
            echo("Nothing asks these users: 'cvat_url' is set, so CVAT says who may log in.")
        else:
            echo(f"In force after: {self._target.hint('deploy')}")

    @property
    def _asks_cvat(self) -> bool:
        return bool(self._settings and self._settings.asked_cvat)

    def show_link(self, user: User) -> None:
        """Say what to hand to the person beside the password, where there is a gateway to lead to."""
        if self._settings is None or not self._gateway or self._asks_cvat:
            return
        root = self._settings.grafana_root_url
        if user.analytics or user.admin:
            echo(f"Their link: {root}")
        echo(f"Their events: {urljoin(root, '/api/events/docs')}")


def _password(name: str) -> str:
    """Return the password that is typed twice, or the first line of standard input where that is a pipe."""
    if sys.stdin.isatty():
        return str(prompt(f"Password of {name}", hide_input=True, confirmation_prompt=True, err=True))
    return secret_from_pipe()


@users.command()
@click.argument("name")
@click.option("--analytics", is_flag=True, help="May see the dashboards.")
@click.option("--admin", is_flag=True, help="May see everything, and change dashboards.")
@click.option(
    "--id",
    "id_",
    type=click.IntRange(1, 2**63 - 1),
    help="The person's user id in the events; without one, events of that user name are theirs.",
)
@click.option("--email", default="", help="E-mail address that their events get.")
@target_options
def add(
    name: str,
    analytics: bool,
    admin: bool,
    id_: int | None,
    email: str,
    target: Target,
) -> None:
    """Add a user. The password is asked for, or read from a pipe; it never stands in a command line."""
    file = _File(target)
    if name == library.ADMIN:
        raise InputError(
            Code.USER_IS_ADMINISTRATOR, f"user {name!r}: is the stack's own administrator. Use another name"
        )
    user = User(name, "", analytics, admin, id_, email)
    known = library.add(file.read(), user)
    file.write(
        library.set_password(known, name, _password(name)), f"{name} may log in and sees {_sees(user)}"
    )
    file.show_link(user)


@users.command()
@click.argument("name")
@click.option("--analytics/--no-analytics", default=None, help="May see the dashboards, or no longer.")
@click.option(
    "--admin/--no-admin", default=None, help="May see everything and change dashboards, or no longer."
)
@click.option("--id", "id_", type=click.IntRange(1, 2**63 - 1), help="The person's user id in the events.")
@click.option("--no-id", is_flag=True, help="Has no id: events of their user name are theirs.")
@click.option("--email", help="E-mail address that their events get.")
@target_options
def change(
    name: str,
    analytics: bool | None,
    admin: bool | None,
    id_: int | None,
    no_id: bool,
    email: str | None,
    target: Target,
) -> None:
    """Change what a user may see, and which events are theirs. Their password stays; what is not given stays too."""
    if no_id and id_ is not None:
        raise click.UsageError("--id and --no-id: give one of them")
    fields = {"analytics": analytics, "admin": admin, "id": id_, "email": email}
    changes: dict[str, object] = {field: value for field, value in fields.items() if value is not None}
    if no_id:
        changes["id"] = None
    if not changes:
        raise click.UsageError(
            f"nothing to change: say what shall be so of {name} with --analytics, --admin (or --no-analytics, --no-admin), --id or --email"
        )
    file = _File(target)
    known = _known(file, name)
    changed = library.change(known, name, changes)
    if changed == known:
        echo(f"{file.path}: {name} is so already; nothing changed.")
        return
    file.write(changed, f"{name} sees {_sees(changed[name])}")
    if analytics or admin:
        file.show_link(changed[name])


@users.command("list")
@target_options
def list_(target: Target) -> None:
    """List the users and what each of them may."""
    known = _File(target).read()
    for name in sorted(known):
        user = known[name]
        echo(f"{one_line(name):<24} sees {_sees(user)}{f'; {user.email}' if user.email else ''}")
    if not known:
        echo(
            f"Nobody but the stack's own administrator. Add one with `{target.hint('users', 'add', 'NAME')}`."
        )


@users.command()
@click.argument("name")
@target_options
def remove(name: str, target: Target) -> None:
    """Remove a user."""
    file = _File(target)
    file.write(library.remove(_known(file, name), name), f"{name} may not log in any more")


@users.command("set-password")
@click.argument("name")
@target_options
def set_password(name: str, target: Target) -> None:
    """Change a user's password. It is asked for, or read from a pipe."""
    file = _File(target)
    known = _known(file, name)
    file.write(library.set_password(known, name, _password(name)), f"{name} has a new password")


def _known(file: _File, name: str) -> Users:
    """Return the users of whom `name` is one; says so before a password is asked for when none is."""
    if name == library.ADMIN:
        raise InputError(
            Code.USER_IS_ADMINISTRATOR,
            f"user {name!r}: is the stack's own administrator, whose password is `events_api_admin` in the file with the "
            "passwords. Change it there and deploy",
        )
    known = file.read()
    library.find(known, name)
    return known


def _sees(user: User) -> str:
    """Return in words what a user may see."""
    if user.admin:
        return "everything, and may change dashboards"
    own = (
        f"the events of user id {user.id}"
        if user.id is not None
        else f"the events of the user name {user.name}"
    )
    return (
        f"the dashboards, which show everybody, and by the API {own}"
        if user.analytics
        else f"{own}, and no dashboards"
    )
