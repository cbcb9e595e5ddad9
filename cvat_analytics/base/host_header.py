"""Answer only who asks for this server by a name of its own.

A page of any site can have its name mean 127.0.0.1 from one moment to the next (DNS rebinding): the visitor's browser then takes
this server for that site, and hands its answers to the page. What gives it away is the name that it asks for. An address in
numbers, and localhost, are nobody's to redirect.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_Application = Callable[[_Message, _Receive, _Send], Awaitable[None]]


class OwnNames:
    """An ASGI application that answers 421 to whoever asks for another name, and hands everything else on."""

    def __init__(self, application: _Application, names: Iterable[str], remedy: str) -> None:
        self._application = application
        self._names = frozenset(map(_plain, (*names, socket.gethostname())))
        self._remedy = remedy
        """What to do where the name is right, for the answer."""

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Answer one request, or open one connection."""
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return
        # HTTP/1.0 needs none, and no browser speaks that
        asked = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if all(is_own(host_of(each), self._names) for each in asked):
            await self._application(scope, receive, send)
            return
        names = ", ".join(repr(each[:200]) for each in asked)
        text = f"421: {names} is no name of this server. {self._remedy}\n".encode()
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(text)).encode()),
            (b"x-content-type-options", b"nosniff"),
        ]
        await send({"type": "http.response.start", "status": 421, "headers": headers})
        await send({"type": "http.response.body", "body": text})


def host_of(header: str) -> str:
    """Return the name or address in a `Host` header, without its port and without brackets."""
    header = header.strip()
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]


def is_own(name: str, names: Iterable[str]) -> bool:
    """Return whether somebody who asks for `name` means this server: an address, localhost, or one of `names`."""
    name = _plain(name)
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost" or name.endswith(".localhost") or (bool(name) and name in names)
    return True


def _plain(name: str) -> str:
    return name.lower().rstrip(".")
