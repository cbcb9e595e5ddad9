"""The HTTP source: takes bodies, and answers 200 once all that came of them is on disk."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

MAX_BODY = 100 * 2**20
"""Vector's own limit, before and after decompression (--max-decompressed-size-bytes)."""
_MAX_BODIES, _MAX_TOGETHER = 200, 16 * 2**20
"""How many bodies, and how many bytes of them, are committed together."""


class Refused(Exception):
    """The request cannot be taken: status and reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Committer:
    """Commits the bodies that arrive meanwhile together: one compilation and one fsync for all of them."""

    def __init__(self, attempt: Callable[[Sequence[bytes]], list[str]]) -> None:
        self._attempt = attempt
        self._queue: asyncio.Queue[tuple[bytes, asyncio.Future[str]]] = asyncio.Queue()

    async def submit(self, body: bytes) -> str:
        """Return "" once `body` is on disk, or why it is not."""
        done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((body, done))
        return await done

    async def run(self) -> None:
        """Commit for ever."""
        while True:
            waiting = [await self._queue.get()]
            size = len(waiting[0][0])
            while not self._queue.empty() and len(waiting) < _MAX_BODIES and size < _MAX_TOGETHER:
                waiting.append(self._queue.get_nowait())
                size += len(waiting[-1][0])
            problems = await asyncio.to_thread(self._attempt, [body for body, _ in waiting])
            for (_, done), problem in zip(waiting, problems, strict=True):
                if not done.done():  # its client may have gone
                    done.set_result(problem)


def application(path: str, committer: Committer) -> Starlette:
    """Return the web application of the source."""

    async def receive(request: Request) -> Response:
        try:
            body = _decompressed(await _body(request), request.headers.get("content-encoding", "identity"))
        except Refused as error:
            return _refusal(error.status, str(error))
        except ClientDisconnect:
            return Response()  # nobody is there to read it
        problem = await committer.submit(body)
        return _refusal(503, problem) if problem else Response()

    async def ping(_request: Request) -> Response:
        return PlainTextResponse("pong")

    return Starlette(
        routes=[Route("/ping", ping, methods=["GET"]), Route(path, receive, methods=["POST"])],
        exception_handlers={404: lambda _request, _error: _refusal(404, "Not found")},
    )


async def _body(request: Request) -> bytes:
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY:
            raise Refused(413, f"the body has more than {MAX_BODY} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def _decompressed(body: bytes, encoding: str) -> bytes:
    if encoding == "identity":
        return body
    if encoding not in ("gzip", "deflate"):
        raise Refused(415, f"the content encoding {encoding!r} is not implemented")
    decompressor = zlib.decompressobj(31 if encoding == "gzip" else 15)
    try:
        data = decompressor.decompress(body, MAX_BODY + 1)
    except zlib.error as error:
        raise Refused(422, f"the body is not {encoding}: {error}") from None
    if len(data) > MAX_BODY:
        raise Refused(413, f"the body has more than {MAX_BODY} bytes when decompressed")
    if not decompressor.eof or decompressor.unused_data:
        raise Refused(422, f"the body is not one whole {encoding} stream")
    return data


def _refusal(status: int, message: str) -> Response:
    return JSONResponse({"code": status, "message": message}, status_code=status)
