"""Which events may be stored already: one that is sent again is stored as it was the first time (docs/reference/api.md has the rule).

The store knows an event again by its content (docs/why/store.md), and each request puts something of its own into its events: its
id, and the difference between the clocks. What an event had in it when it was sent first is remembered until its sender has
been told that it is stored, so that the same event comes out whenever it is sent again.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from cvat_analytics.api.working_time import Action, Amount, Ids

EVENTS = 100_000
"""How many events are remembered: some 25 MB."""
KEPT_SECONDS = 86_400.0
"""For how long: a page that slept overnight sends what it has when it wakes."""


@dataclass(eq=False)
class RequestStamp:
    """What one request puts into its events, and the working time that it reports with them."""

    request_id: str
    correction: timedelta
    """What is added to a time of the client's clock."""
    who: Mapping[str, Any]
    amounts: Mapping[Ids, Amount] = field(default_factory=dict)
    """The working time that its events add; none once that is stored."""
    covered: Action | None = None
    """Where the working time of later events goes on."""
    found_again: bool = False
    """Whether another request has sent an event of it, too."""
    expires: float = 0.0


class IdempotencyStore:
    """Remembers the first request of each event. `lock` is for `find` and `begin`, so that nothing comes between them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.lock = threading.Lock()
        self._clock = clock
        self._first: OrderedDict[bytes, RequestStamp] = OrderedDict()
        """By event, as it came; the longest not sent are in front."""

    def __len__(self) -> int:
        """Return how many events are remembered."""
        return len(self._first)

    def find(self, events: Iterable[bytes]) -> list[RequestStamp | None]:
        """Return the stamp of the first request of each event, None for one that is new. To be called with the lock held."""
        now = self._clock()
        stamps = [self._first.get(event) for event in events]
        alive = [each if each and each.expires > now else None for each in stamps]
        for each in alive:
            if each:
                each.found_again = True
        return alive

    def begin(self, stamps: Mapping[bytes, RequestStamp]) -> None:
        """Remember the stamp of each event from now on. To be called with the lock held."""
        now = self._clock()
        for event, stamp in stamps.items():
            stamp.expires = now + KEPT_SECONDS
            self._first[event] = stamp
            self._first.move_to_end(event)
        while self._first and (len(self._first) > EVENTS or next(iter(self._first.values())).expires <= now):
            self._first.popitem(last=False)

    def stored(self, stamps: Mapping[bytes, RequestStamp]) -> None:
        """Forget events that are stored, as their sender knows, and the working time that has been reported with them."""
        with self.lock:
            for event, stamp in stamps.items():
                self._first.pop(event, None)
                stamp.amounts = {}

    def not_stored(self, stamps: Mapping[bytes, RequestStamp]) -> None:
        """Forget events that this attempt has not stored; not those of which another attempt may have."""
        with self.lock:
            for event, stamp in stamps.items():
                if not stamp.found_again and self._first.get(event) is stamp:
                    del self._first[event]
