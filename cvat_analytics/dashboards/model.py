"""Read dashboard files (Grafana's classic JSON) into panels, variables and their queries."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.dashboards.interpolation import ALL

DASHBOARDS = Path(__file__).parents[2] / "grafana" / "dashboards"
"""The files in git, which are the source of truth."""

DATASOURCE_TYPE = "grafana-clickhouse-datasource"
DATASOURCE_UID = "PDEE91DDB90597936"
"""CVAT's own datasource uid: bookmarks and dashboards that were exported from a stock installation keep working."""


@dataclass(frozen=True)
class Query:
    """One SQL text with its macros and variables. `where` names its place for messages."""

    where: str
    sql: str
    ref_id: str = "A"


@dataclass(frozen=True)
class Variable:
    """One filter of a dashboard. Without a query it is free text."""

    name: str
    label: str
    type: str
    query: Query | None
    multi: bool
    include_all: bool
    all_value: str | None
    default: str | tuple[str, ...]
    description: str


@dataclass(frozen=True)
class Panel:
    """One graph or table. `model` is its JSON, for what only a viewer needs."""

    id: int
    type: str
    title: str
    description: str
    queries: tuple[Query, ...]
    model: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Dashboard:
    """One dashboard. `model` is its JSON."""

    uid: str
    title: str
    file: Path
    panels: tuple[Panel, ...]
    variables: Mapping[str, Variable]
    model: Mapping[str, Any] = field(repr=False)

    @property
    def queries(self) -> tuple[Query, ...]:
        """Return all queries: the variables' first, as Grafana runs them."""
        variables = [variable.query for variable in self.variables.values() if variable.query]
        return (*variables, *(query for panel in self.panels for query in panel.queries))


def load(directory: Path = DASHBOARDS) -> list[Dashboard]:
    """Return the dashboards in `directory`, by file name.

    Raises InputError for a file that is not a dashboard, naming it.
    """
    return [_dashboard(file) for file in sorted(directory.glob("*.json"))]


def read(file: Path) -> dict[str, Any]:
    """Return the JSON object in `file`, whatever is in it. Raises InputError when there is none."""
    try:
        model = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise InputError(Code.DASHBOARD_FILE, f"dashboard {file}: cannot be read ({error})") from None
    if not isinstance(model, dict):
        raise InputError(Code.DASHBOARD_FILE, f"dashboard {file}: is not a JSON object")
    return model


def variables(model: Mapping[str, Any]) -> dict[str, Variable]:
    """Return the filters of a dashboard by name. Raises LookupError, TypeError or AttributeError for what is none."""
    filters = model.get("templating", {}).get("list", [])
    return {each["name"]: _variable(each, str(model.get("title"))) for each in filters}


def tidy(model: Mapping[str, Any]) -> str:
    """Return a dashboard's JSON in the one form in which it is kept in git."""
    return json.dumps(model, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _dashboard(file: Path) -> Dashboard:
    try:
        model = json.loads(file.read_text())
        title = model["title"]
        return Dashboard(
            uid=model["uid"],
            title=title,
            file=file,
            panels=tuple(_panel(each, title) for each in _panels(model["panels"])),
            variables=variables(model),
            model=model,
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(
            Code.DASHBOARD_FILE,
            f"dashboard {file}: is not a dashboard in Grafana's classic JSON ({type(error).__name__}: {error})",
        ) from None


def _panels(models: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the panels, those inside collapsed rows too; a row itself shows nothing."""
    for model in models:
        if model["type"] == "row":
            yield from _panels(model.get("panels", []))
        else:
            yield model


def _panel(model: dict[str, Any], dashboard: str) -> Panel:
    title = model.get("title", "")
    return Panel(
        id=model["id"],
        type=model["type"],
        title=title,
        description=model.get("description", ""),
        queries=tuple(
            Query(f"dashboard {dashboard!r}, panel {title!r}", target["rawSql"], target["refId"])
            for target in model.get("targets", [])
            if not target.get("hide")
        ),
        model=model,
    )


def _variable(model: dict[str, Any], dashboard: str) -> Variable:
    name, query, current = model["name"], model.get("query", ""), model.get("current", {}).get("value", "")
    sql = query.get("rawSql", "") if isinstance(query, dict) else query
    include_all = model.get("includeAll", False)
    return Variable(
        name=name,
        label=model.get("label") or name,
        type=model["type"],
        query=Query(f"dashboard {dashboard!r}, variable {name!r}", sql, name)
        if model["type"] == "query"
        else None,
        multi=model.get("multi", False),
        include_all=include_all,
        all_value=model.get("allValue") or None,
        default=tuple(current) if isinstance(current, list) else current or (ALL if include_all else ""),
        description=model.get("description", ""),
    )
