"""Who may see the dashboards: the question that the gateway asks before every request to Grafana.

CVAT itself decides where there is one (its own `/analytics`, as its proxy asks it), otherwise the users file's flag. In
doubt nobody comes in.
"""

from __future__ import annotations

import time
from typing import Protocol

import httpx

from cvat_analytics.api.config import Config
from cvat_analytics.api.identity_providers import cvat_client
from cvat_analytics.api.principals import Credentials, Principal
from cvat_analytics.api.problems import Problem
from cvat_analytics.api.ttl_cache import TtlCache
from cvat_analytics.base.codes import Code

PROVEN_SECONDS = 60.0
"""How long it is taken for granted that CVAT's `/analytics` still refuses strangers."""


class Right(Protocol):
    """Knows who has the analytics right."""

    async def granted(self, credentials: Credentials, principal: Principal) -> bool:
        """Return whether `principal`, who sent `credentials`, may see the dashboards.

        Raises Problem (503) when it cannot be known now.
        """

    async def close(self) -> None:
        """Let go of connections."""


class CvatRight:
    """Asks CVAT's `/analytics` with the visitor's own credentials: 200 for whoever has the right (docs/reference/access.md)."""

    def __init__(self, url: str) -> None:
        self._client = cvat_client(url)
        self._cache = TtlCache()
        self._proven = -PROVEN_SECONDS

    async def granted(self, credentials: Credentials, principal: Principal) -> bool:
        """See Right."""

        async def ask() -> Principal | None:
            await self._prove()
            return principal if await self._status(credentials) == 200 else None

        return await self._cache.find(credentials, ask) is not None

    async def close(self) -> None:
        """See Right."""
        await self._client.aclose()

    async def _prove(self) -> None:
        """Make sure that it is CVAT's server that answers: a page that anybody may see would let everybody in."""
        if time.monotonic() - self._proven < PROVEN_SECONDS:
            return
        if await self._status(Credentials()) == 200:
            raise Problem(
                503,
                "/analytics of the CVAT in 'cvat_server_url' answers strangers too, so it is not CVAT's server that decides. "
                "Send that path to CVAT's server (docs/reference/access.md)",
                code=Code.CVAT_AWAY,
            )
        self._proven = time.monotonic()

    async def _status(self, credentials: Credentials) -> int:
        """Return 200, 401 or 403 as CVAT says. Raises Problem (503) for anything else."""
        try:
            answer = await self._client.get("/analytics", headers=credentials.headers())
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise Problem(
                503, f"CVAT does not say who may see analytics ({type(error).__name__})", code=Code.CVAT_AWAY
            ) from None
        if answer.status_code not in (200, 401, 403):
            raise Problem(
                503,
                f"CVAT does not say who may see analytics (HTTP {answer.status_code})",
                code=Code.CVAT_AWAY,
            )
        return answer.status_code


class FileRight:
    """Goes by what the users file says of the caller: the flag, or being an administrator."""

    async def granted(self, credentials: Credentials, principal: Principal) -> bool:
        """See Right."""
        return principal.analytics or principal.admin

    async def close(self) -> None:
        """See Right."""


def build(config: Config) -> Right:
    """Return who is asked for the right on a host with `config`."""
    return CvatRight(config.cvat_url) if config.cvat_url else FileRight()
