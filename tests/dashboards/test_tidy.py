"""What Grafana adds when it saves a dashboard does not reach git, and what the author wrote does."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from cvat_analytics.config.settings import Settings
from cvat_analytics.dashboards import DATASOURCE_TYPE, DATASOURCE_UID, Dashboard, load, tidy
from cvat_analytics.dashboards.difference import difference
from cvat_analytics.dashboards.tidying import tidied, tidy_sql
from tests.dashboards.grafana import converted_back, saved_by_the_editor

every_dashboard = pytest.mark.parametrize("dashboard", load(), ids=lambda dashboard: dashboard.file.stem)


def _model(dashboard: Dashboard) -> dict[str, Any]:
    return copy.deepcopy(dict(dashboard.model))


@every_dashboard
def test_a_file_in_git_stays_as_it_is_byte_for_byte(dashboard: Dashboard) -> None:
    text = dashboard.file.read_text()
    assert tidy(tidied(json.loads(text), json.loads(text))) == text


@every_dashboard
def test_a_file_in_git_holds_nothing_that_goes_without_saying(dashboard: Dashboard) -> None:
    assert difference(dashboard.model, tidied(dashboard.model)) == []


@every_dashboard
def test_what_the_editor_adds_does_not_come_back(dashboard: Dashboard) -> None:
    saved = saved_by_the_editor(_model(dashboard)) | {"id": 7, "version": 12}
    assert difference(dashboard.model, tidied(saved, dashboard.model)) == []


@every_dashboard
def test_nothing_comes_back_without_a_file_to_compare_with_either(dashboard: Dashboard) -> None:
    saved = saved_by_the_editor(_model(dashboard)) | {"id": 7, "version": 12}
    assert difference(dashboard.model, tidied(saved)) == []


@every_dashboard
def test_what_came_through_the_newer_form_is_the_same_dashboard(dashboard: Dashboard) -> None:
    back = converted_back(_model(dashboard)) | {"uid": dashboard.uid}
    assert difference(dashboard.model, tidied(back, dashboard.model)) == []


@pytest.mark.parametrize("value", [{}, {"value": 0}, {"value": None}])
def test_the_first_step_of_a_scale_begins_nowhere(value: dict[str, Any]) -> None:
    steps = [{"color": "green", **value}, {"color": "red", "value": 5}]
    override = {
        "matcher": {"id": "byName", "options": "x"},
        "properties": [{"id": "thresholds", "value": {"steps": steps}}],
    }
    panel = _panel(fieldConfig={"defaults": {"thresholds": {"steps": steps}}, "overrides": [override]})
    field = _tidied_panel(panel)["fieldConfig"]
    scales = [field["defaults"]["thresholds"], field["overrides"][0]["properties"][0]["value"]]
    assert scales == [{"steps": [{"color": "green", "value": None}, {"color": "red", "value": 5}]}] * 2


def _panel(**changes: Any) -> dict[str, Any]:
    return {
        "id": 1,
        "type": "timeseries",
        "title": "P",
        "gridPos": {"h": 1, "w": 1, "x": 0, "y": 0},
    } | changes


def _tidied_panel(panel: dict[str, Any], reference: dict[str, Any] | None = None) -> dict[str, Any]:
    before = {"panels": [reference]} if reference else None
    (result,) = tidied({"uid": "u", "title": "T", "panels": [panel]}, before)["panels"]
    return dict(result)


def test_what_the_file_spells_out_stays_and_a_default_that_it_lacks_does_not_come_in() -> None:
    custom = {"lineWidth": 1, "pointSize": 5}
    reference = _panel(fieldConfig={"defaults": {"custom": {"lineWidth": 1}}, "overrides": []})
    saved = _panel(fieldConfig={"defaults": {"custom": custom}, "overrides": []})
    assert _tidied_panel(saved, reference) == reference
    assert _tidied_panel(saved)["fieldConfig"] == {"defaults": {}, "overrides": []}


def test_an_option_that_was_set_is_kept() -> None:
    panel = _panel(
        fieldConfig={"defaults": {"custom": {"lineWidth": 3}, "unit": "ms"}, "overrides": []},
        transparent=True,
    )
    assert _tidied_panel(panel) == panel


def test_one_is_not_true() -> None:
    assert _tidied_panel(_panel(fieldConfig={"defaults": {"custom": {"lineWidth": True}}, "overrides": []}))[
        "fieldConfig"
    ]["defaults"] == {"custom": {"lineWidth": True}}


def test_a_panel_that_became_another_kind_is_not_compared_with_what_it_was() -> None:
    reference = _panel(
        options={"legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": True}}
    )
    assert "options" in _tidied_panel(reference, reference)
    table = _panel(type="table", options={"cellHeight": "sm", "showHeader": True})
    assert "options" not in _tidied_panel(table, reference)


@pytest.mark.parametrize("where", ["panel", "target", "variable", "annotation"])
def test_any_clickhouse_becomes_the_project_s(where: str) -> None:
    other = {"type": DATASOURCE_TYPE, "uid": "of-this-instance"}
    query = {"refId": "A", "rawSql": "SELECT 1", "datasource": other}
    model = {
        "panels": [_panel(datasource=other, targets=[query])],
        "templating": {"list": [{"name": "v", "type": "query", "datasource": other, "query": query}]},
        "annotations": {"list": [{"name": "a", "datasource": other, "target": query}]},
    }
    result = tidied(model)
    place = {
        "panel": result["panels"][0],
        "target": result["panels"][0]["targets"][0],
        "variable": result["templating"]["list"][0],
        "annotation": result["annotations"]["list"][0],
    }[where]
    assert place["datasource"] == {"type": DATASOURCE_TYPE, "uid": DATASOURCE_UID}


def test_a_datasource_of_another_kind_is_left_to_lint() -> None:
    other = {"type": "prometheus", "uid": "x"}
    assert _tidied_panel(_panel(datasource=other))["datasource"] == other


def test_queries_carry_the_plugin_s_version_of_the_settings() -> None:
    target = {"refId": "A", "rawSql": "SELECT 1", "pluginVersion": "4.10.0", "hide": False}
    tidied_targets = _tidied_panel(_panel(targets=[target]))["targets"]
    assert tidied_targets == [
        {"refId": "A", "rawSql": "SELECT 1", "pluginVersion": Settings.model_fields["grafana_plugin_version"].default}
    ]  # fmt: skip


def test_sql_keeps_its_lines_and_loses_its_blanks() -> None:
    assert tidy_sql("\r\nSELECT 1  \r\n  FROM x\t\r\n\r\n") == "SELECT 1\n  FROM x"


def test_panels_keep_the_order_of_the_file_and_new_ones_follow() -> None:
    reference = {"panels": [_panel(id=3), _panel(id=1), _panel(id=2)]}
    saved = {"panels": [_panel(id=1), _panel(id=9), _panel(id=2), _panel(id=3)]}
    assert [panel["id"] for panel in tidied(saved, reference)["panels"]] == [3, 1, 2, 9]


def test_panels_in_a_row_are_tidied_too() -> None:
    row = {"id": 5, "type": "row", "panels": [_panel(id=6, transparent=False)]}
    assert tidied({"panels": [row]})["panels"][0]["panels"] == [_panel(id=6)]
