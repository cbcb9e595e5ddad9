"""What the endpoints share: the parts of the service, and who is asking."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request

from cvat_analytics.api import analytics_right
from cvat_analytics.api.analytics_right import Right
from cvat_analytics.api.clickhouse import (
    MEMORY_LIMIT_EXCEEDED,
    TOO_MANY_SIMULTANEOUS_QUERIES,
    ClickHouse,
    QueryError,
)
from cvat_analytics.api.config import Config
from cvat_analytics.api.exports import Exports
from cvat_analytics.api.idempotency import IdempotencyStore
from cvat_analytics.api.identity_providers import CvatUsers, LocalUsers
from cvat_analytics.api.login_throttle import LoginThrottle
from cvat_analytics.api.principals import IdentityProvider, Principal, client_address, credentials
from cvat_analytics.api.problems import Problem
from cvat_analytics.api.slow_readers import StreamPlaces
from cvat_analytics.api.streams import ConcurrencyLimit
from cvat_analytics.api.turns import Turns
from cvat_analytics.api.vector import Vector
from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError, UnreachableError

FAILURE_SECONDS = 0.5
"""How long the answer to a wrong login takes at least."""
_SAFE = ("GET", "HEAD", "OPTIONS")
BUSY = (TOO_MANY_SIMULTANEOUS_QUERIES, MEMORY_LIMIT_EXCEEDED)
"""ClickHouse has no room for another query."""


@dataclass
class Service:
    """The parts."""

    config: Config
    clickhouse: ClickHouse
    vector: Vector
    identity_provider: IdentityProvider
    exports: Exports
    right: Right
    streams: StreamPlaces
    questions: Turns
    """Of those who ask ClickHouse for what is short: a page, the state of an export, whether somebody may see something."""
    large_bodies: ConcurrencyLimit = field(default_factory=lambda: ConcurrencyLimit(1, 8))
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a large body is read."""
    login_throttle: LoginThrottle = field(default_factory=LoginThrottle)
    idempotency: IdempotencyStore = field(default_factory=IdempotencyStore)

    async def close(self) -> None:
        """End everything in order."""
        await asyncio.get_running_loop().run_in_executor(None, self.exports.close)
        await self.identity_provider.close()
        await self.right.close()
        await self.vector.close()


def build(config: Config) -> Service:
    """Return the service that `config` describes."""
    clickhouse = ClickHouse(config.clickhouse)
    identity_provider: IdentityProvider = (
        CvatUsers(config.cvat_url) if config.cvat_url else LocalUsers(config.users_file)
    )
    return Service(
        config,
        clickhouse,
        Vector(config.vector),
        identity_provider,
        Exports(config.exports, clickhouse),
        analytics_right.build(config),
        StreamPlaces(config.places.streams, config.places.wait.total_seconds()),
        Turns(config.places.questions, config.places.wait.total_seconds(), "short questions"),
    )


def service(request: Request) -> Service:
    """Return the parts of the service that handles `request`."""
    parts: Service = request.app.state.service
    return parts


async def principal(request: Request) -> Principal:
    """Return who is asking.

    Raises Problem: 401 for nobody known, 429 for too many wrong passwords, 403 for a page of another site that acts
    with the visitor's session, 503 when nobody can say who it is.
    """
    parts = service(request)
    login = credentials(request)
    if not login.authorization and not login.cookie:
        raise _unauthorized("log in: basic login, a token, or CVAT's session")
    if request.method not in _SAFE and not login.authorization.lower().startswith(("token ", "bearer ")):
        _refuse_other_sites(request)
    address, name, proof = client_address(request), login.claimed(), login.proof()
    throttle = parts.login_throttle
    # whoever has to wait would else try passwords on what is remembered of their owner, as fast as they can send
    who = None if throttle.retry_after(address, name) else parts.identity_provider.remembered(login)
    if who is None:
        async with throttle.slot(address, name, proof) as known_as_wrong:
            who = None if known_as_wrong else await parts.identity_provider.find(login)
            if who is not None and (not name or who.is_called(name)):
                throttle.succeeded(address, name, proof)
            elif who is None and not known_as_wrong:
                throttle.failed(address, name, proof)
    if who is None:
        await asyncio.sleep(FAILURE_SECONDS)
        raise _unauthorized("this login is not known, or its password is wrong")
    request.scope["caller"] = who.key
    return who


def _unauthorized(detail: str) -> Problem:
    return Problem(401, detail, headers={"WWW-Authenticate": 'Basic realm="CVAT analytics", charset="UTF-8"'})


def _refuse_other_sites(request: Request) -> None:
    """Refuse a request that a browser makes for a page of another site (RFC 6454).

    It sends along the session, and a login that it remembers. A token it has from no one but the page itself. The same name
    without TLS, where anybody on the way may answer, is another site too, which only the browser can tell (Sec-Fetch-Site).
    """
    if request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        raise Problem(403, "a login may not be used by a page of another site")
    origin = request.headers.get("origin")
    if origin and urlsplit(origin).netloc != request.headers.get("host", ""):
        raise Problem(403, "a login may not be used by a page of another site")


def refuse_start_from_other_sites(request: Request) -> None:
    """Refuse a GET that would have work done for a page of another site, as a link or a picture there would.

    Programs send none of these headers. CVAT's own pages are of the same site, and somebody who types the address is none.
    """
    if request.headers.get("authorization", "").lower().startswith(("token ", "bearer ")):
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    foreign = urlsplit(origin).netloc != request.headers.get("host", "") if origin else False
    if site == "cross-site" or (site is None and foreign):
        raise Problem(403, "a page of another site may not ask for events. Open the address yourself")


def store_problem(error: CvatAnalyticsError) -> Problem:
    """Return what to answer when ClickHouse could not."""
    if isinstance(error, UnreachableError):
        return Problem(503, f"{error}. Try again later", headers={"Retry-After": "10"}, code=error.code)
    if isinstance(error, QueryError) and error.number in BUSY:
        busy = f"ClickHouse is busy: {error}. Try again later"
        return Problem(503, busy, headers={"Retry-After": "10"}, code=Code.CLICKHOUSE_BUSY)
    return Problem(500, f"ClickHouse could not answer: {error}", code=error.code)


PrincipalOf = Annotated[Principal, Depends(principal)]
ServiceOf = Annotated[Service, Depends(service)]
