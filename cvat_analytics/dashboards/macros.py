"""What the macros of Grafana's ClickHouse datasource plugin become; how they are found in a query is in `macro_grammar`.

https://grafana.com/docs/plugins/grafana-clickhouse-datasource/latest/query-editor/#macros
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import floor

from cvat_analytics.dashboards.macro_grammar import Macros


@dataclass(frozen=True)
class TimeRange:
    """What the dashboard's time picker says."""

    start: datetime
    end: datetime

    def interval(self, points: int) -> timedelta:
        """Return the width of one of about `points` intervals, rounded to what people read easily, as Grafana rounds it."""
        step = (self.end - self.start).total_seconds() / max(points, 1)
        return timedelta(seconds=next((width for limit, width in _WIDTHS if step < limit), 365 * 86400))


_HOUR, _DAY = 3600, 86400
_WIDTHS = (
    (1.5, 1), (3.5, 2), (7.5, 5), (12.5, 10), (17.5, 15), (25, 20), (45, 30),
    (90, 60), (210, 120), (450, 300), (750, 600), (1050, 900), (1500, 1200), (2700, 1800),
    (1.5 * _HOUR, _HOUR), (2.5 * _HOUR, 2 * _HOUR), (4.5 * _HOUR, 3 * _HOUR), (9 * _HOUR, 6 * _HOUR), (_DAY, 12 * _HOUR),
    (7 * _DAY, _DAY), (21 * _DAY, 7 * _DAY), (42 * _DAY, 30 * _DAY),
)  # fmt: skip
"""Below which width (seconds) an interval becomes which."""


@dataclass(frozen=True)
class Times:
    """What macros depend on."""

    range: TimeRange
    interval: timedelta


def _epoch_ms(time: datetime) -> int:
    return round(time.timestamp() * 1000)


def _seconds(time: datetime) -> str:
    return f"toDateTime({_epoch_ms(time) // 1000})"


def _milliseconds(time: datetime) -> str:
    return f"fromUnixTimestamp64Milli({_epoch_ms(time)})"


def _date(time: datetime) -> str:
    return f"toDate('{time.astimezone(UTC):%Y-%m-%d}')"


def _between(column: str, times: Times, literal: Callable[[datetime], str]) -> str:
    return f"{column} >= {literal(times.range.start)} AND {column} <= {literal(times.range.end)}"


def _date_and_time(times: Times, date: str, time: str) -> str:
    return f"({_between(date, times, _date)}) AND ({_between(time, times, _seconds)})"


def _buckets(column: str, seconds: float) -> str:
    return f"toStartOfInterval(toDateTime({column}), INTERVAL {int(max(seconds, 1))} second)"


_UNITS = {"ns": 1e-9, "us": 1e-6, "\u00b5s": 1e-6, "\u03bcs": 1e-6, "ms": 0.001, "s": 1, "m": 60, "h": _HOUR}
_PERIOD = re.compile(r"\+?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|\u00b5s|\u03bcs|ms|s|m|h))+", re.ASCII)
_PERIODS = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)", re.ASCII)


def _group(times: Times, column: str, period: str) -> str:
    text = period.strip("'\"")
    if not _PERIOD.fullmatch(text):
        raise ValueError(f"{period} is not a duration such as 5m or 1h30m")
    seconds = floor(sum(float(number) * _UNITS[unit] for number, unit in _PERIODS.findall(text)) + 0.5)
    if seconds <= 0:
        raise ValueError(f"{period} is not as long as half a second")
    return _buckets(column, seconds)


def _duration(times: Times) -> str:
    """Return the interval as the backend writes it; the browser's `$__interval` is another (`browser_interval`)."""
    milliseconds = times.interval // timedelta(milliseconds=1)
    if not milliseconds:
        return "0s"
    for unit, size in (("h", _HOUR * 1000), ("m", 60_000), ("s", 1000)):
        if milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


def browser_interval(times: Times) -> str:
    """Return the interval as the browser puts it in for `$__interval`, before the backend sees the query."""
    seconds = times.interval.total_seconds()
    for unit, size in (("d", _DAY), ("h", _HOUR), ("m", 60), ("s", 1)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds // size:.0f}{unit}"
    return f"{seconds * 1000:.0f}ms"


def _without_a_table(times: Times) -> str:
    raise ValueError("$__table and $__column are for the query builder only: write the name")


@dataclass(frozen=True)
class Macro:
    """How many arguments a macro takes, and what it becomes. One that takes none ignores those that it is given."""

    arguments: int
    expand: Callable[..., str]


MACROS: Mapping[str, Macro] = {
    "__timeFilter": Macro(1, lambda times, column: _between(column, times, _seconds)),
    "__timeFilter_ms": Macro(1, lambda times, column: _between(column, times, _milliseconds)),
    "__dateFilter": Macro(1, lambda times, column: _between(column, times, _date)),
    "__dateTimeFilter": Macro(2, _date_and_time),
    "__dt": Macro(2, _date_and_time),
    "__timeFrom": Macro(1, lambda times, column: f"{column} >= {_seconds(times.range.start)}"),
    "__timeTo": Macro(1, lambda times, column: f"{column} <= {_seconds(times.range.end)}"),
    "__timeGroup": Macro(2, _group),
    "__fromTime": Macro(0, lambda times: _seconds(times.range.start)),
    "__toTime": Macro(0, lambda times: _seconds(times.range.end)),
    "__fromTime_ms": Macro(0, lambda times: _milliseconds(times.range.start)),
    "__toTime_ms": Macro(0, lambda times: _milliseconds(times.range.end)),
    "__timeInterval": Macro(1, lambda times, column: _buckets(column, times.interval.total_seconds())),
    "__timeInterval_ms": Macro(
        1,
        lambda times, column: (
            f"toStartOfInterval(toDateTime64({column}, 3), INTERVAL {max(times.interval // timedelta(milliseconds=1), 1)} millisecond)"
        ),
    ),
    "__interval_s": Macro(0, lambda times: str(int(max(times.interval.total_seconds(), 1)))),
    "__interval_ms": Macro(0, lambda times: str(times.interval // timedelta(milliseconds=1))),
    "__interval": Macro(0, _duration),
    "__table": Macro(0, _without_a_table),
    "__column": Macro(0, _without_a_table),
}

ONLY_NEWEST = frozenset({"columns", "rateColumns", "perSecondColumns", "increaseColumns", "lttb"})
"""What plugins after 4.20.0 make a whole statement of, and others leave as it is: not for dashboards that any plugin may show."""
SINCE_4_19 = frozenset({"timeFrom", "timeTo", "timeGroup", "interval", "table", "column"})
"""What plugins before 4.19 make something else of."""


def table(times: Times) -> Macros:
    """Return what each macro, by its name without `$__`, becomes with which arguments."""

    def handler(name: str, macro: Macro) -> Callable[[Sequence[str]], str]:
        def expanded(arguments: Sequence[str]) -> str:
            if macro.arguments and len(arguments) != macro.arguments:
                raise ValueError(f"${name} takes {macro.arguments} argument(s), not {len(arguments)}")
            return macro.expand(times, *(arguments if macro.arguments else ()))

        return expanded

    return {name.removeprefix("__"): handler(name, macro) for name, macro in MACROS.items()}
