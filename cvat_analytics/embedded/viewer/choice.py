"""What a visitor has chosen: the time range and the values of the filters, from an address as Grafana writes it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.dashboards import ALL, Dashboard, TimeRange, Values

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "M": 30 * 86400, "y": 365 * 86400}


@dataclass(frozen=True)
class Choice:
    """A time range and the variables' values."""

    range: TimeRange
    values: Values


def read(parameters: Iterable[tuple[str, str]], dashboard: Dashboard, now: datetime) -> Choice:
    """Return the choice in an address; what it does not mention is the dashboard's default.

    Raises InputError for a time that cannot be understood, or a range that ends before it starts.
    """
    by_name: dict[str, list[str]] = {}
    for name, value in parameters:
        by_name.setdefault(name, []).append(value)
    default: Mapping[str, str] = dashboard.model.get("time", {})
    start = by_name.get("from", [default.get("from", "now-7d")])[-1]
    end = by_name.get("to", [default.get("to", "now")])[-1]
    time_range = TimeRange(moment(start, now), moment(end, now))
    if time_range.start >= time_range.end:
        raise InputError(Code.VIEWER_REQUEST, f"time range from {start} to {end}: it ends before it starts")
    # Grafana's own variable: the time zone in which the page shows times
    values: dict[str, str | Sequence[str]] = {"__timezone": by_name.get("timezone", ["UTC"])[-1]}
    for name, variable in dashboard.variables.items():
        chosen = by_name.get(f"var-{name}")
        if chosen is None:
            values[name] = variable.default
        elif ALL in chosen and variable.include_all:
            values[name] = (ALL,) if variable.multi else ALL
        else:
            values[name] = tuple(chosen) if variable.multi else chosen[-1]
    return Choice(time_range, values)


def moment(text: str, now: datetime) -> datetime:
    """Return the time that `now`, `now-7d`, or milliseconds since 1970 mean. Raises InputError for anything else."""
    relative = re.fullmatch(r"now(?:([+-])(\d{1,6})([smhdwMy]))?", text)
    try:
        if relative:
            sign, number, unit = relative.groups()
            return now + timedelta(seconds=int(f"{sign}{int(number) * _UNITS[unit]}") if unit else 0)
        if re.fullmatch(r"\d{1,15}", text):
            return datetime.fromtimestamp(int(text) / 1000, UTC)
    except (OverflowError, ValueError):
        pass
    raise InputError(Code.VIEWER_REQUEST, f"time {text!r}: write now, now-7d or milliseconds since 1970")
