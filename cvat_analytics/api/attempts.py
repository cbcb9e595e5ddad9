"""Slow down those who guess passwords: a few failures per address and name, then nothing for a while."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

ATTEMPTS = 10
WINDOW = 60.0
"""Seconds after which a failure is forgotten."""
_REMEMBERED = 10_000


class Attempts:
    """Counts failed logins by (address, name)."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[tuple[str, str], list[float]] = OrderedDict()

    def wait(self, address: str, name: str) -> int:
        """Return for how many seconds nothing is answered to this address and name; 0 when it may try."""
        recent = self._recent((address, name))
        if len(recent) < ATTEMPTS:
            return 0
        return max(1, math.ceil(recent[-ATTEMPTS] + WINDOW - self._clock()))

    def failed(self, address: str, name: str) -> None:
        """Count a failure."""
        key = (address, name)
        recent = self._recent(key)
        self._failures[key] = [*recent, self._clock()][-ATTEMPTS:]
        self._failures.move_to_end(key)
        while len(self._failures) > _REMEMBERED:
            self._failures.popitem(last=False)

    def succeeded(self, address: str, name: str) -> None:
        """Forget the failures of somebody who knows the password after all."""
        self._failures.pop((address, name), None)

    def _recent(self, key: tuple[str, str]) -> list[float]:
        since = self._clock() - WINDOW
        return [moment for moment in self._failures.get(key, ()) if moment > since]
