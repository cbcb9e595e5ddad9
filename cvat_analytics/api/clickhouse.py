"""Read from ClickHouse over HTTP, as a stream that is either complete or an error.

An answer that fails half-way has already said 200. ClickHouse then writes what went wrong into the body, between two
marks with the tag of the header `X-ClickHouse-Exception-Tag`, and breaks the chunked encoding off
(https://clickhouse.com/docs/interfaces/http, "HTTP response codes caveats"; since 25.11). Both are looked for here, and the
last piece is held back until it is known to be data.

Blocking on purpose: bytes go from one socket to a file or another socket, and threads do that with the least work. By http.client on
purpose: of a large export httpx takes four times the CPU for each byte, and does not hand out the last piece of a broken encoding.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from urllib.parse import urlencode

from cvat_analytics.api.config import ClickHouseConfig
from cvat_analytics.base.clickhouse_text import exception_text
from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError, UnreachableError

PIECE = 1 << 20
"""Bytes that are read at once."""
_CONNECT_SECONDS = 5.0
_SILENCE_SECONDS = 3600.0
"""How long a query may take before its first byte; the user's profile ends it before that."""

_FULL_SECONDS = 5.0
"""How long a query is asked again that is one too many: fewer are asked than may run, but one that has ended counts for a moment longer."""

MEMORY_LIMIT_EXCEEDED, TOO_MANY_SIMULTANEOUS_QUERIES = 241, 202
"""ClickHouse's numbers for two reasons to refuse a query."""

Parameters = Mapping[str, "int | str | list[str] | list[int]"]


class QueryError(CvatAnalyticsError):
    """ClickHouse refused a query, or gave it up. `number` is its own one for the reason."""

    def __init__(self, message: str, number: int = 0) -> None:
        super().__init__(Code.CLICKHOUSE_REFUSES, message)
        self.number = number


class Answer:
    """The answer to one query. Used by one thread; only `cancel` may be called from another."""

    def __init__(
        self,
        connection: http.client.HTTPConnection,
        open_socket: socket.socket,
        response: http.client.HTTPResponse,
        where: str,
    ) -> None:
        self._connection = connection
        # the connection itself forgets it where the server says that it will close
        self._socket = open_socket
        self._response = response
        self._where = where
        self._tag = (response.getheader("X-ClickHouse-Exception-Tag") or "").encode()

    def __enter__(self) -> Answer:
        """Return itself; the connection is closed at the end."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection. Only for who reads, or once nobody does: `cancel` is for everybody else."""
        self.cancel()
        self._response.close()
        self._connection.close()

    def cancel(self) -> None:
        """Break the connection: whoever reads gets an error, and ClickHouse stops the query."""
        with contextlib.suppress(OSError):
            # beneath TLS, if there is any, whose state belongs to the thread that reads
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def pieces(self) -> Iterator[bytes]:
        """Yield the body in pieces of up to 1 MiB.

        Raises QueryError when ClickHouse gave up, UnreachableError when the connection broke; what was yielded until
        then is only a part.
        """
        held = b""
        buffer = bytearray(PIECE)
        view = memoryview(buffer)
        while True:
            try:
                size = self._response.readinto(view)
            except http.client.IncompleteRead as error:
                self._raise_failure(held + bytes(error.partial))
            except (OSError, http.client.HTTPException) as error:
                raise UnreachableError(
                    Code.CLICKHOUSE_AWAY, f"the connection to ClickHouse at {self._where} broke ({error})"
                ) from None
            if size == 0:
                break
            if held:
                yield held
            held = bytes(view[:size])
        # Clean so far; a server that ends the encoding well after an error is known by its mark
        if self._tag and self._mark() in held[-(1 << 16) :]:
            self._raise_failure(held)
        if held:
            yield held

    def text(self) -> str:
        """Return the whole body. Raises as `pieces`."""
        return b"".join(self.pieces()).decode()

    def _mark(self) -> bytes:
        return b"__exception__\r\n" + self._tag

    def _raise_failure(self, tail: bytes) -> None:
        _, mark, message = tail.rpartition(self._mark()) if self._tag else (b"", b"", b"")
        if not mark:
            raise UnreachableError(
                Code.CLICKHOUSE_AWAY,
                f"the connection to ClickHouse at {self._where} broke before the answer was complete",
            )
        raise _query_error(message.decode(errors="replace"))


class ClickHouse:
    """The server that events are read from."""

    def __init__(self, config: ClickHouseConfig) -> None:
        self._config = config
        login = base64.b64encode(f"{config.user}:{config.password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {login}"}
        self._trust = ssl.create_default_context(cafile=str(config.authority)) if config.authority else None

    @property
    def where(self) -> str:
        """Return host and port."""
        return f"{self._config.host}:{self._config.port}"

    def ask(
        self,
        sql: str,
        parameters: Parameters | None = None,
        *,
        query_id: str = "",
        timeout: float = _SILENCE_SECONDS,
    ) -> Answer:
        """Return the answer to `sql` once its first bytes are there.

        Values go beside the statement and never into it (https://clickhouse.com/docs/interfaces/http, "Queries with
        parameters"). Raises QueryError when ClickHouse refuses, UnreachableError when it does not answer.
        """
        options = {
            **self._config.settings,
            "database": self._config.database,
            "max_execution_time": str(max(1, int(timeout))),
        }
        if query_id:
            options["query_id"] = query_id
        for name, value in (parameters or {}).items():
            options[f"param_{name}"] = written(value)
        until = time.monotonic() + min(timeout, _FULL_SECONDS)
        while True:
            try:
                return self._asked(sql, options, timeout)
            except QueryError as error:
                if error.number != TOO_MANY_SIMULTANEOUS_QUERIES or time.monotonic() > until:
                    raise
            time.sleep(0.1)

    def _asked(self, sql: str, options: Mapping[str, str], timeout: float) -> Answer:
        connection = self._connection()
        try:
            connection.connect()
            open_socket: socket.socket = connection.sock
            open_socket.settimeout(timeout + _CONNECT_SECONDS)
            connection.request("POST", "/?" + urlencode(options), body=sql.encode(), headers=self._headers)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise UnreachableError(
                Code.CLICKHOUSE_AWAY, f"ClickHouse at {self.where} does not answer ({error})"
            ) from None
        answer = Answer(connection, open_socket, response, self.where)
        if response.status != 200:
            with answer:
                message = response.read(1 << 16).decode(errors="replace")
            raise _query_error(message or f"HTTP {response.status}")
        return answer

    def _connection(self) -> http.client.HTTPConnection:
        """Return a connection that is not opened yet."""
        address = self._config.host, self._config.port
        if self._trust is None:
            return http.client.HTTPConnection(*address, timeout=_CONNECT_SECONDS)
        return http.client.HTTPSConnection(*address, timeout=_CONNECT_SECONDS, context=self._trust)


def written(value: int | str | list[str] | list[int]) -> str:
    """Return a value as ClickHouse reads it in a parameter: escaped as in a tab-separated file."""
    if isinstance(value, list):
        return (
            "["
            + ",".join(
                f"'{written(each).translate(_QUOTE)}'" if isinstance(each, str) else str(each)
                for each in value
            )
            + "]"
        )
    return str(value) if isinstance(value, int) else value.translate(_ESCAPES)


_ESCAPES = {ord("\\"): "\\\\", ord("\t"): "\\t", ord("\n"): "\\n", ord("\r"): "\\r", 0: "\\0"}
_QUOTE = {ord("'"): "\\'"}


def _query_error(text: str) -> QueryError:
    """Return the error that ClickHouse describes, in its words without its version."""
    code = re.search(r"Code: (\d+)", text)
    return QueryError(exception_text(text)[:500], int(code[1]) if code else 0)
