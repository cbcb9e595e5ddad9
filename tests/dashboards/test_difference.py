"""A difference reads as what was done: which panel, which field, which lines of SQL."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from cvat_analytics.dashboards.difference import difference

SQL = "SELECT count()\nFROM events\nWHERE a = 1"


def _model() -> dict[str, Any]:
    panel = {
        "id": 1,
        "type": "table",
        "title": "Working time",
        "targets": [{"refId": "A", "rawSql": SQL}, {"refId": "B", "rawSql": "SELECT 2"}],
        "fieldConfig": {
            "overrides": [
                {
                    "matcher": {"id": "byName", "options": "User"},
                    "properties": [{"id": "custom.width", "value": 90}],
                }
            ]
        },
    }
    return {
        "title": "Management",
        "refresh": "1m",
        "panels": [panel, {"id": 2, "type": "stat", "title": "Now"}],
        "templating": {"list": [{"name": "users", "label": "User"}, {"name": "tasks"}]},
    }  # fmt: skip


def _change(function: Callable[[dict[str, Any]], Any]) -> list[str]:
    after = copy.deepcopy(_model())
    function(after)
    return difference(_model(), after)


def test_the_same_is_no_difference() -> None:
    assert difference(_model(), copy.deepcopy(_model())) == []


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], Any], list[str]]] = {
    "a field of the dashboard": (
        lambda m: m.update(refresh="5m"),
        ['refresh: "1m" -> "5m"'],
    ),
    "a field that is new": (lambda m: m.update(tags=["cvat"]), ['tags: ["cvat"] (new)']),
    "a field that is gone": (lambda m: m.pop("refresh"), ['refresh: was "1m", now not there']),
    "a renamed panel": (
        lambda m: m["panels"][1].update(title="Active"),
        ["panel 'Now' (#2):", '  title: "Now" -> "Active"'],
    ),
    "lines of SQL": (
        lambda m: m["panels"][0]["targets"][0].update(rawSql=SQL.replace("a = 1", "a = 2\n  AND b")),
        [
            "panel 'Working time' (#1):",
            "  targets[A].rawSql:",
            "     FROM events",
            "    -WHERE a = 1",
            "    +WHERE a = 2",
            "    +  AND b",
        ],
    ),
    "SQL of one line": (
        lambda m: m["panels"][0]["targets"][1].update(rawSql="SELECT 3"),
        ["panel 'Working time' (#1):", '  targets[B].rawSql: "SELECT 2" -> "SELECT 3"'],
    ),
    "a property of a column": (
        lambda m: m["panels"][0]["fieldConfig"]["overrides"][0]["properties"][0].update(value=120),
        [
            "panel 'Working time' (#1):",
            "  fieldConfig.overrides[User].properties[custom.width].value: 90 -> 120",
        ],
    ),
    "a panel more": (
        lambda m: m["panels"].append({"id": 3, "type": "stat", "title": "New"}),
        ["panel 'New' (#3): added"],
    ),
    "a panel less": (lambda m: m["panels"].pop(), ["panel 'Now' (#2): removed"]),
    "panels in another order": (
        lambda m: m["panels"].reverse(),
        ["panels are in another order in the file: panel 'Now' (#2), panel 'Working time' (#1)"],
    ),
    "a filter": (
        lambda m: m["templating"]["list"][0].update(label="Who"),
        ["variable 'users':", '  label: "User" -> "Who"'],
    ),
    "filters in another order": (
        lambda m: m["templating"]["list"].reverse(),
        ["variables are in another order: tasks, users"],
    ),
    "an annotation": (
        lambda m: m.update(annotations={"list": [{"name": "Deploys"}]}),
        ["annotation 'Deploys': added"],
    ),
    "a number that became a truth": (
        lambda m: m["panels"][0]["fieldConfig"]["overrides"][0]["properties"][0].update(value=True),
        [
            "panel 'Working time' (#1):",
            "  fieldConfig.overrides[User].properties[custom.width].value: 90 -> true",
        ],
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_is_told(name: str) -> None:
    function, lines = CHANGES[name]
    assert _change(function) == lines


def test_it_goes_both_ways() -> None:
    after = copy.deepcopy(_model())
    after["panels"].pop()
    assert difference(after, _model()) == ["panel 'Now' (#2): added"]


def test_a_long_value_is_cut() -> None:
    (line,) = _change(lambda m: m.update(refresh="x" * 1000))
    assert len(line) < 250
