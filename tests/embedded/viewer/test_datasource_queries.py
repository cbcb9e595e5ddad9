"""The viewer answers queries as Grafana's backend does, and says with `smoke` that it is none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from grafana_client import GrafanaApi
from grafana_client.client import GrafanaBadInputError, GrafanaClientError, GrafanaUnauthorizedError

from cvat_analytics.checks import causes, smoke
from cvat_analytics.dashboards import DATASOURCE_TYPE, DATASOURCE_UID
from tests.clickhouse import way_to
from tests.embedded.viewer.conftest import Viewer
from tests.embedded.viewer.test_viewer import api


@pytest.fixture
def grafana(viewer: Viewer) -> Iterator[GrafanaApi]:
    with api(viewer, viewer.login) as client:
        yield client


def body(sql: str, uid: str = DATASOURCE_UID) -> dict[str, object]:
    source = {"type": DATASOURCE_TYPE, "uid": uid}
    query = {"refId": "A", "datasource": source, "format": 1, "rawSql": sql, "intervalMs": 60_000}
    return {"from": "1577836800000", "to": "1577840400000", "queries": [query]}


def test_rows_come_by_column_and_macros_are_expanded(grafana: GrafanaApi) -> None:
    sql = "SELECT number AS n, toString(number) AS t, $__fromTime AS since, $__interval_s AS s FROM numbers(2) -- $__no"
    found = grafana.client.POST("/ds/query", json=body(sql))
    (frame,) = found["results"]["A"]["frames"]
    assert frame["schema"]["fields"] == [
        {"name": "n", "type": "number"},
        {"name": "t", "type": "string"},
        {"name": "since", "type": "time"},
        {"name": "s", "type": "number"},
    ]
    assert frame["data"]["values"] == [[0, 1], ["0", "1"], [1577836800000] * 2, [60, 60]]
    assert "toDateTime(1577836800)" in frame["schema"]["meta"]["executedQueryString"]
    nothing = grafana.client.POST("/ds/query", json=body("SELECT 1 AS one WHERE 0"))
    assert nothing["results"]["A"]["frames"][0]["data"]["values"] == [[]]


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT $__timeFilter", "takes 1 argument"),
        ("SELECT nothing FROM events", "UNKNOWN_IDENTIFIER"),
        ("SELECT $users", "UNKNOWN_IDENTIFIER"),
        ("DROP TABLE events", "READONLY|ACCESS_DENIED"),
    ],
)
def test_a_refusal_is_with_the_query(grafana: GrafanaApi, sql: str, reason: str) -> None:
    with pytest.raises(GrafanaBadInputError, match=reason) as error:
        grafana.client.POST("/ds/query", json=body(sql))
    assert error.value.response["results"]["A"]["status"] == 400


def test_what_is_no_question(grafana: GrafanaApi, viewer: Viewer) -> None:
    with pytest.raises(GrafanaClientError, match="data source not found"):
        grafana.client.POST("/ds/query", json=body("SELECT 1", uid="nobody"))
    for odd in ({}, {"from": "now-1h", "to": "now", "queries": [{}]}, {**body("SELECT 1"), "from": "soon"}):
        with pytest.raises(GrafanaBadInputError):
            grafana.client.POST("/ds/query", json=odd)
    with api(viewer, None) as stranger, pytest.raises(GrafanaUnauthorizedError):
        stranger.client.POST("/ds/query", json=body("SELECT 1"))


def test_smoke_says_that_it_is_the_viewer(viewer: Viewer) -> None:
    access = way_to(viewer.context, grafana=("127.0.0.1", viewer.context.settings.grafana_port))
    checks = [*smoke.Smoke(access, "marker")._grafana()]
    found = {result.name: result for result in causes.results(checks)}["grafana-datasource"]
    assert found.passed, found
    assert found.detail.startswith("the embedded viewer, which stands in for Grafana")
    assert found.detail.endswith("in a query that may take 60 s")
