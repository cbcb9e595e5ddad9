"""The two places that know people: CVAT's own API, or the users file of a host without a CVAT."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx

from cvat_analytics.api.callers import Caller, Credentials, Organization
from cvat_analytics.api.problems import Problem
from cvat_analytics.base.errors import InputError
from cvat_analytics.base.tls_context import trusted
from cvat_analytics.credentials import users

REMEMBERED_SECONDS = 30.0
"""How long an answer about somebody is used again: whoever loses a right keeps it for at most this long."""
TIMEOUT_SECONDS = 5.0
MANAGERS = ("owner", "maintainer")
_PAGES = 20


class Memory:
    """Remembers for a short time whose credentials are whose; of the credentials only a keyed hash is kept."""

    def __init__(self) -> None:
        self._key = os.urandom(32)
        self._found: OrderedDict[bytes, tuple[float, Caller]] = OrderedDict()
        self._asking: dict[bytes, asyncio.Lock] = {}

    async def find(self, given: Credentials, ask: Callable[[], Awaitable[Caller | None]]) -> Caller | None:
        """Return what is remembered, or what `ask` returns; somebody who asks often is asked about once at a time."""
        name = self._name(given)
        if caller := self.remembered(given):
            return caller
        lock = self._asking.setdefault(name, asyncio.Lock())
        try:
            async with lock:
                caller = self.remembered(given) or await ask()
        finally:
            if not lock.locked():
                self._asking.pop(name, None)
        if caller:
            self._found[name] = (time.monotonic() + REMEMBERED_SECONDS, caller)
            while len(self._found) > 1000:
                self._found.popitem(last=False)
        return caller

    def forget(self) -> None:
        """Forget everybody."""
        self._found.clear()

    def remembered(self, given: Credentials) -> Caller | None:
        """Return what is remembered, and nothing else."""
        name = self._name(given)
        until, caller = self._found.get(name, (0.0, None))
        if caller and until > time.monotonic():
            return caller
        self._found.pop(name, None)
        return None

    def _name(self, given: Credentials) -> bytes:
        return hmac.digest(
            self._key,
            f"{given.authorization}\0{given.cookie}".encode(errors="surrogateescape"),
            hashlib.sha256,
        )


class Cvat:
    """Asks CVAT with the caller's own credentials: basic login, session cookie or token."""

    def __init__(self, url: str) -> None:
        self._client = httpx.AsyncClient(
            base_url=url,
            timeout=TIMEOUT_SECONDS,
            follow_redirects=False,
            trust_env=False,
            verify=trusted(),
            headers={"Accept": "application/vnd.cvat+json"},
            limits=httpx.Limits(max_connections=20),
        )
        self._memory = Memory()

    def remembered(self, given: Credentials) -> Caller | None:
        """See Directory."""
        return self._memory.remembered(given)

    async def find(self, given: Credentials) -> Caller | None:
        """See Directory."""
        return await self._memory.find(given, lambda: self._ask(given))

    async def close(self) -> None:
        """See Directory."""
        await self._client.aclose()

    async def _ask(self, given: Credentials) -> Caller | None:
        about = await self._get("/api/users/self", given)
        if about is None:
            return None
        try:
            user_id, name, groups = int(about["id"]), str(about["username"]), about.get("groups") or []
            admin = bool(about.get("is_superuser")) or "admin" in groups
            return Caller(
                key=f"cvat:{user_id}",
                id=user_id,
                name=name,
                email=str(about.get("email") or ""),
                admin=admin,
                organizations=await self._organizations(given, user_id, name, admin),
            )
        except (LookupError, TypeError, ValueError, AttributeError):
            raise _cvat_away("its answer is not what CVAT answers") from None

    async def _organizations(
        self, given: Credentials, user_id: int, name: str, admin: bool
    ) -> tuple[Organization, ...]:
        """Return the organizations in which the caller may act, with the role in each (CVAT's `/api/memberships`).

        An administrator may in each that CVAT shows him, member or not.
        """
        roles = {
            int(each["organization"]): str(each["role"])
            async for each in self._pages("/api/memberships", given, user=name)
            if each.get("is_active", True) and (each.get("user") or {}).get("id", user_id) == user_id
        }
        found = []
        async for each in self._pages("/api/organizations", given):
            owner = (each.get("owner") or {}).get("id") == user_id
            role = roles.get(int(each["id"]))
            if owner or role or admin:
                manages = owner or admin or role in MANAGERS
                found.append(Organization(int(each["id"]), str(each["slug"]), manages))
        return tuple(found)

    async def _pages(self, path: str, given: Credentials, **parameters: str) -> AsyncIterator[Any]:
        for page in range(1, _PAGES + 1):
            query = {**parameters, "page": str(page), "page_size": "100"}
            answer = await self._get(path, given, query) or {}
            for each in answer.get("results", ()):
                yield each
            if not answer.get("next"):
                return

    async def _get(
        self, path: str, given: Credentials, query: dict[str, str] | None = None
    ) -> dict[str, Any] | None:
        """Return CVAT's JSON, or None when it says that these credentials are nobody's."""
        try:
            answer = await self._client.get(path, params=query, headers=given.headers())
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise _cvat_away(type(error).__name__) from None
        if answer.status_code in (401, 403):
            return None
        if answer.status_code != 200:
            raise _cvat_away(f"it answered HTTP {answer.status_code}")
        try:
            found = answer.json()
        except ValueError:
            raise _cvat_away("its answer is not JSON") from None
        return found if isinstance(found, dict) else {}


def _cvat_away(reason: str) -> Problem:
    return Problem(
        503,
        f"CVAT, which knows who you are, does not answer ({reason}). Try again later",
        headers={"Retry-After": "10"},
    )


class UsersFile:
    """Asks the users file. It is read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._memory = Memory()
        self._users: users.Users = {}
        self._version: tuple[int, int] | None = None
        # Checking a password costs memory and time on purpose: one at a time leaves the rest of the service its own
        self._turn = asyncio.Semaphore(1)

    def remembered(self, given: Credentials) -> Caller | None:
        """See Directory."""
        self._read()
        return self._memory.remembered(given)

    async def find(self, given: Credentials) -> Caller | None:
        """See Directory."""
        login = given.basic()
        if login is None:
            return None
        self._read()
        return await self._memory.find(given, lambda: self._check(*login))

    async def close(self) -> None:
        """See Directory."""

    def _read(self) -> None:
        try:
            status = self._path.stat()
            version = (status.st_mtime_ns, status.st_ino)
        except FileNotFoundError:
            version = (0, 0)
        if version != self._version:
            try:
                self._users = users.load(self._path)
            except InputError as error:
                raise Problem(503, str(error)) from None
            self._version = version
            self._memory.forget()

    async def _check(self, name: str, password: str) -> Caller | None:
        async with self._turn:
            user = await asyncio.get_running_loop().run_in_executor(
                None, users.check, self._users, name, password
            )
        if user is None:
            return None
        return Caller(
            key=f"local:{user.name}",
            id=user.id,
            name=user.name,
            email=user.email,
            admin=user.admin,
            analytics=user.analytics,
        )
