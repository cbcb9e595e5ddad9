"""Answers about who somebody is, kept for a short time: nobody is asked again for each of a page's requests."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from cvat_analytics.api.principals import Credentials, Principal

TTL_SECONDS = 30.0
"""How long an answer is used again: whoever loses a right keeps it for at most this long."""
ENTRIES = 1000


class TtlCache:
    """Principals by credentials, of which only a keyed hash is kept."""

    def __init__(self) -> None:
        self._key = os.urandom(32)
        self._entries: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()
        self._pending: dict[bytes, asyncio.Lock] = {}

    async def find(
        self, credentials: Credentials, ask: Callable[[], Awaitable[Principal | None]]
    ) -> Principal | None:
        """Return what is remembered, or what `ask` returns; somebody who asks often is asked about once at a time."""
        key = self._digest(credentials)
        if principal := self.remembered(credentials):
            return principal
        lock = self._pending.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                principal = self.remembered(credentials) or await ask()
        finally:
            if not lock.locked():
                self._pending.pop(key, None)
        if principal:
            self._entries[key] = (time.monotonic() + TTL_SECONDS, principal)
            while len(self._entries) > ENTRIES:
                self._entries.popitem(last=False)
        return principal

    def forget(self) -> None:
        """Forget everybody."""
        self._entries.clear()

    def remembered(self, credentials: Credentials) -> Principal | None:
        """Return what is remembered, and nothing else."""
        key = self._digest(credentials)
        until, principal = self._entries.get(key, (0.0, None))
        if principal and until > time.monotonic():
            return principal
        self._entries.pop(key, None)
        return None

    def _digest(self, credentials: Credentials) -> bytes:
        return hmac.digest(
            self._key,
            f"{credentials.authorization}\0{credentials.cookie}".encode(errors="surrogateescape"),
            hashlib.sha256,
        )
