"""Slow down those who guess passwords, and keep nobody from the right one for long.

A login that has to be checked costs argon2's memory and time, or a question to CVAT. Each address has only a few checks
at a time and each name one, so that guesses sent all at once count as those sent one by one, and whoever floods the service
waits behind their own and nobody else's.

Three things are counted: what fails of one name at one address, of one address under any name, and of one name at any address. Each
has some failures for nothing, then a wait that doubles with each, up to a minute. Whose login has been right at an address before
does not wait for those who guess other names there; and no failures elsewhere keep somebody from a first try at theirs: otherwise
whoever knows a name could lock its owner out.

Whoever guesses a name behind the very address at which its owner has been right cannot be told from the owner but by the proof. While
there is a wait, what comes is compared with what was right there, at a bounded rate: without the bound everybody there could
guess as fast as they can send, without the comparison they could lock the owner out.

Nobody guesses a session or a token, so that these wait for no failures. Made-up ones cost a question each, and have places of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import math
import os
import time
import unicodedata
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from cvat_analytics.api.problems import Problem
from cvat_analytics.base.codes import Code

LONGEST = 60.0
"""Seconds that somebody waits at most."""
AGAIN = 30.0
"""Seconds for which a wrong password is remembered: a page that goes on asking with the old one has failed once."""
AT_ONCE = 4
"""Logins of one address and kind that are checked at the same time."""
WAITING = 100
"""Logins of one address and kind that may be here at the same time, those that wait included."""
REMEMBERED = 10_000
"""Of each kind, so that whoever makes up names and addresses takes no more memory."""
_NAME_LENGTH = 200
"""Letters of a name that are remembered: no user has a longer one, and a header has room for ten thousand."""


@dataclass(frozen=True)
class Allowance:
    """How many failures cost nothing, and after how many seconds one of them is forgotten."""

    free: int
    forgets: float


PAIR = Allowance(5, 60.0)
"""Of one name at one address."""
ADDRESS = Allowance(30, 10.0)
"""Of one address: a whole office may be behind it."""
NAME = Allowance(30, 10.0)
"""Of one name at any address, for those who have failed with it themselves."""
COMPARED = Allowance(12, 5.0)
"""Of one name where its owner has been right: what is compared with that although there is a wait."""

Key = TypeVar("Key")
Kept = TypeVar("Kept")


@dataclass
class _Failed:
    level: float
    at: float
    until: float = 0.0


class Failures(Generic[Key]):
    """A level for each key, which every failure raises by one and time lowers again; above `free` there is a wait."""

    def __init__(self, allowance: Allowance, remembered: int, clock: Callable[[], float]) -> None:
        self._allowance = allowance
        self._remembered = remembered
        self._clock = clock
        self._failed: OrderedDict[Key, _Failed] = OrderedDict()

    def __len__(self) -> int:
        return len(self._failed)

    def level(self, key: Key) -> float:
        """Return how many failures are not forgotten yet, the last one in part."""
        known = self._failed.get(key)
        if known is None:
            return 0.0
        return max(0.0, known.level - (self._clock() - known.at) / self._allowance.forgets)

    def wait(self, key: Key) -> float:
        """Return for how many seconds nothing is tried."""
        known = self._failed.get(key)
        return max(0.0, known.until - self._clock()) if known else 0.0

    def add(self, key: Key) -> None:
        """Count a failure."""
        now, free = self._clock(), self._allowance.free
        # no higher than the longest wait needs: what is over is forgotten soon, however long it has gone on
        level = min(self.level(key) + 1, free + 1 + math.log2(LONGEST))
        wait = min(LONGEST, 2 ** (level - free - 1)) if level > free else 0.0
        self._failed[key] = _Failed(level, now, now + wait)
        self._failed.move_to_end(key)
        while len(self._failed) > self._remembered:
            self._failed.popitem(last=False)

    def forget(self, key: Key) -> None:
        """Forget the failures of somebody who knows the password after all."""
        self._failed.pop(key, None)


@dataclass
class _Queue:
    """Those of one address and kind who are being checked or wait for it."""

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
    """Counts failed logins."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, remembered: int = REMEMBERED) -> None:
        self._clock = clock
        self._remembered = remembered
        self._key = os.urandom(32)
        self._pairs: Failures[tuple[str, str]] = Failures(PAIR, remembered, clock)
        self._addresses: Failures[str] = Failures(ADDRESS, remembered, clock)
        self._names: Failures[str] = Failures(NAME, remembered, clock)
        self._compared: Failures[tuple[str, str]] = Failures(COMPARED, remembered, clock)
        self._right: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        """Where whose login has been right, and with what, of which only a keyed hash is kept."""
        self._sessions: OrderedDict[bytes, None] = OrderedDict()
        """Sessions and tokens that have been right, as keyed hashes."""
        self._wrong: OrderedDict[tuple[str, str], tuple[float, bytes]] = OrderedDict()
        """When and with what each has failed last, of which only a keyed hash is kept."""
        self._queues: dict[tuple[str, str], _Queue] = {}

    @contextlib.asynccontextmanager
    async def slot(self, address: str, name: str, proof: str = "") -> AsyncIterator[bool]:
        """Wait until a login may be checked; yield whether `proof`, what it is proved by, has just been wrong and need not be.

        Raises Problem (429) where too many have failed, or too many wait.
        """
        self._refuse(address, name, proof)
        known = self._digest(proof) in self._sessions
        kind = "named" if name else "known session" if known else "session"
        place = (_place(address), kind)
        queue = self._queues.setdefault(place, _Queue())
        if queue.here >= WAITING:
            raise _too_many("too many logins from your address at the same time", 1)
        queue.here += 1
        try:
            async with contextlib.AsyncExitStack() as held:
                if name:  # a token or a session names nobody before it is known
                    await held.enter_async_context(queue.slot_of(_plain(name)))
                await held.enter_async_context(queue.slots)
                yield self._refuse(address, name, proof)
        finally:
            queue.here -= 1
            if not queue.here:
                self._queues.pop(place, None)

    def retry_after(self, address: str, name: str) -> int:
        """Return for how many seconds nothing is answered to this address and name; 0 when it may try."""
        if (
            not name
        ):  # nobody guesses a session or a token, and a whole office would wait for one who guesses passwords
            return 0
        place, name = _place(address), _plain(name)
        pair = (place, name)
        waits = [self._pairs.wait(pair)]
        if pair not in self._right:
            waits.append(self._addresses.wait(place))
            if self._pairs.level(pair):
                waits.append(self._names.wait(name))
        return math.ceil(round(max(waits), 3))  # sums of times are off by less than anybody can tell

    def failed(self, address: str, name: str, proof: str = "") -> None:
        """Count a failure; of a session or a token, which nobody guesses, only forget that it has been right."""
        digest = self._digest(proof)
        if not name:
            self._sessions.pop(digest, None)
            return
        place, name = _place(address), _plain(name)
        if self._was_right((place, name), digest):  # it has been changed since
            del self._right[place, name]
        self._pairs.add((place, name))
        self._addresses.add(place)
        self._names.add(name)
        self._keep(self._wrong, (place, name), (self._clock(), digest))

    def succeeded(self, address: str, name: str, proof: str = "") -> None:
        """Forget the failures of somebody who knows the password after all, and remember where that was.

        What has failed under other names at the same address counts on: whoever has a login of their own would else guess others'.
        So does what has failed since the same proof was right: each page of the owner's would else be some guesses for others.
        """
        digest = self._digest(proof)
        if not name:
            self._keep(self._sessions, digest, None)
            return
        pair = (_place(address), _plain(name))
        if not self._was_right(pair, digest):
            self._pairs.forget(pair)
        self._wrong.pop(pair, None)
        self._keep(self._right, pair, digest)

    def _refuse(self, address: str, name: str, proof: str) -> bool:
        """Return whether `proof` has just been wrong. Raises Problem (429) for anything else while there is a wait."""
        pair, digest = (_place(address), _plain(name)), self._digest(proof)
        since, wrong = self._wrong.get(pair, (-math.inf, b""))
        if self._clock() - since < AGAIN and hmac.compare_digest(wrong, digest):
            return True
        wait = self.retry_after(address, name)
        if wait and not self._may_all_the_same(pair, digest):
            raise _too_many("too many wrong logins", wait)
        return False

    def _may_all_the_same(self, pair: tuple[str, str], digest: bytes) -> bool:
        """Return whether it is what was right there before; of what it is not, only so much is compared."""
        if pair not in self._right or self._compared.level(pair) + 1 > COMPARED.free:
            return False
        if self._was_right(pair, digest):
            return True
        self._compared.add(pair)
        return False

    def _was_right(self, pair: tuple[str, str], digest: bytes) -> bool:
        return hmac.compare_digest(self._right.get(pair, b""), digest)

    def _digest(self, proof: str) -> bytes:
        return hmac.digest(self._key, proof.encode(errors="surrogateescape"), "sha256")

    def _keep(self, kept: OrderedDict[Key, Kept], key: Key, value: Kept) -> None:
        """Keep the newest ones."""
        kept[key] = value
        kept.move_to_end(key)
        while len(kept) > self._remembered:
            kept.popitem(last=False)


def _place(address: str) -> str:
    """Return under what an address is remembered: who has one of IPv6 has its whole /64.

    A service that listens on `::` sees addresses of IPv4 as `::ffff:192.0.2.1`, all of which would be one /64.
    """
    with contextlib.suppress(ValueError):
        ip = ipaddress.ip_address(address)
        if isinstance(ip, ipaddress.IPv6Address):
            return str(ip.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))
    return address


def _plain(name: str) -> str:
    """Return under what a name is remembered: CVAT takes one for the other that differ in this only."""
    return unicodedata.normalize("NFKC", name[:_NAME_LENGTH]).casefold()[:_NAME_LENGTH]


def _too_many(reason: str, wait: int) -> Problem:
    return Problem(
        429, f"{reason}. Wait {wait} s", headers={"Retry-After": str(wait)}, code=Code.API_LOGIN_THROTTLED
    )
