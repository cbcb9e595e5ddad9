"""Run a query over ClickHouse's HTTP interface as Grafana's user. The read-only user may send no settings: none are."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import BoundedSemaphore
from typing import Any, Literal

import httpx

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError, UnreachableError
from cvat_analytics.config.endpoints import url
from cvat_analytics.connect.http import http_client
from cvat_analytics.embedded.viewer.config import Datasource

WAIT_SECONDS = 60.0
"""How long a query waits until others have ended."""
_REFUSED_FOR_NUMBER = "Code: 202."
"""ClickHouse's TOO_MANY_SIMULTANEOUS_QUERIES: one that has answered is counted for a moment longer."""

Kind = Literal["time", "number", "text"]


class QueryError(CvatAnalyticsError):
    """ClickHouse refused a query."""


class BusyError(CvatAnalyticsError):
    """ClickHouse has answered others all the time that a query could wait."""


@dataclass(frozen=True)
class Result:
    """Rows of a query. Times are milliseconds since 1970, numbers are int or float, everything else is text or None."""

    names: Sequence[str]
    kinds: Sequence[Kind]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class ClickHouse:
    """The server of a datasource."""

    datasource: Datasource
    http_port: int
    timeout: float = 60
    wait: float = WAIT_SECONDS
    _turns: BoundedSemaphore = field(init=False, repr=False)
    """As many as the datasource may have connections, for all visitors together: ClickHouse refuses more, it lets nobody wait."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_turns", BoundedSemaphore(self.datasource.connections))

    def query(self, sql: str) -> Result:
        """Return the rows of `sql`, once there is room for it.

        Raises QueryError with ClickHouse's message, BusyError when there was no room all the time, UnreachableError when
        nobody answers.
        """
        until = time.monotonic() + self.wait
        with self._turn():
            while True:
                try:
                    data = json.loads(self._post(sql))
                    break
                except QueryError as error:
                    if not str(error).startswith(_REFUSED_FOR_NUMBER):
                        raise
                    if time.monotonic() > until:
                        raise self._busy() from None
                time.sleep(0.1)
        kinds = [_kind(column["type"]) for column in data["meta"]]
        rows = [[_value(value, kind) for value, kind in zip(row, kinds, strict=True)] for row in data["data"]]
        return Result([column["name"] for column in data["meta"]], kinds, rows)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._turns.acquire(timeout=self.wait):
            raise self._busy()
        try:
            yield
        finally:
            self._turns.release()

    def _busy(self) -> BusyError:
        return BusyError(
            Code.CLICKHOUSE_BUSY,
            f"ClickHouse had no room for this query within {self.wait:g} s ({self.datasource.connections} run at the same time). "
            "Try again, or see docs/how-to/too-many-queries.md",
        )

    def _post(self, sql: str) -> str:
        source = self.datasource
        tls = ssl.create_default_context(cadata=source.authority) if source.authority else None
        address = url(source.host, self.http_port, tls=tls is not None)
        login = (source.username, source.password)
        try:
            with http_client(address, tls, timeout=self.timeout, login=login) as asking:
                parameters = {"database": source.database, "default_format": "JSONCompact"}
                answer = asking.post("/", params=parameters, content=sql)
        except httpx.HTTPError as error:
            raise UnreachableError(
                Code.CLICKHOUSE_AWAY,
                f"ClickHouse at {source.host}:{self.http_port} does not answer ({error}): check that it runs",
            ) from None
        if answer.status_code != 200:
            raise QueryError(Code.CLICKHOUSE_REFUSES, answer.text.strip())
        return answer.text


def _kind(type_: str) -> Kind:
    for wrapper in ("LowCardinality(", "Nullable("):
        if type_.startswith(wrapper):
            type_ = type_[len(wrapper) : -1]
    if type_.startswith("Date"):
        return "time"
    return "number" if type_.startswith(("Int", "UInt", "Float", "Decimal")) else "text"


def _value(value: Any, kind: Kind) -> Any:
    if value is None:
        return None
    if kind == "time":
        milliseconds = datetime.fromisoformat(value).replace(tzinfo=UTC).timestamp() * 1000
        return int(milliseconds) if milliseconds.is_integer() else round(milliseconds, 3)
    if kind == "number":
        # 64-bit numbers may come as text, so that JavaScript does not round them
        return value if isinstance(value, int | float) else float(value) if "." in value else int(value)
    return value if isinstance(value, str) else json.dumps(value)
