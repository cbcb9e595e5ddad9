"""Turn a result into what a table panel shows: formatted cells, links, widths, and the totals of its footer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from cvat_analytics.embedded.viewer.charts import number
from cvat_analytics.embedded.viewer.clickhouse import Kind, Result

MOST_ROWS = 200
"""How many rows a page shows; more only make it slow."""

_LONG = 70


@dataclass(frozen=True)
class Cell:
    """One value. `full` is set when there is more to see than `text`."""

    text: str
    full: str = ""
    href: str = ""
    title: str = ""


@dataclass(frozen=True)
class Column:
    """How a column looks."""

    name: str
    kind: Kind
    width: int | None
    total: str | None
    """The sum of all rows, where the footer has one."""


@dataclass(frozen=True)
class Table:
    """What the page shows of a result."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    more: int
    """How many rows are left out."""


def table(result: Result, field_config: Mapping[str, Any], *, prefix: str, time_parameters: str) -> Table:
    """Return the table of `result` as the panel's `fieldConfig` wants it. Links lead below `prefix`."""
    options = [_options(field_config, name) for name in result.names]
    columns = []
    for i, (name, kind, column) in enumerate(zip(result.names, result.kinds, options, strict=True)):
        total = None
        if "sum" in column.get("custom.footer.reducers", []):
            total = _text(sum(row[i] for row in result.rows if row[i] is not None), kind, column)
        columns.append(Column(name, kind, column.get("custom.width", column.get("custom.minWidth")), total))
    rows = []
    for row in result.rows[:MOST_ROWS]:
        cells = []
        for value, kind, column in zip(row, result.kinds, options, strict=True):
            text = _text(value, kind, column)
            link = (column.get("links") or [None])[0]
            if link and text:
                href = _address(link["url"], text, dict(zip(result.names, row, strict=True)), time_parameters)
                cells.append(
                    Cell(text, href=prefix + href if href.startswith("/") else "", title=link["title"])
                )
            elif len(text) > _LONG or "\n" in text or text.startswith("{"):
                cells.append(Cell(_beginning(text), full=_pretty(text)))
            else:
                cells.append(Cell(text))
        rows.append(cells)
    return Table(columns, rows, max(len(result.rows) - MOST_ROWS, 0))


def _options(field_config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a column's options by Grafana's names, such as `unit` and `custom.width`: defaults, then overrides."""
    defaults = field_config.get("defaults", {})
    options = {key: value for key, value in defaults.items() if key != "custom"}
    options |= {f"custom.{key}": value for key, value in defaults.get("custom", {}).items()}
    for override in field_config.get("overrides", []):
        if override["matcher"] == {"id": "byName", "options": name}:
            options |= {each["id"]: each["value"] for each in override["properties"]}
    return options


def _text(value: Any, kind: Kind, options: Mapping[str, Any]) -> str:
    if value is None:
        return ""
    if kind == "time":
        return str(value.strftime("%Y-%m-%d %H:%M:%S.") + f"{value.microsecond // 1000:03}")
    if kind != "number":
        return str(value)
    if options.get("unit") == "ms":
        return (
            f"{number(value / 1000, 2)} s"
            if value >= 1000
            else f"{number(value, options.get('decimals'))} ms"
        )
    if "links" in options:
        return str(value)  # an id, not a quantity: no thousands separator
    return number(value, options.get("decimals"))


def _beginning(text: str) -> str:
    line = text.replace("\n", " ")
    return line if len(line) <= _LONG else line[: _LONG - 1] + "…"


def _pretty(text: str) -> str:
    """Return JSON with one field a line; other text as it is."""
    if text.startswith(("{", "[")):
        try:
            return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
        except ValueError:
            pass
    return text


def _address(url: str, text: str, row: Mapping[str, Any], time_parameters: str) -> str:
    """Return a data link's address for one cell; Grafana's variables in it are filled in and encoded."""
    url = url.replace("${__url_time_range}", time_parameters).replace("${__value.raw}", quote(text, safe=""))
    return re.sub(
        r'\$\{__data\.fields\["([^"]+)"\]\}', lambda match: quote(str(row.get(match[1], "")), safe=""), url
    )
