"""CVAT's events as CVAT sends them, with CVAT's own client. For the smoke test, the demo and the tests."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterable
from itertools import batched
from typing import Any

import httpx
import requests
from logstash_async.transport import HttpTransport

from cvat_analytics.base.errors import UnreachableError

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

    `login` and `tls` are for a Vector that takes nothing else. CVAT's client cannot be told how to check a certificate, so
    that through TLS another one sends the same.

    Raises UnreachableError when Vector cannot be reached or does not accept a request; what was sent before is stored.
    """
    username, password = login or (None, None)
    transport = HttpTransport(
        host, port, timeout=timeout, ssl_enable=False, username=username, password=password
    )
    for batch in batched(events, batch_size):
        try:
            if tls:
                with httpx.Client(verify=tls, timeout=timeout, auth=login, trust_env=False) as client:
                    client.post(f"https://{host}:{port}/", json=list(batch)).raise_for_status()
            else:
                transport.send([json.dumps(event) for event in batch])
        except (requests.RequestException, httpx.HTTPError) as error:
            response = getattr(error, "response", None)
            reason = type(error).__name__ if response is None else f"it answered HTTP {response.status_code}"
            raise UnreachableError(
                f"Vector at http{'s' if tls else ''}://{host}:{port} did not accept events ({reason}): see whether it runs and what it logs"
            ) from None
