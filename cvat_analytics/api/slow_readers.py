"""Places for streams, and what keeps a reader that is too slow from holding one for ever.

A stream takes a query of ClickHouse's for as long as its reader takes. So one whose reader takes next to nothing is ended, and where
all places are taken and somebody else comes, the one whose reader is the slowest, if it is slow. Who cannot read faster asks for
an export: its file waits, and a broken download goes on where it was.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable

import anyio
from starlette.types import Message, Send

from cvat_analytics.api.problems import Problem
from cvat_analytics.api.turns import Turns
from cvat_analytics.base.codes import Code

PER_PERSON = 2
STALLED_SECONDS = 60.0
"""How long a reader may take for one piece (streams.py: a MiB at most)."""
SLOW_SECONDS = 5.0
"""After which time of waiting for its reader a stream may be called slow."""
SLOW_BYTES = 1 << 20
"""Bytes a second that a reader takes who is not."""
_LOOK_SECONDS = 0.5


def _nothing() -> None:
    """End nothing: the stream has not begun."""


class Place:
    """One stream's place, and how its reader does."""

    def __init__(self, person: str) -> None:
        self.person = person
        self.ended = ""
        """Why it was ended, if it was."""
        self.ends: Callable[[], None] = _nothing
        self._taken = 0
        self._waited = 0.0
        self._since: float | None = None

    def paced(self, send: Send) -> Send:
        """Return `send` so that it is known how long the reader lets the stream wait; one that stands still is ended."""

        async def timed(message: Message) -> None:
            self._since = time.monotonic()
            try:
                with anyio.move_on_after(STALLED_SECONDS) as patience:
                    await send(message)
                if patience.cancelled_caught:
                    self.end(f"its reader has taken nothing for {STALLED_SECONDS:.0f} s")
            finally:
                self._waited += time.monotonic() - self._since
                self._since = None
            self._taken += len(message.get("body", b""))

        return timed

    def end(self, reason: str) -> None:
        """End the stream: its reader sees that it is not complete."""
        self.ended = self.ended or f"{reason}. Ask for an export without `format`, and download its file"
        self.ends()

    @property
    def rate(self) -> float | None:
        """Return how many bytes a second its reader takes; None as long as that cannot be said."""
        waited = self._waited + (time.monotonic() - self._since if self._since is not None else 0.0)
        return self._taken / waited if waited >= SLOW_SECONDS and not self.ended else None


class StreamPlaces:
    """The places: two for one person, so many for all."""

    def __init__(self, places: int, wait: float) -> None:
        self._turns = Turns(places, wait, "streams")
        self._held: list[Place] = []

    async def acquire(self, person: str) -> Place:
        """Take a place, as soon as there is one. Raises Problem: 429 for somebody who has two, 503 where none becomes free."""
        place = Place(person)
        if sum(each.person == person for each in self._held) >= PER_PERSON:
            raise Problem(
                429,
                f"you have {PER_PERSON} streams at the same time already. Let one end first, or ask for an export without `format`",
                headers={"Retry-After": "5"},
                code=Code.API_OVERLOADED,
            )
        first = not any(each.person == person for each in self._held)
        self._held.append(place)  # who waits counts too
        ending = asyncio.create_task(self._end_slow_ones()) if first else None
        try:
            await self._turns.acquire(person)
        except BaseException:
            self._held.remove(place)
            raise
        finally:
            if ending:
                ending.cancel()
        return place

    def release(self, place: Place) -> None:
        """Give a place back."""
        self._held.remove(place)
        self._turns.release(place.person)

    async def _end_slow_ones(self) -> None:
        """End the slowest stream as long as somebody waits who has none, of those who have two first."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if any(place.ended for place in self._held):
                continue  # it is about to go
            people = Counter(place.person for place in self._held)
            slow = [
                (-people[place.person], rate, number)
                for number, place in enumerate(self._held)
                if (rate := place.rate) is not None and rate < SLOW_BYTES
            ]
            if slow:
                self._held[min(slow)[-1]].end("others waited for a place, and its reader was the slowest")
