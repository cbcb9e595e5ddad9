"""What ClickHouse refuses, and a lost connection to it, as one of our errors with one line of text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cvat_analytics.base.addresses import real
from cvat_analytics.base.clickhouse_text import exception_text
from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError, InputError, UnreachableError
from cvat_analytics.connect.volumes import RECIPE

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

STORE = "the stack's ClickHouse"
"""What it is called in messages."""


class NoAnswerError(CvatAnalyticsError):
    """What came from ClickHouse is no answer, or not the whole of one."""


def error_text(error: Exception) -> str:
    """Return what an error says in one line, of ClickHouse's only what the server itself said."""
    return real(exception_text(str(error)))[:300].rstrip(". ")


def answered_rows(client: Client, query: str, parameters: Mapping[str, str]) -> list[list[Any]]:
    """Return the rows that ClickHouse has answered, of which there may be none.

    Raises what the driver does, and NoAnswerError for what is no answer: ClickHouse's JSON says itself that it is whole, while of
    the driver's own format nothing at all is an answer without rows.
    """
    if query.lstrip().upper().startswith("INSERT"):
        client.command(query, parameters=dict(parameters))
        return []
    body = client.raw_query(query, parameters=dict(parameters), fmt="JSONCompact")
    if not body:
        raise NoAnswerError(
            Code.CLICKHOUSE_NO_ANSWER,
            "ClickHouse has answered nothing at all: see its log, and whether its disk is full",
        )
    try:
        rows: list[list[Any]] = json.loads(body)["data"]
    except (ValueError, LookupError, TypeError):
        text = body.decode(errors="replace")
        said = exception_text(text)
        words = said if said != " ".join(text.split()) else f"it ends with {text[-80:]!r}"
        raise NoAnswerError(
            Code.CLICKHOUSE_NO_ANSWER, f"ClickHouse's answer breaks off: {real(words)[:200]}"
        ) from None
    return rows


def _complaints() -> tuple[type[Exception], ...]:
    """Return what the driver raises: it is imported when something has been raised, as it takes half a second."""
    import urllib3.exceptions
    from clickhouse_connect.driver.exceptions import ClickHouseError

    return (ClickHouseError, OSError, urllib3.exceptions.HTTPError)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn what ClickHouse or the connection to it complains of into one message. Raises CvatAnalyticsError."""
    try:
        yield
    except _complaints() as error:
        raise CvatAnalyticsError(Code.CLICKHOUSE_REFUSES, f"ClickHouse: {error_text(error)}") from None


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Let what ClickHouse refuses, and a lost connection to it, be one of our errors that begins with `where`."""
    try:
        yield
    except _complaints() as error:
        raise problem(where, error) from None


def problem(where: str, error: Exception) -> CvatAnalyticsError:
    """Return `error` as one of ours: ClickHouse has refused something, or the connection is gone."""
    if getattr(error, "name", None) == "ACCESS_DENIED":
        return InputError(Code.CLICKHOUSE_RIGHT, f"{where}: {error_text(error)}")
    if getattr(error, "name", None):
        return CvatAnalyticsError(Code.CLICKHOUSE_REFUSES, f"{where}: {error_text(error)}")
    return UnreachableError(
        Code.CLICKHOUSE_AWAY,
        f"{where}: the connection is lost ({error_text(error)}). Run the same command again: it goes on from there",
    )


def only_row(rows: Sequence[Sequence[Any]]) -> Sequence[Any]:
    """Return the row that ClickHouse must have answered. Raises NoAnswerError when there is none."""
    if not rows:
        raise NoAnswerError(
            Code.CLICKHOUSE_NO_ANSWER,
            f"{STORE}: answered with nothing where a row was due, as it does when its disk is full ({RECIPE})",
        )
    return rows[0]
