"""The macros of Grafana's ClickHouse datasource plugin 4.20 and later, as its backend expands them.

https://grafana.com/docs/plugins/grafana-clickhouse-datasource/latest/query-editor/#macros
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True)
class TimeRange:
    """What the dashboard's time picker says."""

    start: datetime
    end: datetime

    def interval(self, points: int) -> timedelta:
        """Return the width of one of about `points` intervals, rounded to what people read easily, as Grafana rounds it."""
        wanted = (self.end - self.start).total_seconds() / max(points, 1)
        return timedelta(seconds=next((width for limit, width in _WIDTHS if wanted < limit), 365 * 86400))


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


def _group(times: Times, column: str, period: str) -> str:
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
    text = period.strip("'\"")
    if not re.fullmatch(r"(\d+(\.\d+)?(ms|s|m|h))+", text):
        raise ValueError(f"{period} is not a duration such as 5m or 1h30m")
    return _buckets(
        column,
        round(sum(float(n) * units[unit] for n, _, unit in re.findall(r"(\d+(\.\d+)?)(ms|s|m|h)", text))),
    )


def _interval_text(times: Times) -> str:
    seconds = times.interval.total_seconds()
    for unit, size in (("d", _DAY), ("h", _HOUR), ("m", 60), ("s", 1)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds // size:.0f}{unit}"
    return f"{seconds * 1000:.0f}ms"


@dataclass(frozen=True)
class Macro:
    """How many arguments a macro takes, and what it becomes."""

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
            f"toStartOfInterval(toDateTime64({column}, 3), INTERVAL {max(int(times.interval.total_seconds() * 1000), 1)} millisecond)"
        ),
    ),
    "__interval_s": Macro(0, lambda times: str(int(max(times.interval.total_seconds(), 1)))),
    "__interval_ms": Macro(0, lambda times: str(int(times.interval.total_seconds() * 1000))),
    "__interval": Macro(0, _interval_text),
}
