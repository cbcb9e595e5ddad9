"""`cvat-analytics deploy`: bring the inventory's hosts to what the settings say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from cvat_analytics import inventory as inventories
from cvat_analytics import secrets
from cvat_analytics.render import ROOT
from scripts.target import inventory_option

_BEGINS = "--> Beginning operation run"
"""What pyinfra says before its first change; everything before that is reading."""
_NOT_CONNECTED = re.compile(r"\[([^\]]+)\] Could not connect \((.*)\)")
_PLACE_IN_CODE = re.compile(r"^--> pyinfra error in \S+ line \d+: ")
"""Where a refusal was raised is of no use to an operator; what it says is."""


@click.command()
@inventory_option
@click.option(
    "--dry", is_flag=True, help="Change nothing; show what would change, pending migrations included."
)
@click.option("--diff", is_flag=True, help="Show the differences in files that hold no secret.")
@click.option("--limit", multiple=True, metavar="HOST", help="Only this host or group. May be repeated.")
@click.option("-v", "--verbose", is_flag=True, help="Show every command that runs on the hosts.")
def deploy(inventory: Path, dry: bool, diff: bool, limit: tuple[str, ...], verbose: bool) -> None:
    """Install, configure and start the stack on the inventory's hosts. A second run changes nothing.

    Exit code 2, with nothing changed, for a wrong setting, a host that cannot be reached or will not do, and a package
    source that lacks a package; 1 when a step failed: run it again when the cause is gone, and it goes on from there.
    """
    stack = inventories.load(inventory)
    _ensure_secrets(stack)
    arguments = ["--json", "--fail-percent", "0", "--dry" if dry else "-y"]
    arguments += ["--diff"] if diff else []
    arguments += ["-vv"] if verbose else []
    arguments += [argument for name in limit for argument in ("--limit", name)]
    result, begun, unreachable, code = _pyinfra(inventory.absolute(), arguments)
    if code != 0:
        for host, reason in unreachable:
            click.echo(
                f"cvat-analytics: host {host}: cannot be reached ({reason}). Check its name and ssh_hostname, ssh_port, "
                "ssh_user, ssh_key in the inventory",
                err=True,
            )
        if not begun:
            click.echo(
                "cvat-analytics: refused before the first change; the hosts are as they were", err=True
            )
        else:
            click.echo(
                "cvat-analytics: a step failed (see above). Run it again when the cause is gone: it goes on from there",
                err=True,
            )
        sys.exit(1 if begun else 2)
    if dry:
        _show_plan(result["plan"])
    else:
        _show_result(result["results"], inventory)


def _ensure_secrets(stack: inventories.Stack) -> None:
    """Generate the passwords on first use, and refuse to go on without them."""
    # A file that the settings name must be there: a new one would change every password without anybody noticing
    if not any(settings.secrets_file for settings in stack.topology.settings.values()):
        added = secrets.init(stack.secrets_file)
        if added:
            click.echo(f"Generated passwords into {stack.secrets_file}. Keep a copy in your password store.")
    stack.secrets()


def _pyinfra(
    inventory: Path, arguments: list[str]
) -> tuple[dict[str, Any], bool, list[tuple[str, str]], int]:
    """Run pyinfra; return its result, whether it began to change hosts, hosts not reached and why, its exit code."""
    command = [sys.executable, "-m", "pyinfra", str(inventory), "deploy.py", *arguments]
    environment = os.environ | {"PYINFRA_PROGRESS": "off"}
    begun = False
    unreachable = []
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        for line in process.stderr or ():
            begun = begun or _BEGINS in line
            unreachable += _NOT_CONNECTED.findall(line)
            click.echo(_PLACE_IN_CODE.sub("cvat-analytics: ", line), nl=False, err=True)
        output = process.stdout.read() if process.stdout else ""
    code = process.returncode
    return (json.loads(output) if code == 0 else {}), begun, unreachable, code


def _show_plan(plan: list[dict[str, Any]]) -> None:
    changes = [step for step in plan if step["hosts_with_change"] or step["hosts_with_conditional_change"]]
    for step in changes:
        click.echo(
            f"would change  {step['name']}  on {', '.join(step['hosts_with_change'] + step['hosts_with_conditional_change'])}"
        )
    click.echo(
        f"{len(changes)} of {len(plan)} operations would change something."
        if changes
        else f"Nothing would change ({len(plan)} operations)."
    )


def _show_result(results: dict[str, Any], inventory: Path) -> None:
    changed = [step for step in results["operations"] if step["success"]]
    for step in changed:
        click.echo(f"changed  {step['name']}  on {', '.join(step['success'])}")
    count = len(results["operations"])
    click.echo(
        f"{len(changed)} of {count} operations changed something."
        if changed
        else f"Nothing to change: all {count} operations found things as they should be."
    )
    click.echo(f"Prove that it works: cvat-analytics smoke --inventory {inventory}")
