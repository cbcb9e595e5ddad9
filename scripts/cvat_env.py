"""`cvat-analytics cvat-env`: what the CVAT side has to be told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from cvat_analytics.base.errors import InputError
from cvat_analytics.base.files import write_atomically
from cvat_analytics.config import inventory as inventories
from cvat_analytics.config import topology
from cvat_analytics.credentials.certificates import Authority
from cvat_analytics.gateway import cvat_env as library
from scripts import hints
from scripts.target import Target, target_options
from scripts.terminal import echo

_NAME = "CLICKHOUSE_PASSWORD"


@click.command("cvat-env")
@click.option(
    "--format", "form", type=click.Choice(["env", "compose", "traefik"]), default="env", show_default=True,
    help="Lines for .env, a docker compose override, or a rule file for CVAT's traefik.",
)  # fmt: skip
@click.option("--off", is_flag=True, help="What turns analytics off on the CVAT side.")
@click.option(
    "--cvat-compose", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE",
    help="Your CVAT's docker-compose.yml, whose services the override is for.  [default: those of CVAT 2.40]",
)  # fmt: skip
@click.option(
    "--show-password", is_flag=True, help="Print the password of the user cvat as well (format env)."
)
@click.option(
    "--password-file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="Add or replace the line with the password in this file, and let nobody else read it (mode 0600).",
)  # fmt: skip
@target_options
def cvat_env(
    form: str, off: bool, cvat_compose: Path | None, show_password: bool, password_file: Path | None,
    target: Target,
) -> None:  # fmt: skip
    """Print what the CVAT side has to be told: the address of Vector, of ClickHouse for its exports, of the dashboards.

    No host is asked; what stands in the way is said on standard error. The password is printed only if you ask for it.
    """
    if off and (form == "traefik" or show_password or password_file):
        raise click.UsageError("--off goes with the formats env and compose, and needs no password")
    if show_password and form != "env":
        raise click.UsageError(
            "--show-password goes with the format env; a compose file takes the password from .env"
        )
    if cvat_compose and form != "compose":
        raise click.UsageError("--cvat-compose goes with --format compose")
    described, password, authority = _described(target)
    env = library.environment(described, authority is None)
    values = library.OFF if off else env.values
    if form == "traefik":
        text = library.as_traefik(described, authority)
    elif form == "compose":
        names = (
            library.services(cvat_compose.read_text(), str(cvat_compose))
            if cvat_compose
            else library.SERVICES
        )
        text = library.as_compose(
            values, names, rule=env.rule and not off, authority=env.authority and not off
        )
    else:
        text = library.as_env({**values, _NAME: password()} if show_password else values)
    echo(text, nl=False)
    if password_file:
        _write_password(password_file, password())
        echo(f"{password_file}: has the password now.", err=True)
    for note in () if off else env.notes:
        echo(f"Note: {hints.pasteable(note)}.", err=True)


def _described(target: Target) -> tuple[topology.Topology, Callable[[], str], Authority | None]:
    """Return the stack's topology, what reads the password, and its authority; an embedded stack has none."""
    if target.inventory:
        deployed = inventories.load(target.inventory)
        return deployed.topology, lambda: deployed.secrets()["clickhouse_cvat"], deployed.authority
    context = target.embedded().context()
    return context.topology, lambda: context.secrets["clickhouse_cvat"], None


def _write_password(path: Path, password: str) -> None:
    """Have one line with the password in the file `path`, and the others as they were."""
    try:
        lines = path.read_text().splitlines() if path.exists() else []
        kept = [line for line in lines if not line.startswith(f"{_NAME}=")]
        write_atomically(path, "".join(f"{line}\n" for line in [*kept, f"{_NAME}={password}"]))
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
