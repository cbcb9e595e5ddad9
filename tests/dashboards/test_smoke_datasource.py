"""`smoke` asks Grafana's datasource for rows: that its health is well says nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cvat_analytics.checks import causes, smoke
from tests.clickhouse import context, way_to
from tests.dashboards.grafana_stand_in import StandIn, serving

REFUSED = (
    "error querying the database: code: 452, message: Setting max_execution_time shouldn't be greater than 60"
)


def datasource_of(grafana: StandIn, directory: Path) -> causes.Result:
    """Return what the check says over that Grafana."""
    made = context(directory)
    grafana.password = made.secrets["grafana_admin"]
    with serving(grafana) as address:
        checks = [*smoke.Smoke(way_to(made, grafana=address), "marker")._grafana()]
        results = {result.name: result for result in causes.results(checks)}
    return results["grafana-datasource"]


def test_rows_are_what_it_wants(tmp_path: Path) -> None:
    asked: list[str] = []

    def query(sql: str) -> dict[str, Any]:
        asked.append(sql)
        return {"status": 200, "frames": [{"schema": {}, "data": {"values": [[12], [55]]}}]}

    found = datasource_of(StandIn("", query=query), tmp_path)
    assert found.passed, found
    assert (
        found.detail
        == "Grafana reads 12 events of the last hour through its datasource, in a query that may take 55 s"
    )
    assert "$__timeFilter_ms(timestamp)" in asked[0]  # the plugin expands it, not we


def test_a_wrong_password_of_the_administrator_is_one_failure(tmp_path: Path) -> None:
    made = context(tmp_path)
    grafana = StandIn("another")
    with serving(grafana) as address:
        checks = [*smoke.Smoke(way_to(made, grafana=address), "marker")._grafana()]
        found = {result.name: result for result in causes.results(checks)}
    assert found["login-grafana-administrator"].passed is False
    assert "HTTP 401" in found["login-grafana-administrator"].detail
    assert "reset-admin-password" in found["login-grafana-administrator"].detail
    for name in ("grafana-datasource", "grafana-dashboards"):
        assert (found[name].passed, found[name].cause) == (None, "login-grafana-administrator")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"error": REFUSED, "status": 500, "frames": []}, "code: 452"),
        ({"status": 200, "frames": []}, "answers no rows"),
        ({"status": 200, "frames": [{"schema": {}, "data": {"values": []}}]}, "answers no rows"),
    ],
)
def test_a_ping_is_not_enough(tmp_path: Path, answer: dict[str, Any], reason: str) -> None:
    found = datasource_of(StandIn("", query=lambda sql: answer), tmp_path)
    assert found.passed is False
    assert reason in found.detail
    assert "What to do" in found.detail
