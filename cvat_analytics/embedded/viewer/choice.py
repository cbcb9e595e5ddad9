"""What a visitor has chosen: the time range and the values of the filters, from the address of the page as in Grafana."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from cvat_analytics.dashboards import ALL, Dashboard, TimeRange, Values
from cvat_analytics.errors import InputError

RANGES = {
    "now-15m": "Last 15 minutes",
    "now-1h": "Last hour",
    "now-6h": "Last 6 hours",
    "now-24h": "Last 24 hours",
    "now-7d": "Last 7 days",
    "now-30d": "Last 30 days",
    "now-90d": "Last 90 days",
    "now-1y": "Last year",
}

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "M": 30 * 86400, "y": 365 * 86400}


@dataclass(frozen=True)
class Choice:
    """A time range, as it was written and as it is, and the filters' values."""

    start: str
    end: str
    range: TimeRange
    values: Values

    @property
    def time_parameters(self) -> str:
        """Return the time range for the address of another page (Grafana's `${__url_time_range}`)."""
        return urlencode({"from": self.start, "to": self.end})

    @property
    def parameters(self) -> str:
        """Return time range and filters for the address of another page."""
        filters = [(f"var-{name}", value) for name, values in self.values.items() for value in _list(values)]
        return urlencode([("from", self.start), ("to", self.end), *filters])


def read(parameters: Iterable[tuple[str, str]], dashboard: Dashboard, now: datetime) -> Choice:
    """Return the choice in a page's address; what it does not mention is the dashboard's default.

    Raises InputError for a time that cannot be understood, or a range that ends before it starts.
    """
    given: dict[str, list[str]] = {}
    for name, value in parameters:
        given.setdefault(name, []).append(value)
    default: Mapping[str, str] = dashboard.model.get("time", {})
    start = given.get("from", [default.get("from", "now-7d")])[-1]
    end = given.get("to", [default.get("to", "now")])[-1]
    time_range = TimeRange(moment(start, now), moment(end, now))
    if time_range.start >= time_range.end:
        raise InputError(f"time range from {start} to {end}: it ends before it starts")
    values: dict[str, str | Sequence[str]] = {}
    for name, variable in dashboard.variables.items():
        chosen = [value for value in given.get(f"var-{name}", []) if value != ALL]
        if chosen:
            values[name] = tuple(chosen) if variable.multi else chosen[-1]
        else:
            values[name] = variable.default
    return Choice(start, end, time_range, values)


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
    raise InputError(f"time {text!r}: write now, now-7d or milliseconds since 1970")


def _list(value: str | Sequence[str]) -> Sequence[str]:
    return (value,) if isinstance(value, str) else value
