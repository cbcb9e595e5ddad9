"""A deploy in which versions change: one part at a time, each proved by the smoke test, and brought back where that fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cvat_analytics.base.codes import Code, first_code
from cvat_analytics.base.errors import CvatAnalyticsError, InputError
from cvat_analytics.checks.causes import TIME
from cvat_analytics.config.versions import OWN
from cvat_analytics.operate import deploy_lock, upgrade
from cvat_analytics.operate.deploy_lock import Held
from deploys.report import HELD, LEAVING
from scripts import hints
from scripts.deploy import AGAIN, REFUSED, Outcome, PartlyError, Upgrade, bring
from scripts.terminal import echo

_TURNS = ("clickhouse", "vector", "grafana", *OWN)
"""The store before those who write to it and read from it: each finds what it needs."""
_NEXT_STEP = "Mend the cause, or {}, and deploy again (docs/how-to/upgrade.md#when-a-part-fails)"

Turn = tuple[str, Sequence[str]]
"""A component, and the hosts on which its version changes."""


def by_parts(inventory: Path, upgrades: Sequence[Upgrade], options: Sequence[str], agreed: bool) -> Outcome:
    """Deploy to `inventory`, in a run for each component whose version changes, and return what all of them came to.

    Raises CvatAnalyticsError when a component fails; what it ran with before is brought back then, and those after it are as they
    were. It is a PartlyError where others were finished before, and an InputError only where nothing at all was changed.
    No other deploy begins before the last proof.
    """
    with deploy_lock.held(inventory) as lock:
        return _in_turns(inventory, upgrades, options, agreed, lock)


def _in_turns(
    inventory: Path, upgrades: Sequence[Upgrade], options: Sequence[str], agreed: bool, lock: Held
) -> Outcome:
    """Do what `by_parts` does under the lock of deploys."""
    turns = [each for each in _TURNS if any(found.component == each for found in upgrades)]
    upgrade.back_up(inventory, lambda text: echo(text, err=True))
    before = upgrade.failing(inventory)
    if before:
        echo(
            f"Note: the smoke test fails already, so that these checks decide nothing: {', '.join(sorted(before))}",
            err=True,
        )
    others = upgrade.other_changes(inventory)
    outcomes: list[Outcome] = []
    open_: list[Turn] = []  # exchanged, and not proved
    for number, component in enumerate(turns, 1):
        mine = [found for found in upgrades if found.component == component]
        for text in sorted({f"{found.text}  on {found.host}" for found in mine}):
            echo(f"upgrade {number} of {len(turns)}: {text}", err=True)
        turn = component, sorted({found.host for found in mine})
        try:
            if component == "vector":
                upgrade.deliver(inventory, lambda text: echo(hints.pasteable(text), err=True))
        except CvatAnalyticsError as error:
            if not outcomes:
                raise
            raise _failed(_as_it_was(component, error), outcomes, turns[: number - 1], open_) from None
        try:
            environment = {LEAVING: ",".join(turns[number:]), HELD: lock.name}
            outcomes.append(bring(inventory, False, options, agreed=agreed, environment=environment))
        except InputError as error:
            if not outcomes:
                raise
            raise _failed(_as_it_was(component, error), outcomes, turns[: number - 1], open_) from None
        except CvatAnalyticsError as error:
            told = [str(error).removesuffix(AGAIN), *_back(inventory, [turn], lock)]
            raise _failed(told, outcomes, turns[: number - 1], open_) from None
        open_.append(turn)
        if others and number < len(turns):
            echo(f"Not proved before the last part, as settings change too: {', '.join(others)}", err=True)
            continue
        try:
            lock.look()
            failed = _failing(inventory, before)
        except CvatAnalyticsError as error:
            told = [
                f"whether the stack works with it could not be asked: {error}",
                "Deploy again when it can",
            ]
            raise _failed(told, outcomes, turns[:number], open_) from None
        if failed.keys() - {TIME}:
            reasons = [f"{name}: {why}" for name, why in sorted(failed.items())]
            names = " and ".join(each for each, _ in open_)
            said = f"{names} works, and the stack does not work with it: the smoke test fails where it did not before"
            told = [said, *reasons, *_back(inventory, open_[::-1], lock)]
            raise _failed(told, outcomes, turns[: number - len(open_)], [])
        if failed:
            echo(
                f"Not proved: the smoke test did not come to its end ({failed[TIME]}). What {component} ran with before stays on its host, and the "
                "next deploy proves it",
                err=True,
            )
            continue
        for each, hosts in open_:
            upgrade.close(inventory, each, hosts)
        open_ = []
    return _merged(outcomes)


def _failing(inventory: Path, before: Mapping[str, str]) -> dict[str, str]:
    """Return what fails in the smoke test that did not `before`: twice, as something may just have been started."""
    for _ in range(2):
        failed = {name: why for name, why in upgrade.failing(inventory).items() if name not in before}
        if not failed:
            break
    return failed


def _failed(
    lines: Sequence[str], outcomes: Sequence[Outcome], finished: Sequence[str], unproved: Sequence[Turn]
) -> CvatAnalyticsError:
    """Return the error that says in `lines` what failed, and what stays of the turns before."""
    lines = list(lines)
    if finished:
        lines.append(f"In their new version, and so they stay: {', '.join(finished)}")
    if unproved:
        lines.append(f"Not proved yet, which the next deploy does: {', '.join(each for each, _ in unproved)}")
    text = "\n".join(lines)
    if first_code(text):  # that of the cause
        text += f" [{Code.UPGRADE_PART_FAILED}]"
    return (
        PartlyError(text, _merged(outcomes))
        if outcomes
        else CvatAnalyticsError(Code.UPGRADE_PART_FAILED, text)
    )


def _as_it_was(component: str, error: CvatAnalyticsError) -> list[str]:
    """Return what is said of a turn in which nothing was changed, after others in which something was."""
    return [
        *(line for line in str(error).splitlines() if line != REFUSED),
        f"{component} is as it was. Deploy again when the cause is gone",
    ]


def _merged(outcomes: Sequence[Outcome]) -> Outcome:
    """Return what several runs came to as one: each may have told what no other does."""
    files: dict[str, str] = {}
    for outcome in outcomes:
        files |= outcome.files
    operations = [each for outcome in outcomes for each in outcome.result["results"]["operations"]]
    return replace(
        outcomes[-1],
        result={"results": {"operations": operations}},
        told=list(dict.fromkeys(each for outcome in outcomes for each in outcome.told)),
        files=files,
        losses=list(dict.fromkeys(each for outcome in outcomes for each in outcome.losses)),
        notes=list(dict.fromkeys(each for outcome in outcomes for each in outcome.notes)),
        begins_backups=any(outcome.begins_backups for outcome in outcomes),
        keys=[each for outcome in outcomes for each in outcome.keys],
    )


def _back(inventory: Path, turns: Sequence[Turn], lock: Held) -> list[str]:
    """Bring components back, in that order, and return what is to be said of that, and of the next step."""
    try:
        lock.look()
    except InputError as error:
        return [f"what it ran with before is not brought back, as another deploy may be at work: {error}"]
    told: list[str] = []
    for component, hosts in turns:
        echo(f"{component} failed: what it ran with before is brought back", err=True)
        try:
            told += upgrade.bring_back(inventory, component, hosts)
        except CvatAnalyticsError as error:
            told.append(f"{component} could not be brought back: {error}")
    kinds = {component in OWN for component, _ in turns}
    former = ["set the versions back"] * (False in kinds) + ["take the former checkout"] * (True in kinds)
    return [*told, _NEXT_STEP.format(" and ".join(former))]
