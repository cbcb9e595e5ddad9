"""What the endpoints share: the parts of the service, and who is asking."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request

from cvat_analytics.api import analytics_right
from cvat_analytics.api.analytics_right import Right
from cvat_analytics.api.attempts import Attempts
from cvat_analytics.api.callers import Caller, Directory, client_address, credentials
from cvat_analytics.api.clickhouse import (
    MEMORY_LIMIT_EXCEEDED,
    TOO_MANY_SIMULTANEOUS_QUERIES,
    ClickHouse,
    QueryError,
)
from cvat_analytics.api.config import Config
from cvat_analytics.api.directories import Cvat, UsersFile
from cvat_analytics.api.exports import Exports
from cvat_analytics.api.problems import Problem
from cvat_analytics.api.sendings import Sendings
from cvat_analytics.api.streams import Turns
from cvat_analytics.api.vector import Vector
from cvat_analytics.base.errors import CvatAnalyticsError, UnreachableError

FAILURE_SECONDS = 0.5
"""How long the answer to a wrong login takes at least."""
_SAFE = ("GET", "HEAD", "OPTIONS")
# ClickHouse has no room for another query
_BUSY = (TOO_MANY_SIMULTANEOUS_QUERIES, MEMORY_LIMIT_EXCEEDED)


@dataclass
class Service:
    """The parts."""

    config: Config
    clickhouse: ClickHouse
    vector: Vector
    directory: Directory
    exports: Exports
    right: Right
    turns: Turns = field(default_factory=Turns)
    large_bodies: Turns = field(
        default_factory=lambda: Turns(
            1, 8, "too many large requests at the same time. Send them one after another"
        )
    )
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a large body is read."""
    attempts: Attempts = field(default_factory=Attempts)
    sendings: Sendings = field(default_factory=Sendings)

    async def close(self) -> None:
        """End everything in order."""
        await asyncio.get_running_loop().run_in_executor(None, self.exports.close)
        await self.directory.close()
        await self.right.close()
        await self.vector.close()


def build(config: Config) -> Service:
    """Return the service that `config` describes."""
    clickhouse = ClickHouse(config.clickhouse)
    directory: Directory = Cvat(config.cvat_url) if config.cvat_url else UsersFile(config.users_file)
    return Service(
        config,
        clickhouse,
        Vector(config.vector),
        directory,
        Exports(config.exports, clickhouse),
        analytics_right.build(config),
    )


def service(request: Request) -> Service:
    """Return the parts of the service that handles `request`."""
    found: Service = request.app.state.service
    return found


async def caller(request: Request) -> Caller:
    """Return who is asking.

    Raises Problem: 401 for nobody known, 429 for too many wrong passwords, 403 for a page of another site that acts
    with the visitor's session, 503 when nobody can say who it is.
    """
    found = service(request)
    given = credentials(request)
    if not given.authorization and not given.cookie:
        raise _unauthorized("log in: basic login, a token, or CVAT's session")
    if request.method not in _SAFE and not given.authorization.lower().startswith(("token ", "bearer ")):
        _refuse_other_sites(request)
    address, name = client_address(request), given.claimed()
    who = found.directory.remembered(given)
    if who is None:
        async with found.attempts.turn(address, name):
            who = await found.directory.find(given)
            if who is not None:
                found.attempts.succeeded(address, name)
            elif name:  # nobody guesses a session or a token, and one bucket for all of them would lock out a whole office
                found.attempts.failed(address, name)
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


def store_problem(error: CvatAnalyticsError) -> Problem:
    """Return what to answer when ClickHouse could not."""
    if isinstance(error, UnreachableError):
        return Problem(503, f"{error}. Try again later", headers={"Retry-After": "10"})
    if isinstance(error, QueryError) and error.code in _BUSY:
        return Problem(503, f"ClickHouse is busy: {error}. Try again later", headers={"Retry-After": "10"})
    return Problem(500, f"ClickHouse could not answer: {error}")


CallerOf = Annotated[Caller, Depends(caller)]
ServiceOf = Annotated[Service, Depends(service)]
