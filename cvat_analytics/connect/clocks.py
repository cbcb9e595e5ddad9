"""Whose clock is wrong: events are dated by one host, stored by another, and looked at from a third.

A host's clock is compared with this machine's by one question: what it shows lies between what this machine showed before
the question and after the answer, however long both took. Only what cannot be explained by the way is called wrong.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cvat_analytics.base.errors import UnreachableError
from cvat_analytics.connect.shell import Shell

TOLERANCE = 1.0
"""Seconds by which clocks may differ."""
_PATIENCE = 15.0
"""Seconds for an answer: a host that hangs does not hold up what is said of the others."""

# A container has the clock of the machine below, whose state it does not see. Where nothing can say whether a clock is
# synchronised (no D-Bus, no systemd-timedated), nothing is said. What that question takes is not on the way to here.
COMMAND = (
    "date +clock=%s.%N; systemd-detect-virt -cq || timeout 5 timedatectl show -p NTPSynchronized 2>/dev/null; "
    "date +clock=%s.%N"
)
_TIME = re.compile(r"^clock=(\d+\.\d+)$", re.MULTILINE)
_SYNCHRONISED = re.compile(r"^NTPSynchronized=(yes|no)$", re.MULTILINE)


@dataclass(frozen=True)
class Clock:
    """A host's clock. It is ahead of this machine's by `least` to `most` seconds, and behind where these are negative."""

    host: str
    least: float
    most: float
    synchronised: bool | None
    """None: not known, or a container, which has the clock of its machine."""

    @property
    def ahead(self) -> float:
        """Return by how much it is surely ahead, or behind (negative); 0 where the way explains the difference."""
        return max(self.least, 0.0) + min(self.most, 0.0)


def measured(host: str, ask: Callable[[str], str]) -> Clock | None:
    """Return the clock of `host`, where `ask` runs a line of sh; None when it does not tell the time."""
    before = time.time()
    answer = ask(COMMAND)
    after = time.time()
    match _TIME.findall(answer):
        case [first, last]:
            said = _SYNCHRONISED.search(answer)
            return Clock(host, float(last) - after, float(first) - before, said[1] == "yes" if said else None)
    return None


def of(shells: Mapping[str, Shell]) -> list[Clock]:
    """Return the clocks of the hosts that tell the time, all asked at once."""

    def ask(host: str) -> Clock | None:
        try:
            return measured(host, lambda command: shells[host].run(command, _PATIENCE))
        except UnreachableError:
            return None

    if not shells:
        return []
    with ThreadPoolExecutor(len(shells)) as pool:
        return [clock for clock in pool.map(ask, shells) if clock]


def warnings(clocks: Sequence[Clock]) -> list[str]:
    """Return a line for each clock that is not synchronised, or wrong, and for two of which one must be."""
    lines = [
        f"host {clock.host}: its clock is not synchronised: working time, delays and alerts go by it. Have chrony or systemd-timesyncd "
        "set it (docs/how-to/set-clocks-right.md)"
        for clock in clocks
        if clock.synchronised is False
    ]
    wrong = [clock for clock in clocks if abs(clock.ahead) > TOLERANCE]
    if len(wrong) == len(clocks) > 1 and _apart(clocks) <= TOLERANCE:
        text = f"this machine's clock is {_seconds(-wrong[0].ahead)} those of all {len(clocks)} hosts, which agree: set it right"
        return [*lines, text]
    for clock in wrong:
        hint = "it is synchronised: is this machine's?" if clock.synchronised else "see `timedatectl` on both"
        lines.append(f"host {clock.host}: its clock is {_seconds(clock.ahead)} this machine's ({hint})")
    others = [clock for clock in clocks if clock not in wrong]
    if others and (apart := _apart(others)) > TOLERANCE:
        ahead, behind = (
            max(others, key=lambda clock: clock.least),
            min(others, key=lambda clock: clock.most),
        )
        lines.append(
            f"host {ahead.host}: its clock is {_seconds(apart)} that of host {behind.host}: see `timedatectl` on both"
        )
    return lines


def _apart(clocks: Sequence[Clock]) -> float:
    """Return by how many seconds the clocks surely differ."""
    return max(clock.least for clock in clocks) - min(clock.most for clock in clocks)


def _seconds(ahead: float) -> str:
    """Return by how much a clock is ahead or behind, in words that go before another's."""
    amount = abs(ahead)
    text = (
        f"{amount:.1f} s"
        if amount < 120
        else f"{amount / 60:.0f} min"
        if amount < 7200
        else f"{amount / 3600:.1f} h"
    )
    return f"{text} {'ahead of' if ahead > 0 else 'behind'}"
