"""A server answers who asks for it by an address or a name of its own, and nobody whom another site's page has sent."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from cvat_analytics.base.host_header import OwnNames


def status(hosts: Sequence[str], *, kind: str = "http") -> tuple[int, str]:
    """Return what comes back for a request with these `Host` headers."""
    sent: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> Any:
        raise AssertionError("nothing is read")

    async def send(message: Any) -> None:
        sent.append(message)

    names = OwnNames(application, ["Analytics.example.org"], "Give the name in the setting")
    scope = {"type": kind, "headers": [(b"host", host.encode()) for host in hosts]}
    anyio.run(names, scope, receive, send)
    return sent[0]["status"], sent[1]["body"].decode()


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "localhost:18103", "LOCALHOST:1", "localhost.", "stack.localhost:3000", "127.0.0.1", "127.0.0.1:18103",
        "127.0.0.2:1", "[::1]", "[::1]:18103", "10.0.0.7:8283", "[fe80::1%25eth0]:1", "analytics.example.org",
        "analytics.example.org:443", "analytics.example.org.", "ANALYTICS.example.ORG", socket.gethostname(),
        f"{socket.gethostname()}:8283",
    ],
)  # fmt: skip
def test_its_own_names_are_answered(host: str) -> None:
    assert status([host])[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:18103", "localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.1@evil.example",
        "analytics.example.org.evil.example", "xanalytics.example.org", "notlocalhost", "", ":80", "[evil.example]:80",
        "2130706433", "127.1", "0x7f000001",
    ],
)  # fmt: skip
def test_others_are_not_and_that_says_why(host: str) -> None:
    code, text = status([host])
    assert code == 421
    assert text == f"421: {host!r} is no name of this server. Give the name in the setting\n"


def test_one_wrong_name_among_right_ones_is_wrong() -> None:
    assert status(["localhost", "evil.example"])[0] == 421
    assert status([])[0] == 200, "HTTP/1.0 without the header, which no browser sends"
