"""A deploy in which versions change: one part at a time, each proved by the smoke test, and brought back where that fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cvat_analytics.base.errors import CvatAnalyticsError, InputError
from cvat_analytics.operate import upgrade
from deploys.report import LEAVING
from scripts import hints
from scripts.deploy import Outcome, Upgrade, bring
from scripts.terminal import echo

_TURNS = ("clickhouse", "vector", "grafana")
"""The store before those who write to it and read from it: each finds what it needs."""


def by_parts(inventory: Path, upgrades: Sequence[Upgrade], options: Sequence[str], agreed: bool) -> Outcome:
    """Deploy to `inventory`, in a run for each component whose version changes, and return what all of them came to.

    Raises CvatAnalyticsError when a component fails; what it ran with before is brought back then, and those after it are as they were.
    """
    turns = [each for each in _TURNS if any(found.component == each for found in upgrades)]
    upgrade.back_up(inventory, lambda text: echo(text, err=True))
    before = upgrade.failing(inventory)
    if before:
        echo(
            f"Note: the smoke test fails already, so that these checks decide nothing: {', '.join(sorted(before))}",
            err=True,
        )
    others = upgrade.other_changes(inventory)
    outcomes = []
    for number, component in enumerate(turns, 1):
        mine = [found for found in upgrades if found.component == component]
        for text in sorted({f"{found.text}  on {found.host}" for found in mine}):
            echo(f"upgrade {number} of {len(turns)}: {text}", err=True)
        hosts = sorted({found.host for found in mine})
        if component == "vector":
            upgrade.deliver(inventory, lambda text: echo(hints.pasteable(text), err=True))
        try:
            outcomes.append(
                bring(
                    inventory, False, options, agreed=agreed, environment={LEAVING: ",".join(turns[number:])}
                )
            )
        except InputError:
            raise  # nothing was changed in this turn
        except CvatAnalyticsError as error:
            raise CvatAnalyticsError("\n".join([str(error), *_back(inventory, component, hosts)])) from None
        if others and number < len(turns):
            echo(f"Not proved before the last part, as settings change too: {', '.join(others)}", err=True)
        elif failed := {name: why for name, why in upgrade.failing(inventory).items() if name not in before}:
            reasons = [f"{name}: {why}" for name, why in sorted(failed.items())]
            said = f"{component} works, and the stack does not work with it: the smoke test fails where it did not before"
            raise CvatAnalyticsError("\n".join([said, *reasons, *_back(inventory, component, hosts)]))
        upgrade.close(inventory, component, hosts)
    last = outcomes[-1]
    operations = [each for outcome in outcomes for each in outcome.result["results"]["operations"]]
    return replace(last, result={"results": {"operations": operations}}, losses=outcomes[0].losses)


def _back(inventory: Path, component: str, hosts: Sequence[str]) -> list[str]:
    """Bring the component back, and return what is to be said of that, and of the next step."""
    echo(f"{component} failed: what it ran with before is brought back", err=True)
    try:
        told = upgrade.bring_back(inventory, component, hosts)
    except CvatAnalyticsError as error:
        told = [f"{component} could not be brought back: {error}"]
    return [
        *told,
        "Mend the cause, or set the versions back, and deploy again (docs/how-to/upgrade.md#when-a-part-fails)",
    ]
