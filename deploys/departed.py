"""Parts that have left a host, since the inventory has it in their groups no more: stopped and removed, and their data kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyinfra import host, logger
from pyinfra.api import operation
from pyinfra.facts.server import Command

from cvat_analytics.config import deployed
from cvat_analytics.connect.volumes import DIRECTORIES, size
from cvat_analytics.operate.removal_plan import plan
from cvat_analytics.operate.survey import SURVEY, Survey, surveyed
from cvat_analytics.rendering import made
from deploys.facts import FileText
from deploys.operations import Commands
from deploys.report import HAS_LEFT

if TYPE_CHECKING:
    from deploys.plan import Plan


def apply(wanted: Plan) -> None:
    """Remove what has left, once everything that is wanted is at work."""
    if wanted.departed:
        removed(
            name=f"{', '.join(wanted.departed)}: removed, as it has left this host", parts=wanted.departed
        )


@operation()
def removed(parts: Sequence[str]) -> Commands:
    """Stop the components `parts` and remove what deploys have made for them; their data stays.

    + parts: names of components
    """
    removal = plan(_found(), purge=False, parts=parts)
    if removal.is_nothing:
        host.noop("nothing of it is there")
        return
    for what in (*removal.units, *removal.packages, *removal.files, *removal.trees):
        host.log(f"remove {what}", logger.info)
    for path, count in removal.kept.items():
        host.log(f"keep {path} ({size(count)})", logger.info)
    for what, why in removal.left:
        host.log(f"leave {what}: {why}", logger.info)
    for _, command in removal.steps():
        yield command


def of(components: Sequence[str]) -> tuple[str, ...]:
    """Return what the last deploy that came to its end has put onto this host, and is not among the `components` that it is to have."""
    try:
        noted = json.loads(host.get_fact(FileText, path=deployed.NOTE))["components"]
    except (ValueError, LookupError, TypeError):
        return ()
    return tuple(part for part in made.PARTS if part in noted and part not in components)


def losses(parts: Sequence[str]) -> list[str]:
    """Return what nobody sees any more when parts with data leave this host: to that somebody has to agree."""
    after = {
        "clickhouse": "what is in it is in no dashboard any more; `cvat-analytics move` brings it along instead (docs/how-to/move-to-another-host.md)",
        "vector": "it takes no events any more, and what waits in its buffer is not delivered. See in `cvat-analytics status` that its port is "
        "silent and its buffer empty (docs/how-to/uninstall.md)",
    }
    leaving = [part for part in after if part in parts]
    found = _found() if leaving else Survey()
    return [
        f"{part} {HAS_LEFT}: it is stopped and removed. {path} stays ({size(found.sizes.get(path, 0))}), but {after[part]}"
        for part in leaving
        if (path := DIRECTORIES[part]) in found.kinds
    ]


def _found() -> Survey:
    return surveyed(str(host.get_fact(Command, SURVEY) or ""))
