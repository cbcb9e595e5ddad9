"""Hand events to Vector as CVAT's server does: one request with all of them, so that all are kept or none."""

from __future__ import annotations

import json
import ssl
from typing import Any

import httpx

from cvat_analytics.api.config import VectorConfig
from cvat_analytics.api.problems import Problem
from cvat_analytics.base.codes import Code
from cvat_analytics.base.tls_context import pinned

TIMEOUT_SECONDS = 10.0


class NotStored(Problem):
    """Vector has none of the events."""


class Vector:
    """The Vector that takes events."""

    def __init__(self, config: VectorConfig) -> None:
        self._url = config.url
        self._client = httpx.AsyncClient(
            auth=(config.username, config.password) if config.username else None,
            verify=_trust(config),
            timeout=TIMEOUT_SECONDS,
            trust_env=False,
            limits=httpx.Limits(max_connections=50, max_keepalive_connections=20),
        )

    async def send(self, events: list[dict[str, Any]]) -> None:
        """Return when Vector has the events safely.

        Raises NotStored where it has certainly none of them; another Problem (503) where it may have some or all.
        """
        body = json.dumps(events, ensure_ascii=False, separators=(",", ":")).encode()
        broken_off = False
        try:
            try:
                answer = await self._post(body)
            except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
                # most likely a kept connection that Vector has just closed; what comes twice is read once (docs/why/store.md)
                broken_off = True
                answer = await self._post(body)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise _away(type(error).__name__, certain=not broken_off) from None
        except httpx.ReadTimeout:
            raise _away(f"it has not answered within {TIMEOUT_SECONDS:.0f} s", certain=False) from None
        except httpx.HTTPError as error:
            raise _away(type(error).__name__, certain=False) from None
        if answer.status_code == 413:
            raise NotStored(
                413, "the events are not stored: Vector takes fewer at once. Send them in smaller parts"
            )
        if not answer.is_success:
            # of one request some events may be in a buffer and others not: Vector says 400 or 500 then
            may_be_stored = answer.status_code == 400 or answer.is_server_error
            raise _away(f"it answered HTTP {answer.status_code}", certain=not (broken_off or may_be_stored))

    async def _post(self, body: bytes) -> httpx.Response:
        return await self._client.post(self._url, content=body, headers={"Content-Type": "application/json"})

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _away(reason: str, *, certain: bool) -> Problem:
    again = {"Retry-After": "5"}
    if certain:
        return NotStored(
            503,
            f"the events are not stored: Vector does not take them ({reason}). Send them again later",
            headers=again,
            code=Code.API_NOT_STORED,
        )
    return Problem(
        503,
        f"it is not known whether the events are stored: Vector does not say so ({reason}). Send the same events again later: "
        "none is stored twice",
        headers=again,
        code=Code.API_NOT_STORED,
    )


def _trust(config: VectorConfig) -> ssl.SSLContext | bool:
    """Return what Vector's certificate is checked with: that of its authority, for its address, or itself alone."""
    if config.certificate is None:
        return ssl.create_default_context(cafile=str(config.authority)) if config.authority else True
    return pinned(config.certificate.read_text())
