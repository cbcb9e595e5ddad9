"""`cvat-analytics cvat-env`: what the CVAT side has to be told."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.base.files import write_atomically
from cvat_analytics.config import inventory as inventories
from cvat_analytics.config import topology as topologies
from cvat_analytics.credentials.certificates import Authority
from cvat_analytics.gateway import compose, compose_check, no_proxy
from cvat_analytics.gateway import cvat_env as library
from scripts import hints
from scripts.target import Target, target_options
from scripts.terminal import echo

_NAME = "CLICKHOUSE_PASSWORD"


def compose_options[F: Callable[..., Any]](function: F) -> F:
    """Add `--cvat-compose` and `--docker-config`, which say for what CVAT the override is."""
    compose_files = click.option(
        "--cvat-compose", type=click.Path(path_type=Path, exists=True), multiple=True, metavar="FILE",
        help="A compose file of your CVAT, whose services the override is for; once for each -f that you start CVAT with, in that order. "
        "A directory stands for what Docker Compose takes there.  [default: the services of CVAT 2.40]",
    )  # fmt: skip
    config = click.option(
        "--docker-config", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE",
        help="The config.json of the docker that starts CVAT, whose noProxy the override keeps.  [default: ~/.docker/config.json]",
    )  # fmt: skip
    return compose_files(config(function))


@click.command("cvat-env")
@click.option(
    "--format", "form", type=click.Choice(["env", "compose", "traefik"]), default="env", show_default=True,
    help="Lines for .env, a docker compose override, or a rule file for CVAT's traefik.",
)  # fmt: skip
@click.option("--off", is_flag=True, help="What turns analytics off on the CVAT side.")
@compose_options
@click.option(
    "--show-password", is_flag=True, help="Print the password of the user cvat as well (format env)."
)
@click.option(
    "--password-file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="Add or replace the line with the password in this file, and let nobody else read it (mode 0600).",
)  # fmt: skip
@target_options
def cvat_env(
    form: str, off: bool, cvat_compose: tuple[Path, ...], docker_config: Path | None, show_password: bool,
    password_file: Path | None, target: Target,
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
    if (cvat_compose or docker_config) and form != "compose":
        raise click.UsageError("--cvat-compose and --docker-config go with --format compose")
    topology, password, authority = described(target)
    env = library.environment(topology, authority is None)
    if env.refused and not off:
        raise InputError(Code.CVAT_ENV_REFUSED, env.refused)
    values, notes = (library.OFF, []) if off else (env.values, list(env.notes))
    if form == "traefik":
        text = library.as_traefik(topology, authority)
    elif form == "compose":
        text, more = override(env, off, cvat_compose, docker_config)
        notes += more
    else:
        text = library.as_env({**values, _NAME: password()} if show_password else values)
    echo(text, nl=False)
    if password_file:
        _write_password(password_file, password())
        echo(f"{password_file}: has the password now.", err=True)
    for note in notes:
        echo(f"Note: {hints.pasteable(note)}.", err=True)


def override(
    env: library.Environment,
    off: bool,
    cvat_compose: tuple[Path, ...],
    docker_config: Path | None,
    keep_stock: bool = False,
) -> tuple[str, list[str]]:
    """Return the compose override, and what is to be said of it. `keep_stock`: the stock analytics goes on beside it."""
    here = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    config = docker_config or (here if here.is_file() else None)
    kept = no_proxy.of_docker(config) if config else None
    services = library.SERVICES
    if cvat_compose:
        project = compose.project(cvat_compose, os.environ, library.HEADER)
        services = library.cvats_services(project, ", ".join(map(str, cvat_compose)))
    if keep_stock:
        services = {name: lists for name, lists in services.items() if name not in library.STOCK_SERVICES}
    text = library.as_compose(env, services, off, kept)
    notes = []
    if not off and not docker_config:
        connecting = {
            name: lists
            for name, lists in services.items()
            if name not in library.STOCK_SERVICES and (name != library.PROXY or env.proxy)
        }
        notes = [no_proxy.doubtful(connecting, config if kept is not None else None)]
    if cvat_compose:
        refusal = compose_check.complaint(compose.files(cvat_compose, os.environ), text)
        notes += [f"Docker Compose does not take it after these files: {refusal}"] if refusal else []
    return text, [note for note in notes if note]


def described(target: Target) -> tuple[topologies.Topology, Callable[[], str], Authority | None]:
    """Return the stack's topology, what reads the password, and its authority; an embedded stack has none."""
    if target.inventory:
        deployed = inventories.load(target.inventory)
        return deployed.topology, lambda: deployed.secrets()["clickhouse_cvat"], deployed.authority
    context = target.embedded().context()
    return context.topology, lambda: context.secrets["clickhouse_cvat"], None


def _write_password(path: Path, password: str) -> None:
    """Have one line with the password in the file `path`, and the others as they were."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
        lines = lines[:-1] if lines[-1:] == [""] else lines
        kept = [line for line in lines if not line.startswith(f"{_NAME}=")]
        write_atomically(path, "".join(f"{line}\n" for line in [*kept, f"{_NAME}={password}"]))
    except OSError as error:
        raise InputError(Code.OUTPUT_UNWRITABLE, f"{path}: cannot be written ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise InputError(
            Code.FILE_UNREADABLE,
            f"{path}: is not UTF-8, byte {error.start}; nothing was changed. Save it as UTF-8",
        ) from None
