"""Put the chosen values of a dashboard's variables into its SQL, as Grafana does in the browser.

Formats: https://grafana.com/docs/grafana/latest/dashboards/variables/variable-syntax/. Mind that no quoting format of
Grafana knows ClickHouse's backslash: a value that ends in one would leave `${x:sqlstring}` and `${x:singlequote}` without
an end. Our dashboards use `customqueryparam`, of which nothing but letters, digits and `-_.~%&=` comes, and decode it in SQL.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import quote

ALL = "$__all"
"""The value that stands for the choice "All"."""

Value = str | Sequence[str]
Values = Mapping[str, Value]

REFERENCE = re.compile(
    r"\$\{(?P<braced>\w+)(?::(?P<format>[^}]+))?\}|\[\[(?P<square>\w+?)(?::(?P<square_format>\w+))?\]\]|\$(?P<plain>\w+)"
)
"""One use of a variable: `${name}`, `${name:format}`, `[[name]]`, `[[name:format]]` or `$name`."""


def is_all(value: Value) -> bool:
    """Return whether `value` is the choice "All"; an empty choice counts as that (the plugin's $__conditionalAll)."""
    return value in ("", ALL) if isinstance(value, str) else list(value) in ([], [""], [ALL])


def percent_encode(text: str) -> str:
    """Return `text` percent-encoded as Grafana does it: all but letters, digits and `-_.~`."""
    return quote(text, safe="-_.~")


def formatted(name: str, value: Value, format_: str | None) -> str:
    """Return `value` as `format_` writes it. Raises LookupError for a format that Grafana does not have."""
    kind, *arguments = format_.split(":") if format_ else [""]
    return _FORMATS[kind](name, value, arguments)


def _list(value: Value) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _each(transform: Callable[[str], str]) -> Callable[[str, Value, list[str]], str]:
    return lambda name, value, arguments: ",".join(transform(item) for item in _list(value))


def _by_datasource(name: str, value: Value, arguments: list[str]) -> str:
    """Without a format the ClickHouse plugin quotes several values, and only several, and escapes nothing."""
    return value if isinstance(value, str) else "'" + "','".join(value) + "'"


def _json(name: str, value: Value, arguments: list[str]) -> str:
    return (
        value
        if isinstance(value, str)
        else json.dumps(list(value), ensure_ascii=False, separators=(",", ":"))
    )


def _percent_encode(name: str, value: Value, arguments: list[str]) -> str:
    return percent_encode(value if isinstance(value, str) else "{" + ",".join(value) + "}")


def _query_parameters(name: str, value: Value, arguments: list[str]) -> str:
    prefix = percent_encode(arguments[1]) if len(arguments) > 1 else ""
    key = percent_encode(arguments[0] if arguments else name)
    return "&".join(f"{key}={prefix}{percent_encode(item)}" for item in _list(value))


def _date(name: str, value: Value, arguments: list[str]) -> str:
    milliseconds = int(_list(value)[0])
    if arguments == ["seconds"]:
        return str(round(milliseconds / 1000))
    if arguments in ([], ["iso"]):
        return (
            datetime.fromtimestamp(milliseconds / 1000, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z")
        )
    raise LookupError("date:" + ":".join(arguments))


_FORMATS: Mapping[str, Callable[[str, Value, list[str]], str]] = {
    "": _by_datasource,
    "csv": _each(str),
    "raw": _each(str),
    "singlequote": _each(lambda item: "'" + item.replace("'", "\\'") + "'"),
    "doublequote": _each(lambda item: '"' + item.replace('"', '\\"') + '"'),
    "sqlstring": _each(lambda item: "'" + item.replace("'", "''").replace('"', '\\"') + "'"),
    "json": _json,
    "percentencode": _percent_encode,
    "customqueryparam": _query_parameters,
    "date": _date,
}
