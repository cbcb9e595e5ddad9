"""Places for what asks ClickHouse: whoever comes when all are taken waits, in turn with the others, and not for ever.

ClickHouse itself lets nobody wait: it refuses what is more than its user may run (docs/how-to/too-many-queries.md).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator

from cvat_analytics.api.problems import Problem
from cvat_analytics.base.codes import Code

WAITING = 200
"""How many requests of one person may wait at the same time."""


class Turns:
    """Counts what runs. Of those who wait the one comes next who has waited longest, each person in turn."""

    def __init__(self, places: int, wait: float, what: str) -> None:
        self.places, self.wait, self._what = places, wait, what
        self.running: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @contextlib.asynccontextmanager
    async def turn(self, person: str) -> AsyncIterator[None]:
        """Hold a place. Raises as `acquire`."""
        await self.acquire(person)
        try:
            yield
        finally:
            self.release(person)

    async def acquire(self, person: str) -> None:
        """Take a place as soon as there is one.

        Raises Problem: 503 where there was none all the time, 429 for somebody who lets too many requests wait.
        """
        if not self._waiting and self.running.total() < self.places:
            self.running[person] += 1
            return
        queue = self._waiting.setdefault(person, deque())
        if len(queue) >= WAITING:
            raise Problem(
                429,
                f"{WAITING} of your requests wait already. Send them one after another",
                headers={"Retry-After": "5"},
                code=Code.API_OVERLOADED,
            )
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(place)
        try:
            await asyncio.wait_for(asyncio.shield(place), self.wait)
        except asyncio.TimeoutError:
            self._leave(person, place)
            raise Problem(
                503,
                f"{self.places} {self._what} run at the same time, and none has ended within {self.wait:g} s. Try again later",
                headers={"Retry-After": "10"},
                code=Code.API_OVERLOADED,
            ) from None
        except BaseException:
            self._leave(person, place)
            raise

    def release(self, person: str) -> None:
        """Give a place back, to who is next."""
        self.running[person] -= 1
        if not self.running[person]:
            del self.running[person]
        while self._waiting and self.running.total() < self.places:
            person, queue = self._waiting.popitem(last=False)
            place = queue.popleft()
            if queue:
                self._waiting[person] = queue  # behind everybody else
            self.running[person] += 1
            place.set_result(None)

    def _leave(self, person: str, place: asyncio.Future[None]) -> None:
        """Take somebody who waits no longer out of the queue, or give back what they have just been given."""
        if place.done():
            self.release(person)
            return
        queue = self._waiting[person]
        queue.remove(place)
        if not queue:
            del self._waiting[person]
