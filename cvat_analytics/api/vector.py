"""Hand events to Vector as CVAT's server does: one request with all of them, so that all are kept or none."""

from __future__ import annotations

import json
import ssl
from typing import Any

import httpx

from cvat_analytics.api.config import VectorConfig
from cvat_analytics.api.problems import Problem

TIMEOUT_SECONDS = 10.0


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
        """Return when Vector has the events safely. Raises Problem (503) when it does not say so."""
        body = json.dumps(events, ensure_ascii=False, separators=(",", ":")).encode()
        try:
            try:
                answer = await self._post(body)
            except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
                # most likely a kept connection that Vector has just closed; what comes twice is read once (docs/store.md)
                answer = await self._post(body)
        except httpx.ReadTimeout:
            raise _later(
                f"it is not known whether the events are stored: Vector has not answered within {TIMEOUT_SECONDS:.0f} s"
            ) from None
        except httpx.HTTPError as error:
            raise _away(type(error).__name__) from None
        if answer.status_code == 413:
            raise Problem(
                413, "the events are not stored: Vector takes fewer at once. Send them in smaller parts"
            )
        if not answer.is_success:
            raise _away(f"it answered HTTP {answer.status_code}")

    async def _post(self, body: bytes) -> httpx.Response:
        return await self._client.post(self._url, content=body, headers={"Content-Type": "application/json"})

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _away(reason: str) -> Problem:
    return _later(f"the events are not stored: Vector does not take them ({reason})")


def _later(detail: str) -> Problem:
    return Problem(503, f"{detail}. Send them again later", headers={"Retry-After": "5"})


def _trust(config: VectorConfig) -> ssl.SSLContext | bool:
    """Return what Vector's certificate is checked with: that of its authority, for its address, or itself alone."""
    if config.certificate is None:
        return ssl.create_default_context(cafile=str(config.authority)) if config.authority else True
    # the file's first alone, without its issuer: that comes next, and may have signed a good many others
    certificate = "".join(config.certificate.read_text().partition("-----END CERTIFICATE-----")[:2])
    context = ssl.create_default_context(cadata=certificate)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = False
    return context
