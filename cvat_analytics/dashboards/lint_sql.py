"""The rules for the SQL in a dashboard: variables and macros, database names, scopes, and whether ClickHouse would run it.

A query is looked at as it would be sent, for "All" and for a choice in every filter: a mistake may stand in a condition
that only one of them has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from cvat_analytics.base.errors import InputError
from cvat_analytics.dashboards import macro_versions
from cvat_analytics.dashboards.expansion import expand, sent_by_the_browser
from cvat_analytics.dashboards.interpolation import Values
from cvat_analytics.dashboards.macros import TimeRange
from cvat_analytics.dashboards.model import Dashboard, Query, Variable, variables
from cvat_analytics.dashboards.places import Model, Problems, Refusal, name_of, nearest, panels
from cvat_analytics.store.event_scopes import SCOPES

_END = datetime(2026, 1, 8, tzinfo=UTC)
_RANGE = TimeRange(_END - timedelta(days=7), _END)
_SCOPE = re.compile(r"[a-z_]+:[a-z_]+")
_COMPARISONS = (exp.EQ, exp.NEQ, exp.In, exp.Anonymous, exp.ArrayContains, exp.Like)
_COLOURS = re.compile(r"\x1b\[\d*m")


def queries(model: Model, refusal: Refusal | None) -> Problems:
    """Yield what is wrong with the queries of a dashboard: where, what, and the next step."""
    try:
        known = variables(model)
    except (LookupError, TypeError, AttributeError) as error:
        yield (
            "",
            f"its variables cannot be read ({type(error).__name__}: {error})",
            "See how other dashboards do it",
        )
        return
    dashboard = Dashboard(str(model.get("uid")), str(model.get("title")), Path(), (), known, model)
    for where, sql in _texts(model):
        problems: dict[tuple[str, str], None] = {}
        for values in ({}, _chosen(known)):
            problems |= dict.fromkeys(_query(where, sql, dashboard, values, refusal))
        for what, next_step in problems:
            yield where, what, next_step


def _texts(model: Model) -> Iterator[tuple[str, str]]:
    """Yield place and SQL of every query: variables', panels', annotations'."""
    for variable in model.get("templating", {}).get("list", []):
        if variable.get("type") == "query":
            query = variable.get("query", "")
            yield f"variable {variable.get('name')!r}", _sql(query)
    for panel in panels(model):
        targets = panel.get("targets", [])
        for target in targets:
            many = f", query {target.get('refId', '?')}" if len(targets) > 1 else ""
            yield f"{name_of(panel)}{many}", _sql(target)
    for annotation in model.get("annotations", {}).get("list", []):
        if not annotation.get("builtIn"):
            yield f"annotation {annotation.get('name')!r}", _sql(annotation.get("target", annotation))


def _sql(query: Any) -> str:
    return str(query.get("rawSql", "")) if isinstance(query, Mapping) else str(query)


def _chosen(known: Mapping[str, Variable]) -> Values:
    """Return a choice in each filter whose values come from a query; the others have their own."""
    return {
        name: ["1"] if variable.multi else "1" for name, variable in known.items() if variable.type == "query"
    }


def _query(
    where: str, sql: str, dashboard: Dashboard, values: Values, refusal: Refusal | None
) -> Iterator[tuple[str, str]]:
    if not sql.strip():
        yield "its query is empty", "Write one, or remove it"
        return
    try:
        expanded = expand(Query(where, sql), dashboard, _RANGE, values=values)
    except InputError as error:
        reason = str(error).removeprefix(f"{where}: ")
        name = re.fullmatch(r"unknown variable \$\{?(\w+).*", reason)
        hint = nearest(name[1], dashboard.variables) if name else ""
        yield reason, hint or "docs/how-to/edit-dashboards.md says what Grafana and its plugin understand"
        return
    yield from macro_versions.differences(sent_by_the_browser(Query(where, sql), dashboard, _RANGE, values))
    tree, complaint = _parsed(expanded)
    if refusal is not None:
        complaint = refusal(expanded)
    if complaint:
        yield (
            f"ClickHouse does not accept its query: {complaint}",
            "Try it in Grafana's Explore, then correct it here",
        )
    if tree is not None:
        yield from _databases(tree)
        yield from _scopes(tree)


@lru_cache(
    maxsize=1024
)  # most queries are the same text for "All" and for a choice, and before and after an edit
def _parsed(sql: str) -> tuple[exp.Query | None, str]:
    """Return the query's tree, or None and the reason."""
    try:
        tree = sqlglot.parse_one(sql, read="clickhouse")
    except SqlglotError as error:
        return None, _COLOURS.sub("", str(error).split("\n")[0]).strip(". ")
    if isinstance(tree, exp.Query):
        return tree, ""
    return None, "it is not a SELECT"


def _databases(tree: exp.Query) -> Iterator[tuple[str, str]]:
    for table in tree.find_all(exp.Table):
        if table.db:
            yield (
                f"it names the database {table.db!r} of table {table.name!r}",
                f"Write {table.name} alone: the datasource knows its database, which is a setting",
            )


def _scopes(tree: exp.Query) -> Iterator[tuple[str, str]]:
    for literal in tree.find_all(exp.Literal):
        text = literal.name
        if not literal.is_string or not _SCOPE.fullmatch(text) or text in SCOPES:
            continue
        comparison = literal.find_ancestor(*_COMPARISONS)
        if comparison and any(column.name == "scope" for column in comparison.find_all(exp.Column)):
            yield f"nobody sends the scope {text!r}", nearest(text, SCOPES) or "docs of CVAT list its scopes"
