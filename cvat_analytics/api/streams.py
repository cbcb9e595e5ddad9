"""Answers that are files: straight from ClickHouse while it answers, or a finished export from disk."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Protocol
from urllib.parse import quote

import anyio
import anyio.to_thread
from starlette.datastructures import Headers
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from cvat_analytics.api.clickhouse import Answer
from cvat_analytics.api.problems import Problem
from cvat_analytics.api.slow_readers import Place, StreamPlaces
from cvat_analytics.api.tracing import BrokenOff
from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError

try:
    from compression import zstd  # type: ignore[import-not-found,unused-ignore]
except ImportError:  # before Python 3.14
    from backports import zstd


class Compressor(Protocol):
    """What zlib and zstd have in common."""

    def compress(self, data: bytes, /) -> bytes:
        """Return what is ready of the compressed data."""

    def flush(self) -> bytes:
        """Return the rest."""


def chosen_encoding(accepted: str) -> str:
    """Return `zstd`, `gzip` or nothing, by the header Accept-Encoding (RFC 9110, 12.5.3)."""
    qualities: dict[str, float] = {}
    for part in accepted.lower().split(","):
        name, _, options = part.partition(";")
        quality = re.search(r"q\s*=\s*([01](?:\.\d*)?)", options)
        qualities[name.strip()] = float(quality[1]) if quality else 1.0
    for name in ("zstd", "gzip"):
        if qualities.get(name, 0) > 0:
            return name
    return ""


def compressed(pieces: Iterator[bytes], encoding: str) -> Generator[bytes, None, None]:
    """Yield `pieces` in that encoding. Fast levels: the network is the slow part, and two cores are all there is."""
    if not encoding:
        yield from pieces
        return
    compressor: Compressor = (
        zstd.ZstdCompressor(level=1) if encoding == "zstd" else zlib.compressobj(1, wbits=31)
    )
    for piece in pieces:
        if data := compressor.compress(piece):
            yield data
    yield compressor.flush()


def disposition(filename: str) -> str:
    """Return the header that has a browser save the answer as `filename` (RFC 6266)."""
    plain = re.sub(r"[^ -!#-\[\]-~]", "_", filename)
    if plain == filename:
        return f'attachment; filename="{plain}"'
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='', errors='replace')}"


class ConcurrencyLimit:
    """Counts the requests with large bodies, of each caller and of all."""

    def __init__(self, per_principal: int, of_all: int) -> None:
        self._running: Counter[str] = Counter()
        self._per_principal, self._of_all = per_principal, of_all

    def acquire(self, key: str) -> None:
        """Count one more. Raises Problem (429) where it is one too many."""
        if self._running[key] >= self._per_principal or self._running.total() >= self._of_all:
            raise Problem(
                429,
                "too many large requests at the same time. Send them one after another",
                headers={"Retry-After": "5"},
                code=Code.API_OVERLOADED,
            )
        self._running[key] += 1

    def release(self, key: str) -> None:
        """Count one less."""
        self._running[key] -= 1
        if not self._running[key]:
            del self._running[key]


def _closing(answer: Answer) -> Generator[bytes, None, None]:
    with answer:
        yield from answer.pieces()


class EventStream(StreamingResponse):
    """The answer of ClickHouse as it comes. Breaks off when ClickHouse does, and stops ClickHouse when the caller has gone."""

    def __init__(
        self,
        answer: Answer,
        places: StreamPlaces,
        place: Place,
        encoding: str,
        media_type: str,
        filename: str,
    ) -> None:
        headers = {
            "Content-Disposition": disposition(filename),
            "Vary": "Accept-Encoding",
            "Accept-Ranges": "none",
        }
        if encoding:
            headers["Content-Encoding"] = encoding
        super().__init__(self._body(), media_type=media_type, headers=headers)
        self._answer = answer
        self._pieces = compressed(_closing(answer), encoding)
        self._places = places
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer; whatever happens, let go of ClickHouse and of the place. Raises BrokenOff for a reader that is too slow."""
        try:
            with anyio.CancelScope() as running:
                self._place.ends = running.cancel
                await super().__call__(scope, receive, self._place.paced(send))
            if self._place.ended:
                raise BrokenOff(self._place.ended)
        finally:
            self._let_go()
            self._places.release(self._place)

    def _let_go(self) -> None:
        """Close the connection to ClickHouse, also where nobody has asked for the first piece yet."""
        self._answer.cancel()
        try:
            self._pieces.close()
        except ValueError:
            return  # a thread is in the middle of it, which the broken connection wakes up and which closes it then
        self._answer.close()

    async def _body(self) -> AsyncIterator[bytes]:
        while True:
            try:
                piece = await anyio.to_thread.run_sync(next, self._pieces, None, abandon_on_cancel=True)
            except CvatAnalyticsError as error:
                raise BrokenOff(str(error)) from None
            if piece is None:
                return
            yield piece


class PartialFile(FileResponse):
    """A file on disk, or those parts of it that the header `Range` asks for."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. A `Range` that is not one of bytes is passed over, as if it were not there (RFC 9110, 14.2).

        Raises Problem (416) for one that lies beyond the file.
        """

        async def unless_refused(message: Message) -> None:
            # Starlette would refuse in plain text; nothing has been sent yet
            if message["type"] == "http.response.start" and message["status"] == 416:
                size = Headers(raw=message["headers"])["content-range"]
                end = size.rpartition("/")[2]
                raise Problem(
                    416, f"the file has no such part: it is {end} bytes long", headers={"Content-Range": size}
                )
            if message["type"] == "http.response.start" and message["status"] == 400:
                raise _NoRangeError
            await send(message)

        try:
            await super().__call__(scope, receive, unless_refused)
        except _NoRangeError:
            headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
            await super().__call__({**scope, "headers": headers}, receive, send)


class _NoRangeError(Exception):
    """The header `Range` is not a range of bytes."""


def finished_file(path: str, filename: str, media_type: str, accepted: str, has_range: bool) -> Response:
    """Return a finished export: in parts where a range is asked for, else compressed where that is welcome."""
    encoding = "" if has_range else chosen_encoding(accepted)
    headers = {"Content-Disposition": disposition(filename), "Vary": "Accept-Encoding"}
    if not encoding:
        return PartialFile(path, media_type=media_type, headers=headers)

    def pieces() -> Iterator[bytes]:
        with open(path, "rb") as file:
            while piece := file.read(1 << 20):
                yield piece

    headers["Content-Encoding"] = encoding
    return StreamingResponse(compressed(pieces(), encoding), media_type=media_type, headers=headers)
