"""The HTTP sources: take bodies, and answer 200 once all that came of them is on disk; and the page for Prometheus."""

from __future__ import annotations

import asyncio
import contextlib
import os
import zlib
from collections.abc import Callable, Iterator, Sequence

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from cvat_analytics.embedded.vector_substitute import remap
from cvat_analytics.embedded.vector_substitute.config import Component
from cvat_analytics.embedded.vector_substitute.metrics import Metrics, exposition
from cvat_analytics.embedded.vector_substitute.pipeline import Body
from cvat_analytics.embedded.vector_substitute.sinks import PrometheusSink

MAX_BODY = int(os.environ.get("VECTOR_MAX_DECOMPRESSED_SIZE_BYTES") or 100 * 2**20)
"""Vector's own limit, before and after decompression, and its default."""
_MAX_BODIES, _MAX_TOGETHER = 200, 16 * 2**20
"""How many bodies, and how many bytes of them, are committed together."""
_GATHER_SECONDS = 0.02
"""How long a body waits for others where several come at a time: compiling the programs takes about as long."""
_MAX_WAITING = 256 * 2**20
"""How many bytes of bodies may wait in memory for their turn; more are answered 503."""


class Refused(Exception):
    """The request cannot be taken: status and reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Committer:
    """Commits the bodies that arrive meanwhile together: one compilation and one fsync for all of them."""

    def __init__(self, attempt: Callable[[Sequence[Body]], list[str]]) -> None:
        self._attempt = attempt
        self._queue: asyncio.Queue[tuple[Body, asyncio.Future[str]]] = asyncio.Queue()
        self._waiting = 0
        self.pause = asyncio.Lock()
        """Held by whoever needs that nothing is being committed."""

    async def submit(self, body: Body) -> str:
        """Return "" once `body` is on disk, or why it is not."""
        if self._waiting and self._waiting + len(body.data) > _MAX_WAITING:
            return f"{self._waiting} bytes wait already"
        self._waiting += len(body.data)
        done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((body, done))
        return await done

    async def run(self) -> None:
        """Commit for ever."""
        crowded = False
        while True:
            waiting = [await self._queue.get()]
            if crowded:
                await asyncio.sleep(_GATHER_SECONDS)
            size = len(waiting[0][0].data)
            while not self._queue.empty() and len(waiting) < _MAX_BODIES and size < _MAX_TOGETHER:
                waiting.append(self._queue.get_nowait())
                size += len(waiting[-1][0].data)
            crowded = len(waiting) > 1
            async with self.pause:
                problems = await asyncio.to_thread(self._attempt, [body for body, _ in waiting])
            self._waiting -= size
            for (_, done), problem in zip(waiting, problems, strict=True):
                if not done.done():  # its client may have gone
                    done.set_result(problem)


class Server(uvicorn.Server):
    """One of several servers in a process, which leaves the signals to the process."""

    def __init__(self, application: ASGIApp, source: Component | None = None) -> None:
        tls = source is not None and source.get("tls.enabled", False)
        super().__init__(
            uvicorn.Config(
                application,
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=10,
                ssl_certfile=source["tls.crt_file"] if source and tls else None,
                ssl_keyfile=source["tls.key_file"] if source and tls else None,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def application(source: Component, committer: Committer, metrics: Metrics) -> Starlette:
    """Return the web application of a source."""
    name = source.name

    async def receive(request: Request) -> Response:
        response = await take(request)
        metrics.count("http_server_responses_sent_total", component_id=name, status=str(response.status_code))
        return response

    async def take(request: Request) -> Response:
        sender = request.client.host if request.client else ""
        try:
            body = await _body(request)
            if not remap.admits(source, dict(request.headers), sender):
                return _refusal(401, "Auth failed")
            body = _decompressed(body, request.headers.get("content-encoding", "identity"))
        except Refused as error:
            return _refusal(error.status, str(error))
        except ClientDisconnect:
            return Response()  # nobody is there to read it
        metrics.count("component_received_events_total", component_id=name)
        metrics.count("component_received_bytes_total", len(body), component_id=name)
        fields: dict[str, str | None] = {
            each: request.headers.get(each) for each in source.get("headers", [])
        }
        if "host_key" in source.options:
            fields[source["host_key"]] = sender
        problem = await committer.submit(Body(name, body, fields))
        return _refusal(503, problem) if problem else Response()

    async def ping(_request: Request) -> Response:
        return PlainTextResponse("pong")

    return Starlette(
        routes=[
            Route("/ping", ping, methods=["GET"]),
            Route(source.get("path", "/"), receive, methods=["POST"]),
        ],
        exception_handlers={404: lambda _request, _error: _refusal(404, "Not found")},
    )


def page(sink: PrometheusSink) -> Starlette:
    """Return the web application that shows a sink's metrics."""

    async def metrics(_request: Request) -> Response:
        return PlainTextResponse(exposition(sink.events()))

    return Starlette(routes=[Route("/metrics", metrics, methods=["GET"])])


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
