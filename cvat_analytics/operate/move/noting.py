"""What is noted of a move on its two hosts, and the lock that one move at a time has."""

from __future__ import annotations

import getpass
import shlex
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import PurePosixPath

from cvat_analytics.base.errors import InputError, UnreachableError
from cvat_analytics.config import moves
from cvat_analytics.config.moves import Move
from cvat_analytics.connect.shell import Shell

_LOCK = "/run/cvat-analytics-move.lock"
_MOMENT = 10
"""Seconds that another one, which may be just ending, is given."""


def noted(shell: Shell) -> Move | None:
    """Return the move that is noted on a host."""
    return moves.read(shell.run(f"cat {moves.NOTE} 2>/dev/null || true"))


def note(shells: Mapping[str, Shell], move: Move, step: str) -> Move:
    """Note on both hosts how far the move is, first on the one that the part leaves, and return the move as it is now."""
    move = replace(move, step=step, since=move.since or f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
    for name in (move.source, move.target):
        shells[name].run(f"install -d -m 755 {PurePosixPath(moves.NOTE).parent}")
        shells[name].write(moves.NOTE, move.text().encode())
    return move


def forget(shells: Mapping[str, Shell], move: Move) -> None:
    """Take the note from both hosts, last from the new one: by that a finish that was cut off is completed, wherever the old one is in the inventory."""
    for name in (move.source, move.target):
        shells[name].run(f"rm -f {moves.NOTE}")


@contextmanager
def alone(shell: Shell) -> Iterator[None]:
    """Let nobody else move something from or to this host in the block. Raises InputError where somebody does."""
    who = shlex.quote(f"{getpass.getuser()}@{socket.gethostname()}")
    # a process that cannot say anything any more ends: its end of the connection is gone
    script = (
        f"exec 9>>{_LOCK}; flock -w {_MOMENT} 9 || {{ echo held $(cat {_LOCK}); exit; }}; "
        f"echo {who}, since $(date -u '+%F %T') UTC > {_LOCK}; echo taken $$; echo; while sleep 1; do echo || exit; done"
    )
    with shell.stream(script) as output:
        said = b""
        while not said.endswith(b"\n") and (piece := output.read(1)):
            said += piece
        word, _, rest = said.decode(errors="replace").strip().partition(" ")
        if word != "taken":
            raise InputError(
                f"host {shell.host}: another move is at work there: {rest or word or 'it does not say whose'}. Wait for its end"
            )
        try:
            yield
        finally:
            with suppress(UnreachableError):
                shell.run(f"kill {rest}")
