"""Bring a dashboard that Grafana has saved into the form in which it is kept in git.

Grafana's JSON carries what belongs to one instance (ids, versions, another datasource's uid) and every option at its
default. What the file in git spells out stays spelt out: the file is the reference, so that a change of one panel in Grafana
is a change of these lines in git and of no others.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from cvat_analytics.config.settings import Settings
from cvat_analytics.dashboards import defaults
from cvat_analytics.dashboards.model import DATASOURCE_TYPE, DATASOURCE_UID
from cvat_analytics.dashboards.places import Model, panels

_PLUGIN_VERSION: str = Settings.model_fields["grafana_plugin_version"].default


def tidied(model: Model, reference: Model | None = None) -> dict[str, Any]:
    """Return the dashboard `model` without what is not the author's; `reference` is the same dashboard as it is in git.

    Options at Grafana's default are dropped unless the reference has them too. Panels are matched by their id, variables
    and annotations by name, queries by refId.
    """
    before: Model = reference or {}
    reduced = {key: value for key, value in model.items() if key not in defaults.INSTANCE_KEYS}
    reduced = _reduced(reduced, defaults.DASHBOARD, before)
    if reduced.get("links"):
        reduced["links"] = [
            _reduced(link, defaults.DASHBOARD_LINK, _match(before.get("links", []), "title", link))
            for link in reduced["links"]
        ]
    references = {panel.get("id"): panel for panel in panels(before)}
    reduced["panels"] = [_panel(each, references) for each in _in_order(model.get("panels", []), references)]
    variables = [
        _variable(each, _match(_list(before, "templating"), "name", each))
        for each in _list(model, "templating")
    ]
    annotations = [
        _annotation(each, _match(_list(before, "annotations"), "name", each))
        for each in _list(model, "annotations")
        # Grafana adds its own alerts' annotations to every dashboard
        if not each.get("builtIn") or _match(_list(before, "annotations"), "name", each)
    ]
    for name, items in (("templating", variables), ("annotations", annotations)):
        if items or name in before:
            reduced[name] = {"list": items}
        else:
            reduced.pop(name, None)
    return reduced


def tidy_sql(sql: str) -> str:
    """Return a query with plain line breaks, without blanks at line ends and empty lines around it."""
    lines = [line.rstrip() for line in sql.replace("\r\n", "\n").split("\n")]
    return "\n".join(lines).strip("\n")


def _reduced(value: Model, default: Mapping[str, Any], reference: Model) -> dict[str, Any]:
    """Return `value` without the keys that are at their `default` and are not in the `reference`."""
    kept: dict[str, Any] = {}
    for key, item in value.items():
        known = default.get(key, _NEVER)
        if isinstance(known, Mapping) and isinstance(item, Mapping) and known:
            below = reference.get(key)
            item = _reduced(item, known, below if isinstance(below, Mapping) else {})
            if not item and key not in reference:
                continue
        elif key not in reference and _is_default(item, known):
            continue
        kept[key] = item
    return kept


_NEVER = object()


def _is_default(value: Any, known: Any) -> bool:
    # True == 1 in Python; in JSON they are different things
    choices = known.values if isinstance(known, defaults.OneOf) else (known,)
    return any(type(value) is type(choice) and value == choice for choice in choices)


def _list(model: Model, name: str) -> list[dict[str, Any]]:
    return list(model.get(name, {}).get("list", []))


def _match(items: Sequence[Model], key: str, model: Model) -> Model:
    """Return that one of `items` which has the same `key` as `model`, or nothing."""
    return next((item for item in items if item.get(key) == model.get(key)), {})


def _in_order(items: Sequence[Model], references: Mapping[Any, Model]) -> list[Model]:
    """Return the panels in the order of the file, and behind them the new ones; where they stand is said by gridPos."""
    order = {id_: position for position, id_ in enumerate(references)}
    return sorted(items, key=lambda panel: order.get(panel.get("id"), len(order)))


def _panel(model: Model, references: Mapping[Any, Model]) -> dict[str, Any]:
    reference = references.get(model.get("id"), {})
    if reference.get("type", model.get("type")) != model.get("type"):
        reference = {}
    panel = _reduced(model, defaults.of_panel(str(model.get("type"))), reference)
    if "pluginVersion" not in reference:
        panel.pop("pluginVersion", None)  # of the panel's own plugin: Grafana's version
    if "fieldConfig" in panel or "fieldConfig" in reference:
        panel["fieldConfig"] = _field_config(panel.get("fieldConfig", {}))
    if "datasource" in panel:
        panel["datasource"] = _datasource(panel["datasource"])
    if "targets" in panel:
        panel["targets"] = [
            _target(each, _match(reference.get("targets", []), "refId", each)) for each in panel["targets"]
        ]
    if "panels" in panel:
        panel["panels"] = [_panel(each, references) for each in panel["panels"]]
    return panel


def _field_config(model: Model) -> dict[str, Any]:
    """Return a field configuration with both its parts, even if empty: Grafana's newer form has no empty ones.

    The first step of a scale begins at minus infinity, for which versions of Grafana write null, 0 or nothing.
    """
    made = {"defaults": {}, "overrides": [], **copy.deepcopy(dict(model))}
    scales = [made["defaults"].get("thresholds")]
    scales += [p.get("value") for o in made["overrides"] for p in o["properties"] if p["id"] == "thresholds"]
    for scale in scales:
        if scale and scale.get("steps"):
            scale["steps"][0]["value"] = None
    return made


def _target(model: Model, reference: Model) -> dict[str, Any]:
    target = _reduced(model, defaults.TARGET, reference)
    if "datasource" in target:
        target["datasource"] = _datasource(target["datasource"])
    if "rawSql" in target:
        target["rawSql"] = tidy_sql(target["rawSql"])
        target["pluginVersion"] = _PLUGIN_VERSION
        if target.get("editorType") == "sql" and "meta" not in reference:
            target.pop("meta", None)  # what the query builder, which is not used, remembers
    return target


def _variable(model: Model, reference: Model) -> dict[str, Any]:
    variable = _reduced(model, defaults.VARIABLE, reference)
    variable.pop("options", None)  # the values that the last visitor saw
    if "definition" not in reference:
        variable.pop("definition", None)
    if isinstance(variable.get("current"), Mapping):
        variable["current"] = {k: v for k, v in variable["current"].items() if k != "selected"}
    if "datasource" in variable:
        variable["datasource"] = _datasource(variable["datasource"])
    query = variable.get("query")
    if isinstance(query, Mapping) and "rawSql" in query:
        variable["query"] = {**query, "rawSql": tidy_sql(query["rawSql"])}
    return variable


def _annotation(model: Model, reference: Model) -> dict[str, Any]:
    annotation = _reduced(model, defaults.ANNOTATION, reference)
    if "datasource" in annotation:
        annotation["datasource"] = _datasource(annotation["datasource"])
    if isinstance(annotation.get("target"), Mapping):
        annotation["target"] = _target(annotation["target"], reference.get("target", {}))
    if isinstance(annotation.get("rawSql"), str):
        annotation["rawSql"] = tidy_sql(annotation["rawSql"])
    return annotation


def _datasource(value: Any) -> Any:
    """Return the project's datasource for any ClickHouse, which has another uid where it was not provisioned by us."""
    if isinstance(value, Mapping) and value.get("type") == DATASOURCE_TYPE:
        return {"type": DATASOURCE_TYPE, "uid": DATASOURCE_UID}
    return value
