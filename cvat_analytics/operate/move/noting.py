"""What is noted of a move, on every host of the stack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import PurePosixPath

from cvat_analytics.config import moves
from cvat_analytics.config.moves import Move
from cvat_analytics.connect.shell import Shell


def noted(shell: Shell) -> Move | None:
    """Return the move that is noted on a host."""
    return moves.read(shell.run(f"cat {moves.NOTE} 2>/dev/null || true"))


def note(shells: Mapping[str, Shell], move: Move, step: str) -> Move:
    """Note on all hosts how far the move is, first on the one that the part leaves, and return the move as it is now."""
    move = replace(move, step=step, since=move.since or f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
    for name in (move.source, *_others(shells, move), move.target):
        shells[name].run(f"install -d -m 755 {PurePosixPath(moves.NOTE).parent}")
        shells[name].write(moves.NOTE, move.text().encode())
    return move


def forget(shells: Mapping[str, Shell], move: Move) -> None:
    """Take the note from all hosts, last from the new one: by that a finish that was cut off is completed, wherever the old one is in the inventory."""
    for name in (move.source, *_others(shells, move), move.target):
        shells[name].run(f"rm -f {moves.NOTE}")


def _others(shells: Mapping[str, Shell], move: Move) -> list[str]:
    return sorted(shells.keys() - {move.source, move.target})
