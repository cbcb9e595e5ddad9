"""The reckoning: every acknowledged event is once in the events or once in the dead letters, or the run has failed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from typing import Any

_NUMBER = re.compile(r'"obj_id": ?(\d+)')
SHOWN = 10
"""How many numbers of lost or doubled events are named."""


@dataclass(frozen=True)
class Found:
    """What readers of ClickHouse see, by number of the event: how often it is an event, how often a dead letter."""

    events: Counter[int] = field(default_factory=Counter)
    dead: Counter[int] = field(default_factory=Counter)
    copies: int = 0
    """Rows of the events table that readers do not see, because they repeat an event."""

    @classmethod
    def of(cls, events: Iterable[int], originals: Iterable[str], rows: int) -> Found:
        """Return what is found when readers see `events` (numbers) and `originals` of dead letters among `rows`."""
        seen = Counter(events)
        letters: Counter[int] = Counter()
        for original in originals:
            letters.update(map(int, _NUMBER.findall(original)))
        return cls(seen, letters, rows - seen.total())

    def missing(self, acknowledged: Set[int]) -> list[int]:
        """Return which of `acknowledged` are nowhere."""
        return sorted(number for number in acknowledged if not self.events[number] and not self.dead[number])


@dataclass(frozen=True)
class Account:
    """The figures of a run."""

    sent: int
    acknowledged: int
    stored: int
    dead: int
    duplicate: tuple[int, ...]
    """Events that readers see twice, or as event and dead letter."""
    lost: tuple[int, ...]
    """Events that were acknowledged and are nowhere."""
    misplaced: tuple[int, ...]
    """Good events among the dead letters and malformed ones among the events."""
    unacknowledged: int
    """Events that were made and never answered 200: they died with the client's memory or wait in its queue."""
    resent: int
    """Events that were sent more than once."""
    copies: int

    @classmethod
    def of(
        cls, *, sent: int, sendings: Counter[int], acknowledged: Set[int], found: Found, malformed: Set[int]
    ) -> Account:
        """Reckon up: `sendings` is how often each event was sent, `malformed` which must be dead letters."""
        both = found.events + found.dead
        return cls(
            sent=sent,
            acknowledged=len(acknowledged),
            stored=len(found.events),
            dead=len(found.dead),
            duplicate=tuple(sorted(number for number, times in both.items() if times > 1)),
            lost=tuple(found.missing(acknowledged)),
            misplaced=tuple(sorted((found.events.keys() & malformed) | (found.dead.keys() - malformed))),
            unacknowledged=sent - len(acknowledged),
            resent=sum(1 for times in sendings.values() if times > 1),
            copies=found.copies,
        )

    @property
    def faultless(self) -> bool:
        """Return whether nothing is lost, doubled or in the wrong place, and something was tried at all."""
        return bool(self.acknowledged) and not (self.duplicate or self.lost or self.misplaced)

    def text(self) -> str:
        """Return the figures, one a line."""
        lines = [
            f"sent          {self.sent:>9}",
            f"acknowledged  {self.acknowledged:>9}   answered 200 by Vector",
            f"stored        {self.stored:>9}   in events, as readers see them (FINAL)",
            f"dead          {self.dead:>9}   in events_dead_letter",
            f"duplicate     {len(self.duplicate):>9}{_some(self.duplicate)}",
            f"lost          {len(self.lost):>9}{_some(self.lost)}",
            f"misplaced     {len(self.misplaced):>9}{_some(self.misplaced)}",
            f"never acknowledged {self.unacknowledged}, sent more than once {self.resent}, "
            f"copies in the table that readers do not see {self.copies}",
        ]
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Return the figures for a file, with the first numbers of what went wrong."""
        return {
            name: {"count": len(value), "first": list(value[:SHOWN])} if isinstance(value, tuple) else value
            for name, value in vars(self).items()
        }


def _some(numbers: tuple[int, ...]) -> str:
    if not numbers:
        return ""
    return "   " + ", ".join(map(str, numbers[:SHOWN])) + (" …" if len(numbers) > SHOWN else "")
