"""Give each request its id, and write one line about it: who, what, how it ended, how long it took."""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("cvat_analytics.api")

_VALID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._:-]{7,127}")

HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",
    b"cache-control": b"no-store",
}
"""What every answer has unless it says otherwise: answers are about people, and no cache may keep them."""


class BrokenOff(Exception):
    """End an answer that has begun so that the caller sees that it is not complete."""


class Tracing:
    """Pure ASGI middleware: a streamed answer goes through it piece by piece."""

    def __init__(self, app: ASGIApp, allowed: Callable[[str], str]) -> None:
        self._app = app
        self._allowed = allowed
        """The methods that a path has, for the header `Allow`; empty for an unknown path."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"").decode(
            "latin-1"
        )
        scope["request_id"] = request_id = sent if _VALID.fullmatch(sent) else str(uuid.uuid4())
        status, size, complete, began = 0, 0, False, time.monotonic()

        async def traced(message: Message) -> None:
            nonlocal status, size, complete
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = list(message["headers"])
                present = {name.lower() for name, _ in headers}
                headers += [(name, value) for name, value in HEADERS.items() if name not in present]
                headers.append((b"x-request-id", request_id.encode()))
                allow = self._allowed(scope["path"])
                if allow:  # the framework's own names the methods of one of the routes that a path has
                    headers = [each for each in headers if each[0].lower() != b"allow"]
                    headers.append((b"allow", allow.encode()))
                message = {**message, "headers": headers}
            elif message["type"] == "http.response.body":
                size += len(message.get("body", b""))
                complete = not message.get("more_body", False)
            await send(message)

        outcome = ""
        try:
            await self._app(scope, receive, traced)
        except BrokenOff as error:
            # uvicorn closes the connection of an answer that was begun and not ended: the caller sees that it broke off
            outcome = f" broken_off={json.dumps(str(error))}"
        except Exception as error:
            outcome = f" error={type(error).__name__}"
            log.exception("request_id=%s failed", request_id)
            if not complete:  # otherwise the framework has answered (problems.install)
                raise
        finally:
            log.info(
                "request_id=%s method=%s path=%s status=%s bytes=%s ms=%.0f user=%s%s",
                request_id, scope["method"], json.dumps(scope["path"]), status, size,
                (time.monotonic() - began) * 1000, json.dumps(scope.get("caller", "")), outcome,
            )  # fmt: skip
