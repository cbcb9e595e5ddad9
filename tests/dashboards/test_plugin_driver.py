"""Every panel's and filter's query, in each state of its filters, over the driver of Grafana's plugin as the user grafana.

The driver (clickhouse-go, native protocol) sends settings of its own with every query; what comes back is compared, cell by
cell, with what ClickHouse answers over HTTP. The plugin around it (Grafana's data frames) is not run here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import yaml

from cvat_analytics.dashboards import Dashboard, Query, Values, expand, load
from cvat_analytics.rendering.render import grafana_files
from tests.clickhouse import Store
from tests.dashboards.alerting import MONDAY, NAMES, rule_named, sql_at
from tests.dashboards.conftest import Answers
from tests.dashboards.events import RANGE
from tests.dashboards.flow import Flow
from tests.dashboards.plugin_driver import PluginDriver
from tests.dashboards.test_queries import _choices, _chosen, every_query_of

DASHBOARDS = {dashboard.title: dashboard for dashboard in load()}


def datasource(store: Store) -> Mapping[str, Any]:
    """Return the settings of the datasource as they are provisioned."""
    (file,) = (
        file for file in grafana_files(store.context) if file.path.endswith("datasources/cvat-analytics.yaml")
    )
    (source,) = yaml.safe_load(file.content)["datasources"]
    assert source["jsonData"]["protocol"] == "native"
    return dict(source["jsonData"])


def asked(store: Store, queries: list[str], seconds: int | None = None, **more: Any) -> dict[str, Any]:
    """Return what the program needs to ask as Grafana's plugin does."""
    plugin = datasource(store)
    return {
        "address": f"127.0.0.1:{plugin['port']}",
        "database": plugin["defaultDatabase"],
        "user": plugin["username"],
        "password": store.context.secrets["clickhouse_grafana"],
        "seconds": seconds or int(plugin["queryTimeout"]),
        "open": int(plugin["maxOpenConns"]),
        "idle": int(plugin["maxIdleConns"]),
        "queries": queries,
    } | more


def states(dashboard: Dashboard) -> list[Values]:
    """Return the states of a dashboard's filters that differ."""
    found: list[Values] = []
    for values in _choices():
        chosen = _chosen(dashboard, values)
        if chosen not in found:
            found.append(chosen)
    return found


def comparable(cell: Any) -> Any:
    """Return a cell in the form in which both ways agree: 64-bit numbers may come as texts, whole ones as floats."""
    if isinstance(cell, list):
        return [comparable(each) for each in cell]
    if isinstance(cell, dict):
        return {key: comparable(value) for key, value in cell.items()}
    try:
        return float(cell)
    except (TypeError, ValueError):
        return cell


def rows(answer: Sequence[Mapping[str, Any] | list[Any]]) -> Counter[str]:
    """Return rows without their order, which a query may leave open."""
    return Counter(
        repr([comparable(cell) for cell in (row.values() if isinstance(row, Mapping) else row)])
        for row in answer
    )


@pytest.mark.parametrize("title", DASHBOARDS)
def test_every_query_answers_and_shows_the_same(
    store: Store, answers: Answers, flow: Flow, driver: PluginDriver, title: str
) -> None:
    dashboard = DASHBOARDS[title]
    texts: dict[str, Query] = {}
    for query in every_query_of(dashboard):
        time_range = flow.range if title == "Pipeline" or "deployments" in query.sql else RANGE
        for values in states(dashboard):
            texts.setdefault(expand(query, dashboard, time_range, values=values), query)
    different, compared = list(texts), 0
    for attempt in range(10):  # some figures are of now, and move between one way and the other
        found = dict(zip(different, driver.query(asked(store, different)), strict=True))
        assert not {texts[sql].where: answer["error"] for sql, answer in found.items() if answer["error"]}
        different = []
        for sql, answer in found.items():
            if attempt or sql not in answers:
                answers[sql] = store.rows(sql)
            expected = answers[sql]
            if expected and answer["rows"]:
                assert answer["columns"] == list(expected[0]), sql
            if rows(answer["rows"]) != rows(expected):
                different.append(sql)
            compared += bool(expected)
        if not different:
            break
    # how much room a disk has changes by the moment where others write to it
    assert not [texts[sql].where for sql in different if "storage_disks" not in sql]
    assert compared > len(texts) / 3


def test_every_alert_asks_something_that_is_answered(store: Store, driver: PluginDriver) -> None:
    queries = [sql_at(rule_named(name), MONDAY) for name in NAMES]
    assert [answer["error"] for answer in driver.query(asked(store, queries))] == [""] * len(queries)


def test_twenty_people_who_open_pipeline_at_once_see_no_error(
    shared_engine: Store, flow: Flow, driver: PluginDriver
) -> None:
    """Everything at the same moment: what is more than the pool's connections waits in it."""
    dashboard = DASHBOARDS["Pipeline"]
    queries = [expand(query, dashboard, flow.range) for query in every_query_of(dashboard)] * 20
    with shared_engine.another() as empty:
        assert len(queries) > 20 * empty.context.settings.grafana_max_queries
        answers = driver.query(asked(empty, queries, at_once=True))
    assert Counter(answer["error"] for answer in answers) == {"": len(queries)}


def test_more_connections_than_the_user_may_have_would_be_refused(store: Store, driver: PluginDriver) -> None:
    """As with the plugin's own default of 50."""
    queries = ["SELECT sleep(3)"] * 50
    answers = driver.query(asked(store, queries, at_once=True, open=50, idle=25))
    most = store.context.settings.grafana_max_queries
    assert (
        sum("TOO_MANY_SIMULTANEOUS_QUERIES" in a["error"] or "code: 202" in a["error"] for a in answers)
        >= 50 - 2 * most
    )


def test_what_the_plugin_would_ask_without_our_timeout_is_refused(store: Store, driver: PluginDriver) -> None:
    """The plugin's own default of 60 s: the driver makes 64 or 65 of it. A ping goes through all the while."""
    (answer,) = driver.query(asked(store, ["SELECT 1"], seconds=60))
    assert "max_execution_time shouldn't be greater than 60" in answer["error"]
    (answer,) = driver.query(asked(store, ["SELECT getSetting('max_execution_time') AS seconds"]))
    assert answer["error"] == ""
    assert 50 <= float(answer["rows"][0][0]) <= 55


def test_an_error_of_clickhouse_arrives(store: Store, driver: PluginDriver) -> None:
    (answer, other) = driver.query(asked(store, ["SELECT nothing FROM events", "SELECT 1 AS one"]))
    assert "UNKNOWN_IDENTIFIER" in answer["error"] or "Unknown expression" in answer["error"]
    assert other == {"columns": ["one"], "rows": [[1]], "error": ""}
