"""The dashboards in another language: nothing is left in English, nothing that SQL or links need is touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cvat_analytics.base.errors import InputError
from cvat_analytics.config.settings import Settings
from cvat_analytics.dashboards import Dashboard, languages, load, site
from cvat_analytics.rendering import render

CODES = [file.stem for file in sorted(languages.LANGUAGES.glob("*.yaml"))]
DASHBOARDS = load()
every_language = pytest.mark.parametrize("language", CODES)
every_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.file.stem)


def test_every_language_of_the_settings_has_a_table_and_the_other_way_round() -> None:
    choices = Settings.model_json_schema()["properties"]["grafana_language"]["enum"]
    assert sorted(choices) == sorted(["en", *CODES])
    assert languages.read("en") == {}


@every_language
def test_every_text_has_a_translation_and_nothing_else_has(language: str) -> None:
    needed = {text for dashboard in DASHBOARDS for text in languages.texts(dashboard.model)}
    table = languages.read(language)
    assert needed - table.keys() == set(), "not translated"
    assert table.keys() - needed == set(), "no dashboard has this text any more"


@every_language
def test_no_two_texts_have_the_same_translation(language: str) -> None:
    table = languages.read(language)
    assert languages.inverted(languages.inverted(table)) == table


def test_japanese_is_japanese() -> None:
    kept = {
        english
        for english, text in languages.read("ja").items()
        if not any(
            "\u3040" <= character <= "\u30ff" or "\u4e00" <= character <= "\u9fff" for character in text
        )
    }
    assert kept == {"CVAT", "Operating systems"}


@every_language
@every_dashboard
def test_there_and_back_again(dashboard: Dashboard, language: str) -> None:
    table = languages.read(language)
    there = languages.translate(dashboard.model, table)
    assert there != dashboard.model
    assert languages.translate(there, languages.inverted(table)) == dashboard.model


def _untranslated(node: Any) -> Any:
    """Return a dashboard without its texts."""
    keys = {"title", "description", "label", "displayName", "noValue", "axisLabel"}
    if isinstance(node, list):
        return [_untranslated(each) for each in node]
    if not isinstance(node, dict):
        return node
    hidden = (
        keys | ({"name"} if "iconColor" in node else set()) | ({"value"} if node.get("id") in keys else set())
    )
    hidden |= {"query", "current"} if node.get("type") == "custom" else set()
    return {key: _untranslated(value) for key, value in node.items() if key not in hidden}


@every_language
@every_dashboard
def test_nothing_but_texts_changes(dashboard: Dashboard, language: str) -> None:
    there = languages.translate(dashboard.model, languages.read(language))
    assert _untranslated(there) == _untranslated(dashboard.model)


def test_what_is_a_text_and_what_is_not() -> None:
    model = {
        "title": "Board",
        "annotations": {
            "list": [{"name": "Deploys", "iconColor": "blue", "target": {"rawSql": "SELECT 'Board'"}}]
        },
        "panels": [
            {
                "title": "Panel",
                "targets": [{"rawSql": "SELECT 1 AS title", "refId": "A"}],
                "fieldConfig": {
                    "defaults": {"displayName": "${__field.labels.user}", "noValue": "-"},
                    "overrides": [
                        {
                            "matcher": {"id": "byName", "options": "Panel"},
                            "properties": [
                                {"id": "displayName", "value": "Name"},
                                {"id": "links", "value": [{"title": "Link", "url": "/d/Board"}]},
                            ],
                        }
                    ],
                },
            }
        ],
        "templating": {
            "list": [
                {"name": "Board", "label": "Filter", "type": "query"},
                {
                    "name": "kind",
                    "type": "custom",
                    "query": "One : 1, Two : 2",
                    "current": {"text": "Two", "value": "2"},
                },
            ]
        },
    }
    assert languages.texts(model) == ["Board", "Deploys", "Panel", "Name", "Link", "Filter", "One", "Two"]
    there = languages.translate(model, {"One": "一", "Two": "二", "Name": "名"})
    assert there["templating"]["list"][1] == {
        "name": "kind", "type": "custom", "query": "一 : 1, 二 : 2", "current": {"text": "二", "value": "2"},
    }  # fmt: skip
    assert there["panels"][0]["fieldConfig"]["overrides"][0]["properties"][0] == {
        "id": "displayName",
        "value": "名",
    }
    assert there["title"] == "Board"


@pytest.mark.parametrize("text", ["- en: a\n", "en: a", "- en: [", "- 1"])
def test_a_damaged_table_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "ja.yaml").write_text(text)
    with pytest.raises(InputError, match=r"ja\.yaml: is not a list of pairs `en` and `ja`"):
        languages.read("ja", tmp_path)


def test_a_custom_variable_without_texts_is_refused() -> None:
    with pytest.raises(InputError, match="write each choice as `text : value`"):
        languages.texts({"type": "custom", "query": "a, b"})


def test_dashboards_are_rendered_in_the_language_of_the_settings() -> None:
    made = render.dashboards(Settings(grafana_language="ja"))
    assert {name: json.loads(text)["title"] for name, text in made.items()} == {
        "all-events.json": "すべてのイベント",
        "management.json": "作業管理",
        "monitoring.json": "モニタリング",
        "pipeline.json": "パイプライン",
    }


@pytest.mark.parametrize("url", ["", "https://cvat.example.org/"])
@every_dashboard
def test_links_to_cvat_are_there_when_the_settings_say_where_it_is(dashboard: Dashboard, url: str) -> None:
    made = site.for_site(dashboard.model, url, "Asia/Tokyo")
    text = json.dumps(made)
    has_links = "${cvat_url}" in json.dumps(dashboard.model)
    assert ("${cvat_url}" in text) == (bool(url) and has_links)
    constant = [each for each in made.get("templating", {"list": []})["list"] if each["name"] == "cvat_url"]
    assert [each["query"] for each in constant] == ([url] if url and has_links else [])
    zones = [
        each["query"] for each in made.get("templating", {"list": []})["list"] if each["name"] == "time_zone"
    ]
    assert zones == (["Asia/Tokyo"] if "${time_zone}" in json.dumps(dashboard.model) else [])
    assert '"value": []' not in text
    assert '"properties": []' not in text
    assert site.from_site(made, dashboard.model) == dashboard.model


@pytest.mark.parametrize("url", ["", "https://cvat.example.org/"])
def test_links_in_a_collapsed_row_are_links_as_well(url: str) -> None:
    (model,) = (dashboard.model for dashboard in DASHBOARDS if dashboard.title == "Management")
    row = {"id": 99, "type": "row", "title": "Row", "panels": model["panels"]}
    made = site.for_site(collapsed := {**model, "panels": [row]}, url, "Asia/Tokyo")
    assert made["panels"][0]["panels"] == site.for_site(model, url, "Asia/Tokyo")["panels"]
    assert site.from_site(made, collapsed) == collapsed


def test_defaults_need_neither(tmp_path: Path) -> None:
    made = render.dashboards(Settings())
    assert made.keys() == {dashboard.file.name for dashboard in DASHBOARDS}
    assert "cvat_url" not in "".join(made.values())
