"""`cvat-analytics deploy`: bring the inventory's hosts to what the settings say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click

from cvat_analytics import inventory as inventories
from cvat_analytics import secrets
from cvat_analytics.render import ROOT
from scripts.target import inventory_option


@click.command()
@inventory_option
@click.option(
    "--dry",
    is_flag=True,
    help="Change nothing; show which files would change and which migrations are pending.",
)
@click.option("--diff", is_flag=True, help="Show the differences in files that hold no secret.")
@click.option("--limit", multiple=True, metavar="HOST", help="Only this host or group. May be repeated.")
@click.option("-v", "--verbose", is_flag=True, help="Show every command that runs on the hosts.")
def deploy(inventory: Path, dry: bool, diff: bool, limit: tuple[str, ...], verbose: bool) -> None:
    """Install, configure and start the stack on the inventory's hosts. A second run changes nothing."""
    stack = inventories.load(inventory)
    if not dry or stack.secrets_file.exists():
        _ensure_secrets(stack)
    command = [
        sys.executable,
        "-m",
        "pyinfra",
        str(inventory.absolute()),
        "deploy.py",
        "--json",
        "-vv" if verbose else "-v",
    ]
    command += ["--dry"] if dry else ["-y"]
    command += ["--diff"] if diff else []
    command += [argument for name in limit for argument in ("--limit", name)]
    run = subprocess.run(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYINFRA_PROGRESS": "off"},
        check=False,
    )
    print(run.stdout[:3000])
    sys.exit(run.returncode)


def _ensure_secrets(stack: inventories.Stack) -> None:
    # A file that the settings name must be there: a new one would change every password without anybody noticing
    named = any(settings.secrets_file for settings in stack.topology.settings.values())
    if not named:
        for name in secrets.init(stack.secrets_file):
            click.echo(f"generated the password {name} into {stack.secrets_file}")
    stack.secrets()
