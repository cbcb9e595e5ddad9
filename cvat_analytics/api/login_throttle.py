"""Slow down those who guess passwords: a few failures per address and name, then nothing for a while.

A login that has to be checked costs argon2's memory and time, or a question to CVAT. Each address has only a few checks
at a time and each name one, so that guesses sent all at once count as those sent one by one, and whoever floods the service
waits behind their own and nobody else's.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import math
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from cvat_analytics.api.problems import Problem

ATTEMPTS = 10
WINDOW = 60.0
"""Seconds after which a failure is forgotten."""
AT_ONCE = 4
"""Logins of one address that are checked at the same time."""
WAITING = 100
"""Logins of one address that may be here at the same time, those that wait included."""
_REMEMBERED = 10_000
_NAME_LENGTH = 200
"""Letters of a name that are remembered: no user has a longer one, and a header has room for ten thousand."""


@dataclass
class _Queue:
    """Those of one address who are being checked or wait for it."""

    here: int = 0
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    names: dict[str, asyncio.Lock] = field(default_factory=dict)
    """Of each name that one is checked of or waits, and of no other: whoever guesses names as well never ends."""
    named: Counter[str] = field(default_factory=Counter)

    @contextlib.asynccontextmanager
    async def slot_of(self, name: str) -> AsyncIterator[None]:
        """Wait for those who have come under the same name."""
        self.named[name] += 1
        try:
            async with self.names.setdefault(name, asyncio.Lock()):
                yield
        finally:
            self.named[name] -= 1
            if not self.named[name]:
                del self.named[name], self.names[name]


class LoginThrottle:
    """Counts failed logins by (address, name)."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[tuple[str, str], list[float]] = OrderedDict()
        self._queues: dict[str, _Queue] = {}

    @contextlib.asynccontextmanager
    async def slot(self, address: str, name: str) -> AsyncIterator[None]:
        """Wait until a login may be checked. Raises Problem (429) where too many have failed, or too many wait."""
        address, name = _key(address, name)
        queue = self._queues.setdefault(address, _Queue())
        if queue.here >= WAITING:
            raise _too_many("too many logins from your address at the same time", 1)
        queue.here += 1
        try:
            async with contextlib.AsyncExitStack() as held:
                if name:  # a token or a session names nobody before it is known
                    await held.enter_async_context(queue.slot_of(name))
                await held.enter_async_context(queue.slots)
                if wait := self.retry_after(address, name):
                    raise _too_many("too many wrong logins", wait)
                yield
        finally:
            queue.here -= 1
            if not queue.here:
                self._queues.pop(address, None)

    def retry_after(self, address: str, name: str) -> int:
        """Return for how many seconds nothing is answered to this address and name; 0 when it may try."""
        recent = self._recent(_key(address, name))
        if len(recent) < ATTEMPTS:
            return 0
        return max(1, math.ceil(recent[-ATTEMPTS] + WINDOW - self._clock()))

    def failed(self, address: str, name: str) -> None:
        """Count a failure."""
        key = _key(address, name)
        recent = self._recent(key)
        self._failures[key] = [*recent, self._clock()][-ATTEMPTS:]
        self._failures.move_to_end(key)
        while len(self._failures) > _REMEMBERED:
            self._failures.popitem(last=False)

    def succeeded(self, address: str, name: str) -> None:
        """Forget the failures of somebody who knows the password after all."""
        self._failures.pop(_key(address, name), None)

    def _recent(self, key: tuple[str, str]) -> list[float]:
        since = self._clock() - WINDOW
        return [moment for moment in self._failures.get(key, ()) if moment > since]


def _key(address: str, name: str) -> tuple[str, str]:
    """Return under what an address and a name are remembered: who has one address of IPv6 has its whole /64.

    A service that listens on `::` sees addresses of IPv4 as `::ffff:192.0.2.1`, all of which would be one /64.
    """
    with contextlib.suppress(ValueError):
        ip = ipaddress.ip_address(address)
        if isinstance(ip, ipaddress.IPv6Address):
            mapped = ip.ipv4_mapped
            address = str(mapped or ipaddress.ip_network((address, 64), strict=False))
    return address, name[:_NAME_LENGTH]


def _too_many(reason: str, wait: int) -> Problem:
    return Problem(429, f"{reason}. Wait {wait} s", headers={"Retry-After": str(wait)})
