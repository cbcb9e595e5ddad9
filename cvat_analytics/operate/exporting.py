"""Write events into a file from the command line, with the same queries as the events API."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ValidationError

from cvat_analytics.api import filters as filtering
from cvat_analytics.api import queries
from cvat_analytics.api.clickhouse import ClickHouse
from cvat_analytics.api.config import ClickHouseConfig
from cvat_analytics.api.principals import Principal
from cvat_analytics.api.problems import Problem, reason
from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.connect.access import Access

Progress = Callable[[float], None]
"""Is told how much of the work is done, from 0 to 1."""

_OPERATOR = Principal(key="operator", id=None, name="operator", admin=True)
# The events API's profile (templates/clickhouse/users.xml.j2): by itself the administrator sees a repeated event twice.
# https://clickhouse.com/docs/operations/settings/settings-profiles
# What all queries of that user may take together is not for the administrator, whose other commands would be held by it. Not 0,
# which is no limit: ClickHouse passes over a parameter that says what holds already, before it takes the profile's.
_AS_A_READER = {
    "profile": "cvat_export",
    "max_memory_usage_for_user": str(2**62),
    "max_concurrent_queries_for_user": str(2**31),
}


def selection(**wanted: Any) -> filtering.Selection:
    """Return what is asked for by the filters of the API (`from` as `from_`). Raises InputError naming what is wrong."""
    try:
        filters = filtering.Filters(**wanted)
        first, last = filtering.time_range(filters, datetime.now(UTC))
        return filtering.select(filters, _OPERATOR, first, last)
    except ValidationError as error:
        mistakes = [f"{_option(str(each['loc'][0]))}: {reason(each)}" for each in error.errors()]
        raise InputError(Code.EXPORT_FILTER, "\n".join(mistakes)) from None
    except Problem as problem:
        raise InputError(Code.EXPORT_FILTER, f"--{problem.detail}") from None


def _option(field: str) -> str:
    """Return the command's option for a field of the filters."""
    name = field if field == "request_id" else field.strip("_").removesuffix("_id")
    return "--" + name.replace("_", "-")


def form(access: Access, name: str, *, spreadsheet: bool = False) -> queries.Format:
    """Return the form of that name; `spreadsheet`: a CSV for one, with times in the zone of the settings."""
    return (
        queries.for_spreadsheet(access.clickhouse.settings.time_zone)
        if spreadsheet
        else queries.FORMATS[name]
    )


def to_file(
    access: Access, selection: filtering.Selection, form: queries.Format, path: Path, progress: Progress
) -> int:
    """Write the events into `path` and return its size in bytes. The file appears when it is complete, not before.

    Raises InputError when the file cannot be written, CvatAnalyticsError when ClickHouse gives up.
    """
    # a device or a pipe is written to, and not put aside for a file of its name; a link goes on leading to its file
    plain = path.is_file() or not path.exists()
    target = path.resolve() if plain else path
    part = target.with_name(f".{target.name}.part") if plain else target
    try:
        with part.open("wb") as file:
            size = to_stream(access, selection, form, file, progress)
        if plain:
            part.replace(target)
        return size
    except OSError as error:
        raise InputError(Code.OUTPUT_UNWRITABLE, f"{path}: cannot be written ({error.strerror})") from None
    finally:
        if plain:
            part.unlink(missing_ok=True)


def to_stream(
    access: Access, selection: filtering.Selection, form: queries.Format, file: BinaryIO, progress: Progress
) -> int:
    """Write the events into `file` and return their size in bytes.

    Raises CvatAnalyticsError when ClickHouse gives up: what is written then is only a part.
    """
    size = 0
    for piece in _pieces(access, selection, form, progress):
        file.write(piece)
        size += len(piece)
    file.flush()
    progress(1.0)
    return size


def _pieces(
    access: Access, selection: filtering.Selection, form: queries.Format, progress: Progress
) -> Iterator[bytes]:
    host, port = access.clickhouse.address
    clickhouse = ClickHouse(
        ClickHouseConfig(
            host,
            port,
            access.database,
            "admin",
            access.secrets["clickhouse_admin"],
            settings=_AS_A_READER,
        )
    )
    query_id = f"export-{uuid.uuid4()}"
    sql = queries.statement(selection, form)
    with clickhouse.ask(sql, selection.parameters, query_id=query_id) as answer:
        if form.zone:
            yield queries.BOM
        reported_at = time.monotonic()
        for piece in answer.pieces():
            yield piece
            if time.monotonic() - reported_at > 0.5:
                reported_at = time.monotonic()
                progress(queries.progress(clickhouse, query_id) or 0.0)
