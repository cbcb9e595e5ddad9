"""CVAT's events as CVAT sends them. For the smoke test, the demo and the tests."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterable
from itertools import batched
from typing import Any

import httpx

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import UnreachableError
from cvat_analytics.config.endpoints import Endpoint, url
from cvat_analytics.connect.http import http_client, no_answer

Event = dict[str, Any]
"""One event, with the names and the types that it has on the wire."""

BATCH_SIZE = 10
"""The events that CVAT's client sends in one request (python-logstash-async, QUEUED_EVENTS_BATCH_SIZE)."""


def send(
    events: Iterable[Any],
    host: str,
    port: int,
    *,
    timeout: float = 30,
    batch_size: int = BATCH_SIZE,
    login: tuple[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Send `events` to Vector at `host` and `port` in requests of up to `batch_size`, as a CVAT server does.

    `login` and `tls` are for a Vector that takes nothing else.

    Raises UnreachableError when Vector cannot be reached or does not accept a request; what was sent before is stored.
    """
    bodies = (json.dumps(batch) for batch in batched(events, batch_size))
    _post(bodies, url(host, port, tls=tls is not None), login, tls, timeout)


def send_text(body: str, vector: Endpoint, login: tuple[str, str] | None, *, timeout: float) -> None:
    """Send one request's body as it is. Raises UnreachableError as `send` does."""
    _post([body], vector.url, login, vector.tls(), timeout)


def _post(
    bodies: Iterable[str],
    address: str,
    login: tuple[str, str] | None,
    tls: ssl.SSLContext | None,
    timeout: float,
) -> None:
    with http_client(address, tls, timeout=timeout, login=login) as sending:
        for body in bodies:
            try:
                answer = sending.post(
                    "/", content=body.encode(), headers={"Content-Type": "application/json"}
                )
                reason = "" if answer.is_success else f"it answered HTTP {answer.status_code}"
            except httpx.HTTPError as error:
                reason = no_answer(address, error)
            if reason:
                raise UnreachableError(
                    Code.VECTOR_AWAY,
                    f"Vector at {address} did not accept events ({reason}): see whether it runs and what it logs",
                )
