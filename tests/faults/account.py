"""The reckoning: every acknowledged event is once in the events or once in the dead letters, and each good one is in the
journal, or the run has failed."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from typing import Any

from cvat_analytics.pipeline.journal_text import Damage

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
class Kept:
    """What `cvat-analytics replay` reads in the journal."""

    numbers: frozenset[int] = frozenset()
    torn: int = 0
    """Places where a write was cut off: of events that were not acknowledged, or the reckoning misses them."""
    unreadable: tuple[str, ...] = ()
    """What else could not be read, in words."""

    @classmethod
    def of(cls, lines: Iterable[bytes], damages: Iterable[Damage]) -> Kept:
        """Return what the journal is that has these lines; `damages` is complete once all of them are read."""
        numbers, unreadable = set(), []
        for line in lines:
            try:
                numbers.add(int(json.loads(line)["obj_id"]))
            except (ValueError, KeyError, TypeError):
                unreadable.append(f"no event: {line[:200]!r}")
        damages = list(damages)
        unreadable += [str(damage) for damage in damages if not damage.expected]
        return cls(frozenset(numbers), sum(damage.expected for damage in damages), tuple(unreadable))


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
    replayed: tuple[int, ...]
    """Events that the real Vector's buffer has lost after its answer, and replay has brought back."""
    misplaced: tuple[int, ...]
    """Good events among the dead letters and malformed ones among the events."""
    kept: int
    """Different events in the journal."""
    unkept: tuple[int, ...]
    """Good events that were acknowledged and are not in the journal."""
    torn: int
    """Places in the journal where a write was cut off, which no acknowledged event stands at unless it is `unkept`."""
    unreadable: tuple[str, ...]
    """What of the journal could not be read otherwise."""
    unacknowledged: int
    """Events that were made and never answered 200: they died with the client's memory or wait in its queue."""
    resent: int
    """Events that were sent more than once."""
    copies: int

    @classmethod
    def of(
        cls,
        *,
        sent: int,
        sendings: Counter[int],
        acknowledged: Set[int],
        found: Found,
        kept: Kept,
        malformed: Set[int],
        replayed: Set[int] = frozenset(),
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
            replayed=tuple(sorted(replayed & (found.events.keys() | found.dead.keys()))),
            misplaced=tuple(sorted((found.events.keys() & malformed) | (found.dead.keys() - malformed))),
            kept=len(kept.numbers),
            unkept=tuple(sorted(acknowledged - malformed - kept.numbers)),
            torn=kept.torn,
            unreadable=kept.unreadable,
            unacknowledged=sent - len(acknowledged),
            resent=sum(1 for times in sendings.values() if times > 1),
            copies=found.copies,
        )

    @property
    def faultless(self) -> bool:
        """Return whether nothing is lost, doubled, in the wrong place or not in the journal, and something was tried at all."""
        wrong = self.duplicate or self.lost or self.misplaced or self.unkept or self.unreadable
        return bool(self.acknowledged) and not wrong

    def text(self) -> str:
        """Return the figures, one a line."""
        lines = [
            f"sent          {self.sent:>9}",
            f"acknowledged  {self.acknowledged:>9}   answered 200 by Vector",
            f"stored        {self.stored:>9}   in events, as readers see them (FINAL)",
            f"dead          {self.dead:>9}   in events_dead_letter",
            f"duplicate     {len(self.duplicate):>9}{_some(self.duplicate)}",
            f"lost          {len(self.lost):>9}{_some(self.lost)}",
            f"brought back  {len(self.replayed):>9}{_some(self.replayed)}",
            f"misplaced     {len(self.misplaced):>9}{_some(self.misplaced)}",
            f"in the journal {self.kept:>8}   as replay reads it",
            f"not in it     {len(self.unkept):>9}{_some(self.unkept)}",
            f"torn          {self.torn:>9}   writes to the journal that were cut off",
            *(f"not read      {what}" for what in self.unreadable[:SHOWN]),
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
