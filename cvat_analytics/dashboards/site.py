"""What a site's settings change in a dashboard: whether and where its ids link to CVAT, and whose days are counted.

The files in git have links that begin with `${cvat_url}`, a hidden constant; a site without the setting gets neither. Titles
name the zone of the days with `${time_zone}`, another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from cvat_analytics.dashboards.places import panels

_URL, _ZONE = "cvat_url", "time_zone"
_PREFIX = f"${{{_URL}}}"


def for_site(dashboard: Mapping[str, Any], url: str, time_zone: str) -> dict[str, Any]:
    """Return `dashboard` with its days said to be those of `time_zone`, and its links to CVAT leading to `url`.

    `url` ends with a slash; where it is empty, the links go.
    """
    made: dict[str, Any] = deepcopy(dict(dashboard))
    variables = made.get("templating", {}).get("list", [])
    for variable in list(variables):
        if value := {_URL: url, _ZONE: time_zone}.get(variable["name"]):
            variable.update(query=value, current={"text": value, "value": value})
        elif variable["name"] == _URL:
            variables.remove(variable)
    if not url:
        for panel in panels(made):
            overrides = panel.get("fieldConfig", {}).get("overrides", [])
            for override in list(overrides):
                _drop_links(override)
                if not override["properties"]:
                    overrides.remove(override)
    return made


def from_site(dashboard: Mapping[str, Any], original: Mapping[str, Any]) -> dict[str, Any]:
    """Return `dashboard`, as a site has it, in the form for git: with the links and the variables of `original` back in place."""
    made: dict[str, Any] = deepcopy(dict(dashboard))
    for position, variable in enumerate(original.get("templating", {}).get("list", [])):
        if variable["name"] in (_URL, _ZONE):
            variables = made.setdefault("templating", {}).setdefault("list", [])
            variables[:] = [each for each in variables if each["name"] != variable["name"]]
            variables.insert(position, deepcopy(variable))
    same = {panel["id"]: panel for panel in panels(made)}
    for panel in panels(original):
        if panel["id"] in same:
            _restore_links(same[panel["id"]], panel)
    return made


def _drop_links(override: dict[str, Any]) -> None:
    for each in list(override["properties"]):
        if each["id"] == "links":
            each["value"] = [link for link in each["value"] if not _is_cvat_s(link)]
            if not each["value"]:
                override["properties"].remove(each)


def _restore_links(panel: Mapping[str, Any], original: Mapping[str, Any]) -> None:
    """Put the links to CVAT back where a column of `original` had them and `panel` still has that column's override."""
    overrides = panel.get("fieldConfig", {}).get("overrides", [])
    for place, override in enumerate(original.get("fieldConfig", {}).get("overrides", [])):
        lost = [
            link
            for each in override["properties"]
            if each["id"] == "links"
            for link in each["value"]
            if _is_cvat_s(link)
        ]
        same = next((each for each in overrides if each["matcher"] == override["matcher"]), None)
        emptied = deepcopy(override)
        _drop_links(emptied)
        if lost and same is None and not emptied["properties"]:
            # it had nothing but these links, so that the site did not get it at all
            overrides.insert(place, deepcopy(override))
        if not lost or same is None:
            continue
        links = next((each for each in same["properties"] if each["id"] == "links"), None)
        if links is None:
            position = next(i for i, each in enumerate(override["properties"]) if each["id"] == "links")
            links = {"id": "links", "value": []}
            same["properties"].insert(position, links)
        links["value"] += [deepcopy(link) for link in lost if link not in links["value"]]


def _is_cvat_s(link: Mapping[str, Any]) -> bool:
    return str(link.get("url", "")).startswith(_PREFIX)
