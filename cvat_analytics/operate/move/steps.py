"""What a move does, part by part. Each step is noted when it is done, and may be done again: what was cut off goes on from the last note.

- ClickHouse: the new one is made beside the old one and gets what that has, compared. Then all hosts are switched to it, so that the old one
  stands still, and what had come to it meanwhile is brought as well. Nothing waits, and nobody is without history but for the last copy's time.
- Vector: the new one is made, and both are at work until nobody sends to the old one any more.
- Grafana: it is made on the new host, the old one stops, and the new one gets its database: users, hand-made dashboards, alerts' state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from cvat_analytics.config.moves import BEGUN, COPIED, MOVED, SWITCHED, SWITCHING, Move
from cvat_analytics.operate.backup.running import Tell
from cvat_analytics.operate.move import copying
from cvat_analytics.operate.move.copying import Counted, Ends


class Hands(Protocol):
    """What a move does to hosts."""

    @property
    def move(self) -> Move:
        """Return the move, as it is noted."""

    def note(self, step: str) -> None:
        """Note on all hosts how far it is."""

    def prepare(self) -> None:
        """Bring the part to its new host, which nobody uses yet, and for ClickHouse what copies to both."""

    def both(self) -> None:
        """Have the part on both hosts."""

    def switch(self) -> None:
        """Have all hosts use the part on its new host; the old one is left as it is."""

    def ends(self) -> AbstractContextManager[Ends]:
        """Yield the old ClickHouse and the new one."""

    def hand_over(self) -> list[Counted]:
        """Stop the old Grafana, and give the new one its database."""

    def clear(self) -> None:
        """Take away what was there for the move alone."""


def clickhouse(hands: Hands, tell: Tell) -> list[Counted]:
    """Bring ClickHouse to its new host, and return what both have; nothing where it has been brought before."""
    counted: list[Counted] = []
    if hands.move.step == BEGUN:
        hands.prepare()
        with hands.ends() as ends:
            counted = copying.brought(ends, tell)
        hands.note(COPIED)
    if hands.move.step == COPIED:
        # from the first host on that is switched the new one has what the old one lacks
        hands.note(SWITCHING)
    if hands.move.step == SWITCHING:
        hands.switch()
        hands.note(SWITCHED)
    if hands.move.step == SWITCHED:
        with hands.ends() as ends:
            counted = copying.brought(ends, tell)
        hands.note(MOVED)
    hands.clear()
    return counted


def vector(hands: Hands, tell: Tell) -> list[Counted]:
    """Have a Vector on the new host, too."""
    if hands.move.step == BEGUN:
        hands.both()
        hands.note(MOVED)
    return []


def grafana(hands: Hands, tell: Tell) -> list[Counted]:
    """Bring Grafana to its new host, and return what both have of its database."""
    counted: list[Counted] = []
    if hands.move.step == BEGUN:
        hands.both()
        counted = hands.hand_over()
        hands.note(SWITCHED)
    if hands.move.step == SWITCHED:
        hands.switch()
        hands.note(MOVED)
    hands.clear()
    return counted


OF_PART: dict[str, Callable[[Hands, Tell], list[Counted]]] = {
    "clickhouse": clickhouse,
    "vector": vector,
    "grafana": grafana,
}

TOLD: dict[str, Sequence[str]] = {
    "clickhouse": (
        "ClickHouse on {target} is made, empty; nobody uses it yet",
        "what {source} has is copied there while events go on to {source}, and each month of each table is compared",
        "Vector, Grafana and the events API are switched to {target}; from here on dashboards lack what came since the copy began",
        "what came to {source} since is copied, and compared again: nothing is lacking any more",
    ),
    "vector": (
        "Vector on {target} is made; that on {source} goes on taking events",
        "you tell CVAT the new address",
    ),
    "grafana": (
        "Grafana on {target} is made",
        "that on {source} stops, and its database (users, hand-made dashboards, the state of alerts) goes to {target}",
        "people get the new address",
    ),
}
"""What is said before it begins."""
