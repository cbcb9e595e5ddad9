"""What ClickHouse refuses, and a lost connection to it, as one of our errors with one line of text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cvat_analytics.base.clickhouse_text import exception_text
from cvat_analytics.base.errors import CvatAnalyticsError, InputError, UnreachableError

STORE = "the stack's ClickHouse"
"""What it is called in messages."""


def error_text(error: Exception) -> str:
    """Return what an error says in one line, of ClickHouse's only what the server itself said."""
    return exception_text(str(error))[:300].rstrip(". ")


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
        raise CvatAnalyticsError(f"ClickHouse: {error_text(error)}") from None


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
        return InputError(f"{where}: {error_text(error)}")
    if getattr(error, "name", None):
        return CvatAnalyticsError(f"{where}: {error_text(error)}")
    return UnreachableError(
        f"{where}: the connection is lost ({error_text(error)}). Run the same command again: it goes on from there"
    )
