"""The statements that read events: as a file in one of several formats, and as pages for tools."""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from cvat_analytics.api.clickhouse import ClickHouse
from cvat_analytics.api.filters import FIRST_MS, LAST_MS, Filters, Selection
from cvat_analytics.api.problems import Problem, bad_request
from cvat_analytics.base.codes import Code
from cvat_analytics.store.event_columns import COLUMNS

_PLAIN = {"scope": "String", "source": "String"} | dict.fromkeys(
    ("obj_name", "user_name", "user_email", "org_slug"), "Nullable(String)"
)
"""Columns that are dictionaries in the table. Plain strings are sorted faster."""

_TEXTS = (*_PLAIN, "obj_val", "payload")

_ISO = "concat(toString(e.timestamp), '000+00:00')"
"""A time as `2024-01-01 12:00:00.123000+00:00`."""
_PYTHONS = f"replaceOne({_ISO}, '.000000', '')"
"""The same as CVAT's CSV has it, which Python writes: a whole second has no fraction."""

ORDER = "toDate(e.timestamp), e.timestamp"
"""By time. The day comes first because the table is sorted by it: so a day at a time is sorted, in little memory."""

ORDER_AT_ONCE = "e.timestamp"
"""By time, everything at once: on all cores, and in memory that grows with the number of events."""

SMALL = 1_200_000
"""How many events may be sorted at once; ClickHouse takes some 700 MB for them where they are of the usual size."""


@dataclass(frozen=True)
class Format:
    """A form in which events are given out."""

    name: str
    clickhouse: str
    media_type: str
    text_times: bool = True
    """Whether times are written as text; otherwise they are times of the format's own."""
    lines: bool = False
    """Whether each event is made a line of CSV before it is sorted, of which the format then only makes lines."""
    zone: str = ""
    """The time zone of a CSV that is for a spreadsheet: its times are there, and no text in it is taken for a formula."""

    @property
    def suffix(self) -> str:
        """Return how the names of such files end."""
        return f".{self.name}"


FORMATS = {
    each.name: each
    for each in (
        Format("csv", "TSVRawWithNames", "text/csv; charset=utf-8", lines=True),
        Format("jsonl", "JSONEachRow", "application/x-ndjson"),
        Format("parquet", "Parquet", "application/vnd.apache.parquet", text_times=False),
        Format("arrow", "Arrow", "application/vnd.apache.arrow.file", text_times=False),
    )
}


BOM = b"\xef\xbb\xbf"
"""Stands at the beginning of a CSV for a spreadsheet, which would take letters beyond ASCII for others without it."""

_FORMULA = """(^|[;\\\\t\\\\r\\\\n])([\\\\s"\\']*)([=+@\uff1d\uff0b\uff20\uff0d\\\\-])"""
"""What a spreadsheet takes for the begin of a formula: at the start of a text, or of what it takes for a cell where it divides cells by
another sign than the comma, as in many countries."""

_TO_QUOTE = r'[,"\\r\\n]'
"""Of which a text that is a field of CSV has to be quoted. (Any byte is `\\C` beside it, and not a dot: a text may be none of UTF-8.)"""


def for_spreadsheet(zone: str) -> Format:
    """Return the form of a CSV that people open with Excel or LibreOffice, with times in that zone. It is not for import."""
    return replace(FORMATS["csv"], zone=zone)


def _column(name: str, text_times: bool) -> str:
    if name == "timestamp":
        return f"{_ISO} AS timestamp" if text_times else "e.timestamp AS timestamp"
    return f"CAST(e.{name}, '{_PLAIN[name]}') AS {name}" if name in _PLAIN else f"e.{name} AS {name}"


def _line(zone: str) -> str:
    """Return an event as one line of CSV, under a name that is the header: byte for byte what CVAT's export writes.

    That is Python's `csv.writer` as it is: lines end with CR LF, fields are quoted where they must be, and nothing stands for
    null and for an empty text alike (https://docs.python.org/3/library/csv.html). ClickHouse itself ends the line with LF. It
    sorts one text an event faster than eighteen columns.
    """
    fields = ", ',', ".join(", ".join(field(name, zone)) for name in COLUMNS)
    names = ",".join(f"timestamp ({zone})" if zone and name == "timestamp" else name for name in COLUMNS)
    return f"concat({fields}, '\\r') AS `{names}\\r`"


def field(name: str, zone: str) -> tuple[str, ...]:
    """Return the parts of a field of CSV, which stand one after the other.

    Of texts that come again each is worked on once: ClickHouse applies a function of one dictionary to the texts in it and not
    to each row. So each step has one text for its argument, and no `if` with two.
    """
    if name == "timestamp":
        return (f"substring(toString(e.timestamp, '{zone}'), 1, 19)" if zone else _PYTHONS,)
    if name not in _TEXTS:
        return (f"ifNull(toString(e.{name}), '')",)
    text = f"ifNull(e.{name}, '')"
    if name not in _PLAIN:
        # few differ within a block: most events that a person causes have the same payload
        text = f"toLowCardinality({text})"
    if zone:
        text = rf"replaceRegexpAll({text}, '{_FORMULA}', '\\1\\2\'\\3')"
        text = rf"replaceRegexpOne({text}, '^[\\t\\r]', '\'\\0')"
    doubled = f"""replaceAll({text}, '"', '""')"""
    if name == "payload":
        # two parts more for each row, but nothing dear for each text: all payloads may differ
        mark = f"""substring('"', 1, match({text}, '{_TO_QUOTE}'))"""
        return mark, doubled, mark
    opened = rf"""replaceRegexpOne({doubled}, '^\\C*?{_TO_QUOTE}', '"\\0')"""
    return (rf"""replaceRegexpOne({opened}, '^"\\C*$', '\\0"')""",)


def statement(selection: Selection, form: Format, order: str = ORDER) -> str:
    """Return the query for a file of everything that `selection` finds, in order of time."""
    columns = (
        _line(form.zone) if form.lines else ", ".join(_column(name, form.text_times) for name in COLUMNS)
    )
    # lines are ready as they are: to hand them out to several threads costs more than it brings
    settings = "SETTINGS output_format_parallel_formatting = 0 " if form.lines else ""
    return f"SELECT {columns} FROM events AS e WHERE {selection.where} ORDER BY {order} {settings}FORMAT {form.clickhouse}"


def is_small(clickhouse: ClickHouse, selection: Selection) -> bool:
    """Return whether so few events have to be read that they may be sorted at once."""
    sql = f"EXPLAIN ESTIMATE SELECT 1 FROM events AS e WHERE {selection.where} FORMAT JSONEachRow"
    with clickhouse.ask(sql, selection.parameters, timeout=60) as answer:
        return sum(int(json.loads(line)["rows"]) for line in answer.text().splitlines()) <= SMALL


class Cursor(NamedTuple):
    """Where a page ends: the time and the hash of its last event, and the range that all pages are about."""

    at_ms: int
    tie: int
    first_ms: int
    last_ms: int

    def text(self) -> str:
        """Return it as it goes into an URL."""
        return base64.urlsafe_b64encode(json.dumps(self).encode()).decode().rstrip("=")


def read_cursor(text: str) -> Cursor:
    """Return the cursor that `text` is. Raises Problem (400) for anything else."""
    try:
        values = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        cursor = Cursor(*values)
        ranges = ((FIRST_MS, LAST_MS), (0, 2**64 - 1), (FIRST_MS, LAST_MS), (FIRST_MS, LAST_MS))
        if all(
            type(value) is int and low <= value <= high
            for value, (low, high) in zip(cursor, ranges, strict=True)
        ):
            return cursor
    except (binascii.Error, ValueError, TypeError, RecursionError):
        pass
    raise bad_request("cursor", "is none that this API has given out")


def page(
    clickhouse: ClickHouse,
    selection: Selection,
    limit: int,
    cursor: Cursor | None,
    first_ms: int,
    last_ms: int,
) -> tuple[list[dict[str, Any]], Cursor | None]:
    """Return up to `limit` events in order of time, and where the next page begins; None behind the last.

    Events of the same millisecond are told apart by a hash of all that they are, so that none is given out twice or
    left out where two pages meet.
    """
    everything = ", ".join(f"e.{name}" for name in COLUMNS)
    tie = f"cityHash64(tuple({everything}))"
    last = _last_of_a_page(selection, int(limit) + 1, cursor)
    if cursor:
        selection = selection.and_(
            "e.timestamp >= fromUnixTimestamp64Milli({at_ms:Int64}, 'Etc/UTC') AND "
            f"(e.timestamp > fromUnixTimestamp64Milli({{at_ms:Int64}}, 'Etc/UTC') OR {tie} > {{tie:UInt64}})",
            at_ms=cursor.at_ms,
            tie=cursor.tie,
        )
    columns = ", ".join(_column(name, True) for name in COLUMNS)
    sql = (
        f"{last} SELECT {columns}, toUnixTimestamp64Milli(e.timestamp) AS _ms, toString({tie}) AS _tie FROM events AS e "
        f"WHERE e.timestamp <= last_of_page AND {selection.where} ORDER BY e.timestamp, {tie} LIMIT {int(limit) + 1} FORMAT JSONEachRow"
    )
    with clickhouse.ask(sql, selection.parameters, timeout=60) as answer:
        rows = [json.loads(line) for line in answer.text().splitlines()]
    following = None
    if len(rows) > limit:
        rows = rows[:limit]
        following = Cursor(int(rows[-1]["_ms"]), int(rows[-1]["_tie"]), first_ms, last_ms)
    return [{name: row[name] for name in COLUMNS} for row in rows], following


def _last_of_a_page(selection: Selection, count: int, cursor: Cursor | None) -> str:
    """Return a WITH clause that defines `last_of_page`: a moment up to which there are `count` of the events that come next, if there are.

    Of events as they are stored ClickHouse reads a day after the other and stops where it has enough. Moments are counted, as an event may
    be there twice, but several of one moment are not fewer than one.
    """
    following = "e.timestamp > fromUnixTimestamp64Milli({at_ms:Int64}, 'Etc/UTC')" if cursor else "1"
    where = f"WHERE {selection.where} AND {following}"
    begin = f"fromUnixTimestamp64Milli(toInt64({cursor.at_ms if cursor else 0}), 'Etc/UTC')"
    return (
        "WITH (SELECT max(toDate(timestamp)) FROM (SELECT DISTINCT timestamp FROM events_as_stored AS e "
        f"{where} ORDER BY toDate(timestamp) LIMIT {count})) AS last_day, "
        f"(SELECT greatest(max(timestamp), {begin}) FROM (SELECT DISTINCT timestamp FROM events_as_stored AS e "
        f"{where} AND e.timestamp < toDateTime64(last_day + 1, 3, 'Etc/UTC') ORDER BY timestamp LIMIT {count})) AS last_of_page"
    )


def refuse_unseen(clickhouse: ClickHouse, checks: dict[str, Selection], filters: Filters) -> None:
    """Raise Problem (403) for an object of which the caller may see no event (`filters.objects_to_check`)."""
    for name, selection in checks.items():
        sql = f"SELECT 1 FROM events AS e WHERE {selection.where} LIMIT 1 FORMAT TSV"
        with clickhouse.ask(sql, selection.parameters, timeout=60) as answer:
            if not answer.text():
                raise Problem(
                    403,
                    f"{name}: you may see no event of {name.removesuffix('_id')} {getattr(filters, name)}",
                    code=Code.API_NOT_ALLOWED,
                )


def progress(clickhouse: ClickHouse, query_id: str) -> float | None:
    """Return how much of what it has to read a running query has read, from 0 to 1; None when it does not run."""
    sql = "SELECT read_rows, total_rows_approx FROM system.processes WHERE query_id = {id:String} FORMAT TSV"
    with clickhouse.ask(sql, {"id": query_id}, timeout=5) as answer:
        line = answer.text().split()
    if len(line) != 2 or not int(line[1]):
        return None
    return min(1.0, int(line[0]) / int(line[1]))


def file_name(requested: str | None, form: Format, stamp: str) -> str:
    """Return the name under which a file is offered: the wanted one without folders and control characters."""
    name = re.sub(r"[\x00-\x1f\x7f]", "", requested or "").replace("\\", "/").rsplit("/", 1)[-1].strip(". ")
    return name or f"events_{stamp}{form.suffix}"
