"""Run a query over ClickHouse's HTTP interface as Grafana's user. The read-only user may send no settings: none are."""

from __future__ import annotations

import json
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import BoundedSemaphore
from typing import Any, Literal

import httpx

from cvat_analytics.base.errors import CvatAnalyticsError, UnreachableError
from cvat_analytics.config.endpoints import url
from cvat_analytics.connect.http import http_client
from cvat_analytics.embedded.viewer.config import Datasource

_AT_ONCE = 8
"""Queries at the same time, of all visitors together: a small server refuses more than it is set up for."""

Kind = Literal["time", "number", "text"]


class QueryError(CvatAnalyticsError):
    """ClickHouse refused a query."""


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
    _turns: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(_AT_ONCE), repr=False)

    def query(self, sql: str) -> Result:
        """Return the rows of `sql`. Raises QueryError with ClickHouse's message, UnreachableError when nobody answers."""
        with self._turns:
            data = json.loads(self._post(sql))
        kinds = [_kind(column["type"]) for column in data["meta"]]
        rows = [[_value(value, kind) for value, kind in zip(row, kinds, strict=True)] for row in data["data"]]
        return Result([column["name"] for column in data["meta"]], kinds, rows)

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
                f"ClickHouse at {source.host}:{self.http_port} does not answer ({error}): check that it runs"
            ) from None
        if answer.status_code != 200:
            raise QueryError(answer.text.strip())
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
