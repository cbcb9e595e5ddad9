"""`cvat-analytics deploy`: bring the inventory's hosts to what the settings say."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import click

from cvat_analytics.base.codes import Code, first_code
from cvat_analytics.base.errors import CvatAnalyticsError, InputError
from cvat_analytics.base.project import ROOT
from cvat_analytics.config import inventory as inventories
from cvat_analytics.config.endpoints import LOOPBACK
from cvat_analytics.connect import clocks, remote
from cvat_analytics.connect.clickhouse_errors import STORE, explained
from cvat_analytics.connect.clocks import Clock
from cvat_analytics.credentials import secrets
from cvat_analytics.gateway import cvat_env, gateway
from cvat_analytics.rendering import alerts
from cvat_analytics.store import deployments
from deploys.report import AGREED, FILE, HAS_LEFT, HELD, LEAVING, MOVING
from scripts import hints
from scripts.target import inventory_option
from scripts.terminal import confirm, echo

REFUSED = "refused before the first change; the hosts are as they were"
AGAIN = ". Run it again when the cause is gone: it goes on from there"
_SFTP_ONLY = 'restrict,command="internal-sftp"'
"""What a host's key may do where backups are: reach files, and nothing else."""


@click.command()
@inventory_option
@click.option(
    "--dry", is_flag=True, help="Change nothing; show what would change, pending migrations included."
)
@click.option("--diff", is_flag=True, help="Show the differences in files that hold no secret.")
@click.option("--limit", multiple=True, metavar="HOST", help="Only this host or group. May be repeated.")
@click.option(
    "--yes",
    is_flag=True,
    help="Ask nothing: what a shorter retention deletes may be deleted, and ClickHouse and Vector may leave their hosts.",
)
@click.option("-v", "--verbose", is_flag=True, help="Show every command that runs on the hosts.")
def deploy(inventory: Path, dry: bool, diff: bool, limit: tuple[str, ...], yes: bool, verbose: bool) -> None:
    """Install, configure and start the stack on the inventory's hosts. A second run changes nothing.

    A part whose group a host has left is stopped and removed there; its data stays. Where a shorter retention would delete something
    for good, or ClickHouse or Vector leaves its host, it says what and asks first. Where versions change, the parts take turns: ClickHouse,
    Vector, Grafana, the events API, the gateway; the smoke test proves each, and one that fails is brought back to what it ran with. Nobody
    else deploys meanwhile.

    Exit code 2, with nothing changed, for a wrong setting, a host that cannot be reached or will not do, another deploy that is
    at work there, something to delete to which nobody has agreed, and a package source that lacks a package; 1 when a step
    failed: run it again when the cause is gone, and it goes on from there, or when all is done but the list of erasures could not be applied.
    """
    stack = inventories.load(inventory)
    _ensure_secrets(stack, dry)
    options = ["--diff"] if diff else []
    options += ["-vv"] if verbose else []
    options += [argument for name in limit for argument in ("--limit", name)]
    known = stack.authority.certificate_file.exists()
    before = _permitted(stack) if known else None
    try:
        outcome = _told_when_cut_off(inventory, dry, options, yes, stack)
    except UnagreedError as question:
        if not _somebody_is_there():
            raise
        echo(f"{question}", err=True)
        only_leaves = all(HAS_LEFT in line for line in question.losses)
        confirm("Go on?" if only_leaves else "Delete it for good?", abort=True, err=True)
        outcome = _told_when_cut_off(inventory, dry, options, True, stack)
    for found in outcome.upgrades if dry else ():
        echo(f"would upgrade  {found.text}  on {found.host}")
    for line in outcome.notes:
        echo(f"Note: {hints.pasteable(line)}.", err=True)
    for line in outcome.losses:
        verb = "leave" if HAS_LEFT in line else "delete"
        echo(f"{f'would {verb}' if dry else f'{verb}s'}  {line}")
    for line in clocks.warnings(outcome.clocks):
        echo(f"Note: {line}.", err=True)
    if not known:
        _tell_of_authority(stack, dry)
    elif added := sorted((_permitted(stack) or set()) - (before or set())):
        echo(
            f"The stack's authority signs for {', '.join(added)} as well now: who connects there has to trust {stack.authority.certificate_file} "
            "as it is now; for all other names the earlier one does."
        )
    for group, note_of in (("gateway", gateway.port_note), ("grafana", alerts.link_note)):
        for host in stack.topology.groups[group]:
            if note := note_of(stack.topology.settings[host]):
                echo(f"Note: host {host}: {hints.pasteable(note)}.", err=True)
    if dry:
        _show_plan(outcome.result["plan"])
        return
    changed = [step for step in outcome.result["results"]["operations"] if step["success"]]
    _show_result(changed, len(outcome.result["results"]["operations"]))
    if changed:
        _record(inventory, changed)
    _end_visitors(inventory, stack)
    erased = _apply_erasures(inventory, stack)
    _tell_of_cvat(outcome, stack, inventory)
    _tell_of_backups(outcome, stack, inventory)
    for host in stack.topology.groups["gateway"]:
        echo(f"People come in at: {stack.topology.settings[host].grafana_root_url}")
    echo(f"Prove that it works: {hints.command('smoke', '--inventory', inventory)}")
    if not erased:
        sys.exit(1)


def _told_when_cut_off(
    inventory: Path, dry: bool, options: Sequence[str], agreed: bool, stack: inventories.Stack
) -> Outcome:
    """Bring the hosts to what the inventory says. Where a part fails after others, what those have come to is told before it is raised."""
    try:
        return _brought(inventory, dry, options, agreed=agreed)
    except PartlyError as error:
        done = error.outcome
        operations = done.result["results"]["operations"]
        _show_result([step for step in operations if step["success"]], len(operations))
        for line in done.notes:
            echo(f"Note: {hints.pasteable(line)}.", err=True)
        _tell_of_backups(done, stack, inventory)
        raise


def _tell_of_backups(outcome: Outcome, stack: inventories.Stack, inventory: Path) -> None:
    """Say what nobody says again: that backups are made from now on, and the keys with which hosts reach the place of theirs."""
    if outcome.begins_backups:
        echo(
            f"Backups are made from now on. Keep a copy of `backup_recovery_key` of {stack.secrets_file} where these hosts are not: nothing else opens "
            f"them. Where backups of a lost stack are at the target, bring them back first: {hints.command('backup', 'restore', '--inventory', inventory)}"
        )
    for each in outcome.keys:
        echo(
            f"Let the backups of host {each['host']} in at {each['login']}: add this line to .ssh/authorized_keys there (docs/how-to/back-up-by-timer.md):\n  {_SFTP_ONLY} {each['key']}"
        )


def _somebody_is_there() -> bool:
    return sys.stdin.isatty()


def _permitted(stack: inventories.Stack) -> set[str] | None:
    """Return the names for which the authority in the file may sign; None where that says nothing of them."""
    pair = stack.authority.issued().get("ca")
    return pair.permitted() if pair else None


def _tell_of_authority(stack: inventories.Stack, dry: bool) -> None:
    """Say that there is, or would be, an authority which nobody trusts yet; where one was lost, nobody would notice otherwise."""
    outside = f"who connects from outside has to trust {stack.authority.certificate_file}, and an earlier one no longer counts."
    if stack.authority.certificate_file.exists():
        echo(
            f"Made the stack's own authority in {stack.authority.directory}. Keep a copy as of the passwords; {outside}"
        )
    elif dry and stack.topology.issues_certificates:
        echo(f"Would make the stack's own authority in {stack.authority.directory}: {outside}")


def _tell_of_cvat(outcome: Outcome, stack: inventories.Stack, inventory: Path) -> None:
    """Say which settings and files of CVAT's have changed, and by which command its side gets them."""
    command = hints.command("cvat-env", "--inventory", inventory)
    if outcome.told:
        echo(
            f"Tell CVAT, in the environment of its server and workers (docs/how-to/connect-cvat.md; all of it: `{command}`):"
        )
        for line in outcome.told:
            local = f"  (reached from that host only: `{command}` says what to set)"
            echo(f"  {line}{local if line.endswith(f'={LOOPBACK}') else ''}")
    rule, authority = (PurePath(name).name for name in (cvat_env.RULE, cvat_env.AUTHORITY))
    for name, what in outcome.files.items():
        if name == rule:
            echo(
                f"The rule for CVAT's traefik {what}. Put it beside CVAT's docker-compose.yml, then restart traefik (docs/how-to/connect-cvat.md):"
            )
            echo(f"  {command} --format traefik > {rule}")
        elif name == authority:
            certificate = shlex.quote(str(stack.authority.certificate_file))
            echo(
                f"The stack's authority, which CVAT has to trust for its exports, {what}. Copy it to beside CVAT's docker-compose.yml, then "
                "restart CVAT's server and workers (docs/how-to/use-tls.md):"
            )
            echo(f"  cp {certificate} {authority}")


@dataclass
class Outcome:
    """What a run of pyinfra came to: its own result, and which of CVAT's settings and files are new, or have changed."""

    result: dict[str, Any]
    told: list[str]
    files: dict[str, str]
    losses: Sequence[str] = ()
    notes: Sequence[str] = ()
    """What is no mistake, and may be worth less than somebody thinks."""
    begins_backups: bool = False
    """Whether a host has just been told to make backups."""
    keys: Sequence[Mapping[str, str]] = ()
    """The keys that hosts have just made to reach the place of their backups: `host`, `login` and `key`."""
    clocks: Sequence[Clock] = ()
    upgrades: Sequence[Upgrade] = ()


@dataclass(frozen=True)
class Upgrade:
    """A component of which a host gets another version, and from which to which in words."""

    host: str
    component: str
    text: str


class UnagreedError(InputError):
    """Something would be deleted for good, or a part with data leave its host, and nobody has agreed to it. Nothing has been changed."""

    losses: Sequence[str] = ()


class PartlyError(CvatAnalyticsError):
    """A part failed in its turn, after others have got their new version. `outcome` is what those have come to."""

    def __init__(self, text: str, outcome: Outcome) -> None:
        super().__init__(Code.UPGRADE_PART_FAILED, text)
        self.outcome = outcome


class StagedError(InputError):
    """Versions change, so that the parts take turns. Nothing has been changed."""

    def __init__(self, upgrades: Sequence[Upgrade]) -> None:
        steps = ", ".join(f"{each.text} on {each.host}" for each in upgrades)
        super().__init__(
            Code.UPGRADE_PENDING, f"versions change ({steps}). Run `cvat-analytics deploy` first"
        )
        self.upgrades = upgrades


def _brought(inventory: Path, dry: bool, options: Sequence[str], agreed: bool) -> Outcome:
    """Bring the hosts to what the inventory says, one part at a time where versions change."""
    try:
        return bring(inventory, dry, options, agreed=agreed)
    except StagedError as staged:
        from scripts import upgrading  # needed for that only

        return upgrading.by_parts(inventory, staged.upgrades, options, agreed)


def bring(
    inventory: Path,
    dry: bool = False,
    options: Sequence[str] = (),
    quiet: bool = False,
    agreed: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Outcome:
    """Bring the hosts of `inventory` to what it says, or with `dry` find out what that would change.

    `agreed`: what a shorter retention deletes may be deleted; without it UnagreedError is raised. `environment`: more of what the
    deploy reads there. Raises StagedError when versions change and `environment` does not say whose turn it is, InputError when it
    was refused before the first change, CvatAnalyticsError when a step failed.
    """
    arguments = ["--json", "--fail-percent", "0", "--dry" if dry else "-y", *options]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "report"
        path.touch()
        told = {FILE: str(path), **(environment or {})} | ({AGREED: "yes"} if agreed else {})
        output, code = _pyinfra(inventory.absolute(), arguments, told, quiet)
        # twice: pyinfra asks an operation what it would do, and then to do it
        notes = list(dict.fromkeys(path.read_text().splitlines()))
    report: dict[str, list[dict[str, str]]] = {}
    for line in map(json.loads, notes):
        report.setdefault(line["what"], []).append(line)
    losses = [each["text"] for each in report.get("loss", [])]
    upgrades = [Upgrade(each["host"], each["component"], each["text"]) for each in report.get("upgrade", [])]
    if code == 0:
        return Outcome(
            json.loads(output),
            [each["text"] for each in report.get("cvat setting", [])],
            {each["name"]: each["change"] for each in report.get("cvat file", [])},
            losses,
            [each["text"] for each in report.get("note", [])],
            "backup begins" in report,
            [each for each in report.get("backup key", []) if each["new"]],
            [_clock(each) for each in {each["host"]: each for each in report.get("clock", [])}.values()],
            upgrades,
        )
    reasons = [each["reason"] for each in report.get("refused", [])]
    if "unagreed" in report:
        error = UnagreedError(
            Code.LOSS_UNAGREED,
            "\n".join([*losses, "nothing has been changed. With `--yes` it is done without a question"]),
        )
        error.losses = losses
        raise error
    if "staged" in report:
        raise StagedError(upgrades)
    if "begun" not in report:
        cause = first_code("\n".join(reasons)) or Code.DEPLOY_REFUSED
        raise InputError(cause, "\n".join([*reasons, REFUSED]))
    raise CvatAnalyticsError(
        first_code("\n".join(reasons)) or Code.DEPLOY_STEP_FAILED,
        "\n".join([*reasons, f"a step failed (see above){AGAIN}"]),
    )


def _clock(told: Mapping[str, str]) -> Clock:
    synchronised = {"yes": True, "no": False}.get(told["synchronised"])
    return Clock(told["host"], float(told["least"]), float(told["most"]), synchronised)


def refuse_pending(inventory: Path) -> None:
    """Raise InputError when the hosts are not what `inventory` says: a command would change more than it is asked to."""
    plan = bring(inventory, dry=True, quiet=True).result["plan"]
    names = [
        step["name"] for step in plan if step["hosts_with_change"] or step["hosts_with_conditional_change"]
    ]
    if names:
        raise InputError(
            Code.NOT_AS_DEPLOYED,
            f"the hosts are not as {inventory} says ({', '.join(names)}). Run `{hints.command('deploy', '--inventory', inventory)}` first",
        )


def _record(inventory: Path, changed: list[dict[str, Any]]) -> None:
    """Note the deploy in ClickHouse; it has been done, so that a failure to note it is said and no more."""
    try:
        with remote.reach(inventory) as access:
            deployments.record(access, [host for step in changed for host in step["success"]], len(changed))
    except CvatAnalyticsError as error:
        echo(f"Note: the dashboards will not show this deploy: {hints.pasteable(error.told)}", err=True)


def _end_visitors(inventory: Path, stack: inventories.Stack) -> None:
    """Let Grafana forget visitors who have not been there for as long as names are kept; that it could not is said and no more."""
    keep = stack.topology.settings[stack.topology.groups["clickhouse"][0]].names_kept
    if keep is None:
        return
    from cvat_analytics.operate import visitors

    try:
        with remote.reach(inventory) as access:
            visitors.expire(access, keep)
    except CvatAnalyticsError as error:
        echo(f"Note: Grafana's old accounts of visitors are kept: {hints.pasteable(error.told)}", err=True)


def _apply_erasures(inventory: Path, stack: inventories.Stack) -> bool:
    """Take out again whoever is on the list of erasures and is there: after a restore, or on a new host.

    Returns False when it could not be done: the deploy has been, so that it is said and no more.
    """
    from cvat_analytics.operate import erasure_list, person

    if not stack.secrets_file.with_name(erasure_list.FILE_NAME).exists() and not _erasures_are_known(
        inventory
    ):
        return True
    try:
        with person.reached(inventory) as stored:
            if count := person.apply(stored, echo):
                echo(f"People who were erased before were taken out again: {count} ({stored.list_file}).")
    except CvatAnalyticsError as error:
        echo(
            f"NOT APPLIED: the list of erasures: {hints.pasteable(error.told)}\n"
            "People who were erased may be there again. All else of this deploy is done; run it again when the cause is gone.",
            err=True,
        )
        return False
    return True


def _erasures_are_known(inventory: Path) -> bool:
    """Return whether the database knows of erasures; that it could not be asked is said and no more."""
    from cvat_analytics.store import erasures

    try:
        with remote.reach(inventory) as access, explained(STORE):
            return bool(erasures.read(access.client(), access.database))
    except CvatAnalyticsError as error:
        echo(f"Note: whether people were erased before is not known: {hints.pasteable(error.told)}", err=True)
        return False


def _ensure_secrets(stack: inventories.Stack, dry: bool) -> None:
    """Generate the passwords on first use, or with `dry` say so, and refuse to go on without them."""
    if stack.makes_secrets and secrets.init(stack.secrets_file, dry=dry):
        if dry:
            echo(f"Would generate passwords into {stack.secrets_file}.")
            return
        echo(f"Generated passwords into {stack.secrets_file}. Keep a copy in your password store.")
    stack.secrets()


def _pyinfra(
    inventory: Path, arguments: list[str], environment: dict[str, str], quiet: bool
) -> tuple[str, int]:
    """Run pyinfra; return its result as JSON, and its exit code. `environment` says where to tell what happens (deploys/report.py).

    What it says goes to standard error as it comes, or with `quiet` only when it fails.
    """
    command = [
        sys.executable,
        "-m",
        "pyinfra",
        str(inventory),
        "deploy.py",
        "--config",
        "deploys/watch_config.py",
    ]
    process = subprocess.run(
        [*command, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if quiet else None,
        text=True,
        env={name: value for name, value in os.environ.items() if name not in (AGREED, HELD, LEAVING, MOVING)}
        | {"PYINFRA_PROGRESS": "off"}
        | environment,
        check=False,
    )
    if quiet and process.returncode != 0:
        echo(process.stderr, nl=False, err=True)
    return process.stdout, process.returncode


def _show_plan(plan: list[dict[str, Any]]) -> None:
    changes = [step for step in plan if step["hosts_with_change"] or step["hosts_with_conditional_change"]]
    for step in changes:
        echo(
            f"would change  {step['name']}  on {', '.join(step['hosts_with_change'] + step['hosts_with_conditional_change'])}"
        )
    echo(
        f"{len(changes)} of {len(plan)} operations would change something."
        if changes
        else f"Nothing would change ({len(plan)} operations)."
    )


def _show_result(changed: list[dict[str, Any]], count: int) -> None:
    for step in changed:
        echo(f"changed  {step['name']}  on {', '.join(step['success'])}")
    echo(
        f"{len(changed)} of {count} operations changed something."
        if changed
        else f"Nothing to change: all {count} operations found things as they should be."
    )
