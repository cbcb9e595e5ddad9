"""Answers of ClickHouse that fail half-way, stop, or are not wanted any more."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from cvat_analytics.api.clickhouse import ClickHouse, QueryError
from cvat_analytics.api.config import ClickHouseConfig
from cvat_analytics.api.slow_readers import StreamPlaces
from cvat_analytics.api.streams import EventStream
from cvat_analytics.base.errors import UnreachableError
from tests.waiting import PATIENCE


def one_answer(pieces: list[bytes], ends: bool = True) -> ClickHouse:
    """Return a ClickHouse that answers one question with these bytes, and then closes or says nothing more."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        # the client may have gone before it has read everything, which resets the connection: any of these calls may meet that
        with contextlib.suppress(OSError), listener, listener.accept()[0] as connection:
            connection.recv(65536)
            for piece in pieces:
                connection.sendall(piece)
            if ends:
                connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass

    threading.Thread(target=serve, daemon=True).start()
    return ClickHouse(ClickHouseConfig("127.0.0.1", listener.getsockname()[1], "cvat", "events_api", "x"))


HEAD = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-ClickHouse-Exception-Tag: abcdefghijklmnop\r\n\r\n"
)


ERROR = (
    b"\r\n__exception__\r\nabcdefghijklmnop\r\nCode: 241. DB::Exception: Memory limit exceeded. (MEMORY_LIMIT_EXCEEDED) "
    b"(version 26.8.1.1)\n90 abcdefghijklmnop\r\n__exception__\r\n"
)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@pytest.mark.parametrize("end", [b"", b"0\r\n\r\n"], ids=["broken off", "ended"])
def test_what_clickhouse_says_in_the_middle_of_an_answer_is_an_error_and_no_data(end: bytes) -> None:
    clickhouse = one_answer([HEAD, chunk(b"a" * (3 << 20)), chunk(ERROR), end])
    received: list[bytes] = []
    with (
        clickhouse.ask("SELECT 1") as answer,
        pytest.raises(QueryError, match="Memory limit exceeded") as caught,
    ):
        received.extend(answer.pieces())
    assert caught.value.number == 241
    assert set(b"".join(received)) == set(b"a")


@pytest.mark.parametrize("more", [b"", b"Connection: close\r\n"])
def test_an_answer_is_cancelled_from_another_thread(more: bytes) -> None:
    clickhouse = one_answer([HEAD.replace(b"\r\n\r\n", b"\r\n" + more + b"\r\n")], ends=False)
    with clickhouse.ask("SELECT 1") as answer:
        threading.Thread(target=answer.cancel).start()
        with pytest.raises(UnreachableError, match="before the answer was complete"):
            list(answer.pieces())


def test_an_answer_that_stops_is_an_error() -> None:
    clickhouse = one_answer([HEAD, chunk(b"a" * 100), b"64\r\nabc"])
    with (
        clickhouse.ask("SELECT 1") as answer,
        pytest.raises(UnreachableError, match="before the answer was complete"),
    ):
        list(answer.pieces())


@pytest.mark.parametrize("encoding", ["", "gzip"])
@pytest.mark.parametrize("gone_at", ["http.response.start", "http.response.body"])
def test_the_connection_is_closed_whenever_the_caller_of_a_stream_goes_away(
    encoding: str, gone_at: str
) -> None:
    answer = one_answer([HEAD, chunk(b"a" * (3 << 20))], ends=False).ask("SELECT 1")
    places = StreamPlaces(1, PATIENCE)

    async def send(message: Message) -> None:
        if message["type"] == gone_at:
            raise OSError("the caller has gone")

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError("nothing comes")

    async def streamed() -> None:
        place = await places.acquire("ann")
        stream = EventStream(answer, places, place, encoding, "text/csv", "x.csv")
        await stream({"type": "http", "asgi": {"spec_version": "2.4"}}, receive, send)

    with pytest.raises(ClientDisconnect):
        asyncio.run(streamed())
    # not left to whoever collects garbage
    assert answer._socket.fileno() == -1
    assert not places._turns.running
    assert not places._held
