"""Each rule for dashboards refuses what breaks it and nothing else, and none of ours breaks any."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cvat_analytics.base.errors import InputError
from cvat_analytics.dashboards import DASHBOARDS, DATASOURCE_TYPE, DATASOURCE_UID
from cvat_analytics.dashboards.lint import lint, lint_model
from tests.clickhouse import Store
from tests.dashboards.engine import refusal_of

SOURCE = {"type": DATASOURCE_TYPE, "uid": DATASOURCE_UID}


def _panel(id_: int, **changes: Any) -> dict[str, Any]:
    sql = "SELECT scope, count() AS Count\nFROM events\nWHERE $__timeFilter_ms(timestamp)\n  AND $__conditionalAll(scope IN (${scopes:singlequote}), $scopes)\nGROUP BY scope"
    panel = {
        "id": id_,
        "type": "table",
        "title": f"Panel {id_}",
        "description": "How many events there were of each scope.",
        "datasource": SOURCE,
        "gridPos": {"h": 8, "w": 12, "x": 0, "y": 8 * id_},
        "targets": [{"refId": "A", "datasource": SOURCE, "editorType": "sql", "format": 1, "rawSql": sql}],
    }
    return panel | changes


def _good() -> dict[str, Any]:
    variable = {
        "name": "scopes",
        "type": "query",
        "multi": True,
        "includeAll": True,
        "current": {"text": ["All"], "value": ["$__all"]},
        "datasource": SOURCE,
        "query": {"refId": "scopes", "rawSql": "SELECT DISTINCT scope FROM events"},
    }
    annotation = {
        "name": "Exceptions",
        "datasource": SOURCE,
        "target": {"rawSql": "SELECT timestamp AS time FROM events WHERE scope = 'send:exception'"},
    }
    return {
        "uid": "u",
        "title": "Good",
        "panels": [_panel(1), _panel(2), {"id": 3, "type": "text", "gridPos": {"h": 2, "w": 24, "x": 0, "y": 40}}],
        "templating": {"list": [variable]},
        "annotations": {"list": [annotation]},
    }  # fmt: skip


def _set(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(model: dict[str, Any]) -> None:
        place: Any = model
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


def _drop(*path: Any) -> Callable[[dict[str, Any]], None]:
    def change(model: dict[str, Any]) -> None:
        place: Any = model
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]

    return change


FIRST = ("panels", 0)
QUERY = (*FIRST, "targets", 0)
SQL = (*QUERY, "rawSql")
BROKEN: dict[str, tuple[Callable[[dict[str, Any]], None], str, str]] = {
    "no uid": (_drop("uid"), "", "it has no uid"),
    "no title": (_set("title", value=""), "", "it has no title"),
    "an id of an instance": (_set("id", value=7), "", "'id' belongs to one Grafana only"),
    "a version of an instance": (_set("version", value=3), "", "'version' belongs to one Grafana only"),
    "an export for other instances": (
        _set("__inputs", value=[]),
        "",
        "'__inputs' belongs to one Grafana only",
    ),
    "a panel without id": (_drop(*FIRST, "id"), "panel 'Panel 1'", "it has no id"),
    "a panel id twice": (
        _set("panels", 1, "id", value=1),
        "panel 'Panel 2'",
        "its id 1 is also that of panel 'Panel 1'",
    ),
    "a panel id twice, once in a row": (
        _set("panels", 2, value={"id": 4, "type": "row", "title": "Row", "gridPos": {"h": 1, "w": 24, "x": 0, "y": 40}, "panels": [_panel(2, title="Inside")]}),
        "panel 'Inside'",
        "its id 2 is also that of panel 'Panel 2'",
    ),
    "a panel without description": (_set(*FIRST, "description", value=" "), "panel 'Panel 1'", "it has no description"),
    "a panel without datasource": (_drop(*FIRST, "datasource"), "panel 'Panel 1'", "it names no datasource"),
    "another datasource": (
        _set(*QUERY, "datasource", value={"type": DATASOURCE_TYPE, "uid": "abc"}),
        "panel 'Panel 1', query A",
        f'its datasource {{"type": "{DATASOURCE_TYPE}", "uid": "abc"}} is another one',
    ),
    "a variable without datasource": (_drop("templating", "list", 0, "datasource"), "variable 'scopes'", "it names no datasource"),
    "an annotation of another datasource": (
        _set("annotations", "list", 0, "datasource", value="Prometheus"),
        "annotation 'Exceptions'",
        'its datasource "Prometheus" is another one',
    ),
    "no refId": (_drop(*QUERY, "refId"), "panel 'Panel 1'", "a query has no refId"),
    "a refId twice": (
        lambda model: model["panels"][0]["targets"].append(model["panels"][0]["targets"][0]),
        "panel 'Panel 1'",
        "two queries have the refId 'A'",
    ),
    "a panel without place": (_drop(*FIRST, "gridPos", "w"), "panel 'Panel 1'", "it has no place (gridPos)"),
    "a panel outside the grid": (
        _set(*FIRST, "gridPos", "x", value=13),
        "panel 'Panel 1'",
        "it lies outside the grid (x 13, width 12, of 24 columns)",
    ),
    "panels that overlap": (_set("panels", 1, "gridPos", "y", value=15), "panel 'Panel 2'", "it overlaps panel 'Panel 1'"),
    "an unknown variable": (
        _set(*SQL, value="SELECT count() FROM events WHERE $__conditionalAll(scope = '1', $scops)"),
        "panel 'Panel 1'",
        "unknown variable $scops",
    ),
    "an unknown variable as a value": (
        _set(*SQL, value="SELECT count() FROM events WHERE user_id = ${user}"),
        "panel 'Panel 1'",
        "unknown variable ${user}",
    ),
    "an unknown macro": (
        _set(*SQL, value="SELECT count() FROM events WHERE $__timeFiler(timestamp)"),
        "panel 'Panel 1'",
        "unknown macro $__timeFiler",
    ),
    "a database": (
        _set(*SQL, value="SELECT count() FROM cvat.events"),
        "panel 'Panel 1'",
        "it names the database 'cvat' of table 'events'",
    ),
    "a database in a subquery": (
        _set(*SQL, value="SELECT user_id FROM (SELECT user_id FROM events JOIN cvat.user_names USING user_id)"),
        "panel 'Panel 1'",
        "it names the database 'cvat' of table 'user_names'",
    ),
    "an unknown scope": (
        _set(*SQL, value="SELECT count() FROM events WHERE scope IN ('load:job', 'save:jobs')"),
        "panel 'Panel 1'",
        "nobody sends the scope 'save:jobs'",
    ),
    "an unknown scope in a function": (
        _set(*SQL, value="SELECT countIf(scope = 'draw:objekt') FROM events"),
        "panel 'Panel 1'",
        "nobody sends the scope 'draw:objekt'",
    ),
    "an unknown scope in an annotation": (
        _set("annotations", "list", 0, "target", "rawSql", value="SELECT timestamp FROM events WHERE scope = 'send:exceptions'"),
        "annotation 'Exceptions'",
        "nobody sends the scope 'send:exceptions'",
    ),
    "no query": (_set(*SQL, value=" "), "panel 'Panel 1'", "its query is empty"),
    "SQL that is none": (
        _set("templating", "list", 0, "query", "rawSql", value="SELECT scope FROM"),
        "variable 'scopes'",
        "ClickHouse does not accept its query",
    ),
    "SQL that changes something": (
        _set(*SQL, value="DROP TABLE events"),
        "panel 'Panel 1'",
        "ClickHouse does not accept its query: it is not a SELECT",
    ),
    "a macro inside another's argument": (
        _set(*SQL, value="SELECT $__timeInterval(toDateTime($__fromTime, 'UTC')) AS slot FROM events"),
        "panel 'Panel 1'",
        "a macro stands in another macro's argument, where plugins of the 4.19 line leave it as it is",
    ),
    "a macro inside another's argument in a variable": (
        _set("templating", "list", 0, "query", "rawSql", value="SELECT scope FROM events WHERE $__timeFilter_ms(greatest(timestamp, $__fromTime_ms))"),
        "variable 'scopes'",
        "a macro stands in another macro's argument",
    ),
    "a macro that older plugins take for another": (
        _set(*SQL, value="SELECT $__timeGroup(timestamp, '5m') AS slot FROM events"),
        "panel 'Panel 1'",
        "plugins before 4.19 make something else of $__timeGroup",
    ),
    "a macro that only the newest plugins know": (
        _set(*SQL, value="SELECT * FROM (SELECT $__columns(timestamp, scope, count()) FROM events)"),
        "panel 'Panel 1'",
        "unknown macro $__columns, which only plugins after 4.20.0 know",
    ),
    "what is a comment only for some": (
        _set(*SQL, value="SELECT scope AS `a--b`, $__fromTime FROM events"),
        "panel 'Panel 1'",
        "plugins up to 4.20.0 see a comment inside",
    ),
    "a macro in a comment": (
        _set(*SQL, value="SELECT scope -- like $__timeFilter\nFROM events"),
        "panel 'Panel 1'",
        "plugins before 4.19 read a macro in it differently",
    ),
    "a bracket in quotes in a macro's argument": (
        _set(*SQL, value="SELECT scope FROM events WHERE $__timeFilter(if(scope = ')', timestamp, timestamp))"),
        "panel 'Panel 1'",
        "plugins before 4.19 read a macro in it differently",
    ),
    "SQL that is wrong only for a choice": (
        _set(*SQL, value="SELECT count() FROM events WHERE $__conditionalAll(scope = = ${scopes:singlequote}, $scopes)"),
        "panel 'Panel 1'",
        "ClickHouse does not accept its query: ",
    ),
}  # fmt: skip


def test_the_good_one_is_good() -> None:
    assert lint_model("good.json", _good()) == []


@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_one_rule_is_one_finding(name: str) -> None:
    change, where, what = BROKEN[name]
    model = copy.deepcopy(_good())
    change(model)
    findings = lint_model("x.json", model)
    assert [(finding.file, finding.where, finding.what[: len(what)]) for finding in findings] == [
        ("x.json", where, what)
    ]
    assert all(finding.next_step for finding in findings)


def test_a_finding_names_file_place_reason_and_next_step() -> None:
    model = _good()
    model["panels"][0]["targets"][0]["rawSql"] = "SELECT count() FROM events WHERE scope = 'save:jobs'"
    (finding,) = lint_model("grafana/dashboards/x.json", model)
    assert (
        str(finding)
        == "grafana/dashboards/x.json: panel 'Panel 1': nobody sends the scope 'save:jobs'. Did you mean 'save:job'?"
    )


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT formatDateTime(timestamp, 'hh:mm') FROM events",
        "SELECT count() FROM events WHERE scope LIKE 'create:%' AND obj_name = 'hh:mm'",
        "SELECT count() FROM events WHERE startsWith(scope, 'update:')",
    ],
)
def test_other_texts_with_a_colon_are_no_scopes(sql: str) -> None:
    model = _good()
    model["panels"][0]["targets"][0]["rawSql"] = sql
    assert lint_model("x.json", model) == []


@pytest.mark.parametrize(("key", "value"), [("uid", "u"), ("title", "Good")])
def test_two_dashboards_with_the_same_uid_or_title(tmp_path: Path, key: str, value: str) -> None:
    models = [_good(), _good() | {"uid": "other", "title": "Other"} | {key: value}]
    for name, model in zip("ab", models, strict=True):
        (tmp_path / f"{name}.json").write_text(json.dumps(model))
    (finding,) = lint(sorted(tmp_path.iterdir()))
    assert finding.file == f"{tmp_path}/b.json"
    assert finding.what == f"its {key} {value!r} is also that of {tmp_path}/a.json"


@pytest.mark.parametrize("text", ["{", "[]", "\x00"])
def test_a_file_that_is_no_dashboard(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match=r"x\.json"):
        lint([tmp_path / "x.json"])


def test_our_files_break_no_rule() -> None:
    assert [str(finding) for finding in lint(sorted(DASHBOARDS.glob("*.json")))] == []


def test_the_engine_accepts_every_query_of_our_files(store: Store) -> None:
    findings = lint(sorted(DASHBOARDS.glob("*.json")), refusal_of(store))
    assert [str(finding) for finding in findings] == []


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT no_such_column FROM events", "no_such_column"),
        ("SELECT count() FROM no_such_table", "no_such_table"),
        ("SELECT noSuchFunction(1)", "noSuchFunction"),
        ("SELECT user_name + 1 FROM events", "String"),
    ],
)
def test_what_only_the_engine_knows(store: Store, sql: str, reason: str) -> None:
    model = _good()
    model["panels"][0]["targets"][0]["rawSql"] = sql
    assert lint_model("x.json", model) == []
    (finding,) = lint_model("x.json", model, refusal_of(store))
    assert finding.what.startswith("ClickHouse does not accept its query: ")
    assert reason in finding.what
    assert "\n" not in finding.what
