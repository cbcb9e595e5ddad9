"""A part on its way to another host: what a deploy of the move itself does otherwise, and what keeps every other deploy away."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyinfra import host

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.config import moves
from cvat_analytics.config.inventory_file import Host
from cvat_analytics.config.moves import Move
from deploys.facts import FileText
from deploys.report import MOVING

if TYPE_CHECKING:
    from cvat_analytics.config.topology import Topology


def told(move: Move, stage: str) -> dict[str, str]:
    """Return the environment of a deploy that belongs to a move."""
    return {MOVING: json.dumps({"stage": stage, "move": move.text()})}


def _own() -> tuple[Move | None, str]:
    """Return the move to which this deploy belongs, and with which groups it works."""
    values = json.loads(os.environ.get(MOVING, "{}"))
    return (moves.read(values["move"]), values["stage"]) if values else (None, "")


def regrouped(hosts: Sequence[Host]) -> Sequence[Host]:
    """Return the inventory's hosts with the groups that this deploy works with."""
    move, stage = _own()
    if move is None:
        return hosts
    # the inventory may have been changed already
    return moves.regrouped(hosts, move.back if stage == moves.BEFORE else move, both=stage == moves.BOTH)


def refuse(topology: Topology) -> None:
    """Raise InputError where a move is noted on the host at hand to which this deploy does not belong, and which it would undo."""
    noted = _noted()
    own, _ = _own()
    if noted is None or (own and own.is_same(noted)):
        return
    if reason := noted.refusal(topology.groups):
        raise InputError(
            Code.MOVE_UNDER_WAY
            if not noted.is_moved or not noted.disagreement(topology.groups)
            else Code.MOVE_INVENTORY,
            f"host {host.name}: {reason}. Where {noted.source} or {noted.target} is gone for good, `sudo rm {moves.NOTE}` on each other host forgets the move",
        )


def without(departed: tuple[str, ...]) -> tuple[str, ...]:
    """Return which of the parts that have left the host at hand are to be removed: not one that has moved, which stays until that is finished."""
    noted = _noted()
    kept = noted.parts if noted and noted.source == host.name else ()
    return tuple(part for part in departed if part not in kept)


def needs_agent() -> bool:
    """Return whether the host at hand needs the agent of backups for a move: it writes what ClickHouse has, and reads it."""
    move, _ = _own()
    return move is not None and move.part == "clickhouse" and host.name in (move.source, move.target)


def _noted() -> Move | None:
    return moves.read(str(host.get_fact(FileText, path=moves.NOTE) or ""))
