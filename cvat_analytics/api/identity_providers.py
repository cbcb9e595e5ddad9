"""The two places that know people: CVAT's own API, or the users file of a host without a CVAT."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
from pydantic_core import from_json

from cvat_analytics.api.principals import Credentials, Organization, Principal
from cvat_analytics.api.problems import Problem
from cvat_analytics.api.ttl_cache import TtlCache
from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.base.tls_context import system_and_public
from cvat_analytics.credentials import users

TIMEOUT_SECONDS = 5.0
MANAGERS = ("owner", "maintainer")
_PAGES = 20


def cvat_client(url: str, **more: Any) -> httpx.AsyncClient:
    """Return a client of the CVAT at `url`: what asks whom it lets in waits for it for seconds, and sends a login nowhere else."""
    return httpx.AsyncClient(
        base_url=url,
        timeout=TIMEOUT_SECONDS,
        follow_redirects=False,
        trust_env=False,
        verify=system_and_public(),
        **more,
    )


class CvatUsers:
    """Asks CVAT with the caller's own credentials: basic login, session cookie or token."""

    def __init__(self, url: str) -> None:
        self._client = cvat_client(
            url, headers={"Accept": "application/vnd.cvat+json"}, limits=httpx.Limits(max_connections=20)
        )
        self._cache = TtlCache()

    def remembered(self, credentials: Credentials) -> Principal | None:
        """See Directory."""
        return self._cache.remembered(credentials)

    async def find(self, credentials: Credentials) -> Principal | None:
        """See Directory."""
        return await self._cache.find(credentials, lambda: self._ask(credentials))

    async def close(self) -> None:
        """See Directory."""
        await self._client.aclose()

    async def _ask(self, credentials: Credentials) -> Principal | None:
        about = await self._get("/api/users/self", credentials)
        if about is None:
            return None
        try:
            user_id, name, groups = int(about["id"]), str(about["username"]), about.get("groups") or []
            admin = bool(about.get("is_superuser")) or "admin" in groups
            return Principal(
                key=f"cvat:{user_id}",
                id=user_id,
                name=name,
                email=str(about.get("email") or ""),
                admin=admin,
                organizations=await self._organizations(credentials, user_id, name, admin),
            )
        except (LookupError, TypeError, ValueError, AttributeError):
            raise _cvat_away("its answer is not what CVAT answers") from None

    async def _organizations(
        self, credentials: Credentials, user_id: int, name: str, admin: bool
    ) -> tuple[Organization, ...]:
        """Return the organizations in which the caller may act, with the role in each (CVAT's `/api/memberships`).

        An administrator may in each that CVAT shows them, member or not.
        """
        roles = {
            int(each["organization"]): str(each["role"])
            async for each in self._pages("/api/memberships", credentials, user=name)
            if each.get("is_active", True) and (each.get("user") or {}).get("id", user_id) == user_id
        }
        organizations = []
        async for each in self._pages("/api/organizations", credentials):
            owner = (each.get("owner") or {}).get("id") == user_id
            role = roles.get(int(each["id"]))
            if owner or role or admin:
                manages = owner or admin or role in MANAGERS
                organizations.append(Organization(int(each["id"]), str(each["slug"]), manages))
        return tuple(organizations)

    async def _pages(self, path: str, credentials: Credentials, **parameters: str) -> AsyncIterator[Any]:
        for page in range(1, _PAGES + 1):
            query = {**parameters, "page": str(page), "page_size": "100"}
            answer = await self._get(path, credentials, query) or {}
            for each in answer.get("results", ()):
                yield each
            if not answer.get("next"):
                return

    async def _get(
        self, path: str, credentials: Credentials, query: dict[str, str] | None = None
    ) -> dict[str, Any] | None:
        """Return CVAT's JSON, or None when it says that these credentials are nobody's."""
        try:
            answer = await self._client.get(path, params=query, headers=credentials.headers())
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise _cvat_away(type(error).__name__) from None
        if answer.status_code in (401, 403):
            return None
        if answer.status_code != 200:
            raise _cvat_away(f"it answered HTTP {answer.status_code}")
        try:
            # Python's own takes bytes that are no text, and halves of surrogate pairs, which nobody could write down again
            content = from_json(answer.content)
        except ValueError:
            raise _cvat_away("its answer is not JSON") from None
        return content if isinstance(content, dict) else {}


def _cvat_away(reason: str) -> Problem:
    return Problem(
        503,
        f"CVAT, which knows who you are, does not answer ({reason}). Try again later",
        headers={"Retry-After": "10"},
        code=Code.CVAT_AWAY,
    )


class LocalUsers:
    """Asks the users file. It is read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._cache = TtlCache()
        self._users: users.Users = {}
        self._version: tuple[int, int] | None = None
        # Checking a password costs memory and time on purpose: one at a time leaves the rest of the service its own
        self._turn = asyncio.Semaphore(1)

    def remembered(self, credentials: Credentials) -> Principal | None:
        """See Directory."""
        self._read()
        return self._cache.remembered(credentials)

    async def find(self, credentials: Credentials) -> Principal | None:
        """See Directory."""
        login = credentials.basic()
        if login is None:
            return None
        self._read()
        return await self._cache.find(credentials, lambda: self._check(*login))

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
                raise Problem(503, str(error), code=error.code) from None
            self._version = version
            self._cache.forget()

    async def _check(self, name: str, password: str) -> Principal | None:
        async with self._turn:
            user = await asyncio.get_running_loop().run_in_executor(
                None, users.check, self._users, name, password
            )
        if user is None:
            return None
        return Principal(
            key=f"local:{user.name}",
            id=user.id,
            name=user.name,
            email=user.email,
            admin=user.admin,
            analytics=user.analytics,
        )
