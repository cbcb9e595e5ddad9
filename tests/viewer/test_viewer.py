"""The viewer over HTTP: pages show the data and nothing else, the endpoints answer as Grafana's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from grafana_client import GrafanaApi
from grafana_client.client import GrafanaClientError, GrafanaUnauthorizedError

from cvat_analytics.dashboards import DATASOURCE_UID, load
from tests.dashboards.events import MESSAGES, RANGE, SCOPES, USERS
from tests.store import Store
from tests.viewer.conftest import Viewer, get

TIMES = {"from": round(RANGE.start.timestamp() * 1000), "to": round(RANGE.end.timestamp() * 1000)}
DASHBOARDS = load()
every_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.file.stem)


def page(viewer: Viewer, uid: str, **filters: str | list[str]) -> str:
    """Return a dashboard's page over the events' time range."""
    query = urlencode(TIMES | {f"var-{name}": value for name, value in filters.items()}, doseq=True)
    answer = get(f"{viewer.url}/analytics/d/{uid}/x?{query}")
    assert answer.status == 200, answer.text
    return answer.text


def panel(text: str, title: str) -> str:
    """Return the part of a page that shows one panel."""
    parts = re.findall(r"<section.*?</section>", text, re.DOTALL)
    (found,) = [part for part in parts if re.search(f"<h2>{re.escape(title)} <span", part)]
    return str(found)


@contextmanager
def api(viewer: Viewer, login: tuple[str, str] | None) -> Iterator[GrafanaApi]:
    """Return grafana-client's view of the viewer."""
    grafana = GrafanaApi(
        auth=login, host="127.0.0.1", port=viewer.context.settings.grafana_port, url_path_prefix="analytics/"
    )
    try:
        yield grafana
    finally:
        grafana.client.s.close()


# Pages


@every_dashboard
def test_every_panel_shows_something(viewer: Viewer, dashboard: Any) -> None:
    text = page(viewer, dashboard.uid)
    for each in dashboard.panels:
        part = panel(text, each.title)
        assert 'class="error"' not in part
        assert 'class="empty"' not in part
        assert {"timeseries": "<svg", "barchart": "<svg", "table": "<tbody>", "stat": 'class="number"'}[
            each.type
        ] in part
    assert "a substitute, not Grafana" in text


@every_dashboard
def test_an_empty_time_range_says_so(viewer: Viewer, dashboard: Any) -> None:
    answer = get(f"{viewer.url}/analytics/d/{dashboard.uid}/x?from=0&to=1000000")
    assert answer.status == 200
    assert 'class="error"' not in answer.text
    assert "No data in this time range for these filters." in answer.text


def test_default_time_range_and_home(viewer: Viewer) -> None:
    for path in ("", "/analytics", "/analytics/"):
        answer = get(viewer.url + path)
        assert answer.status == 200
        assert "<h1>All events</h1>" in answer.text
        assert '<option value="now-7d" selected>' in answer.text


def test_list_of_dashboards(viewer: Viewer) -> None:
    text = get(f"{viewer.url}/analytics/dashboards").text
    for dashboard in DASHBOARDS:
        assert (
            f'<a href="/analytics/d/{dashboard.uid}/{dashboard.file.stem}"><strong>{dashboard.title}</strong>'
            in text
        )


def test_a_filter_narrows_every_panel_and_stays_chosen(viewer: Viewer) -> None:
    text = page(viewer, "WvDvWK04k", scopes=[SCOPES[-1]], users=["2", "4"])
    assert set(re.findall(r'<td class="text">([^<]+:[^<]+)</td>', panel(text, "Number of events"))) == {
        "odd:it&#39;s &#34;one&#34; \\"
    }
    assert re.findall(r'name="var-users" value="(\d)" checked', text) == ["2", "4"]
    assert "User: <b>2 chosen</b>" in text


def test_footer_shows_the_total_of_all_rows(viewer: Viewer) -> None:
    part = panel(page(viewer, "WvDvWK04k"), "Number of events")
    counts = [
        int(number.replace(",", "")) for number in re.findall(r'<td class="number">([\d,]+)</td>', part)
    ]
    assert f"<span>Total</span> {sum(counts):,}</td>" in part


def test_durations_have_a_unit_and_json_is_pretty(viewer: Viewer) -> None:
    text = page(viewer, "WvDvWK04k")
    assert re.search(r'<td class="number">\d\.\d\d s</td>', panel(text, "Duration of events"))
    assert "<pre>{\n  &#34;message&#34;: " in panel(text, "Exceptions table")


def test_data_is_text_never_markup(viewer: Viewer, store: Store) -> None:
    evil = "<script>alert(1)</script>\"&'"
    store.insert([{"scope": "draw:object", "source": "client", "timestamp": "2020-01-02 00:00:00.000", "user_id": 9, "user_name": evil,
                   "payload": '{"a": "<img src=x onerror=alert(1)>"}'}])  # fmt: skip
    for dashboard in DASHBOARDS:
        text = get(
            f"{viewer.url}/analytics/d/{dashboard.uid}/x?from=1577836800000&to=1578182400000&var-users={quote(evil)}&var-users=9"
        ).text
        assert "&lt;script&gt;" in text
        assert re.findall(r"<script|<img|onerror=\"|style=|javascript:", text) == []


def test_tricky_names_reach_the_page(viewer: Viewer) -> None:
    text = page(viewer, "w0if6WAVz")
    assert "山田 花子" in text
    assert "x&#39;); DROP TABLE events; --" in text


@pytest.mark.parametrize(
    "value", [*SCOPES, *MESSAGES[:4], *filter(None, USERS.values()), "\\", "'", "$__all$", "${users}", "%27"]
)
def test_any_filter_value_is_answered(viewer: Viewer, value: str) -> None:
    text = page(viewer, "WvDvWK04k", scopes=value, users=value, errors=[value, "b"], jobs=value)
    assert 'class="error"' not in text


def test_links_lead_to_the_other_dashboard_with_the_time_range(viewer: Viewer) -> None:
    part = panel(page(viewer, "EIGSTDAVz"), "All events")
    link = re.search(
        r'<a href="(/analytics/d/w0if6WAVz/management\?[^"]+)" title="Working time of this user">(\d)</a>',
        part,
    )
    assert link
    assert (
        link[1]
        == f"/analytics/d/w0if6WAVz/management?from={TIMES['from']}&amp;to={TIMES['to']}&amp;var-users={link[2]}".replace(
            "&amp;", "&"
        ).replace("&", "&amp;")
    )
    assert get(viewer.url + link[1].replace("&amp;", "&")).status == 200


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("from=yesterday", "time &#39;yesterday&#39;: write now, now-7d or milliseconds since 1970"),
        ("from=now-1h&to=now-2h", "time range from now-1h to now-2h: it ends before it starts"),
        ("from=now-999999y", "time &#39;now-999999y&#39;: write now, now-7d or milliseconds since 1970"),
        (
            "to=999999999999999",
            "time &#39;999999999999999&#39;: write now, now-7d or milliseconds since 1970",
        ),
    ],
)
def test_a_time_that_makes_no_sense_is_explained(viewer: Viewer, query: str, message: str) -> None:
    answer = get(f"{viewer.url}/analytics/d/EIGSTDAVz/x?{query}")
    assert (answer.status, message in answer.text) == (400, True), answer.text


def test_unknown_dashboard(viewer: Viewer) -> None:
    answer = get(f"{viewer.url}/analytics/d/nobody/x")
    assert (answer.status, "There is no such dashboard." in answer.text) == (404, True)


def test_pages_forbid_scripts_and_foreign_content(viewer: Viewer) -> None:
    answer = get(f"{viewer.url}/analytics/dashboards")
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self'")
    style = re.search(r'<link rel="stylesheet" href="([^"]+)">', answer.text)
    assert style
    assert get(viewer.url + style[1]).headers["Content-Type"].startswith("text/css")


# Grafana's endpoints


@pytest.fixture
def grafana(viewer: Viewer) -> Iterator[GrafanaApi]:
    with api(viewer, viewer.login) as client:
        yield client


def test_health_needs_no_login(viewer: Viewer) -> None:
    for prefix in ("", "/analytics"):
        answer = get(f"{viewer.url}{prefix}/api/health")
        assert (answer.status, '"database":"ok"' in answer.text) == (200, True)


def test_version_is_not_a_grafana(grafana: GrafanaApi) -> None:
    assert grafana.connect()["version"] == "13.2.0-viewer"


def test_datasource(grafana: GrafanaApi, viewer: Viewer) -> None:
    found = grafana.datasource.get_datasource_by_uid(DATASOURCE_UID)
    assert found["uid"] == DATASOURCE_UID
    assert found["jsonData"]["port"] == viewer.context.settings.clickhouse_native_port
    assert found["secureJsonFields"] == {"password": True}
    assert viewer.context.secrets["clickhouse_grafana"] not in str(found)
    assert grafana.datasource.health(DATASOURCE_UID) == {"status": "OK", "message": "Data source is working"}
    assert grafana.datasource.health_inquiry(DATASOURCE_UID).success
    for call in (grafana.datasource.get_datasource_by_uid, grafana.datasource.health):
        with pytest.raises(GrafanaClientError, match="Data source not found"):
            call("nobody")


def test_dashboards(grafana: GrafanaApi) -> None:
    found = grafana.search.search_dashboards(type_="dash-db")
    assert [(each["uid"], each["title"], each["url"]) for each in found] == [
        (each.uid, each.title, f"/analytics/d/{each.uid}/{each.file.stem}") for each in DASHBOARDS
    ]
    assert [each["title"] for each in grafana.search.search_dashboards(query="MANAGE")] == ["Management"]
    assert grafana.search.search_dashboards(type_="dash-folder") == []
    for dashboard in DASHBOARDS:
        answer = grafana.dashboard.get_dashboard(dashboard.uid)
        assert (answer["dashboard"], answer["meta"]["provisioned"]) == (dashboard.model, True)
    with pytest.raises(GrafanaClientError, match="Dashboard not found"):
        grafana.dashboard.get_dashboard("nobody")


@pytest.mark.parametrize("login", [None, ("admin", "admin"), ("root", "")], ids=str)
def test_endpoints_need_the_right_login(viewer: Viewer, login: tuple[str, str] | None) -> None:
    with api(viewer, login) as grafana:
        for call in (
            lambda: grafana.datasource.get_datasource_by_uid(DATASOURCE_UID),
            lambda: grafana.datasource.health(DATASOURCE_UID),
            lambda: grafana.search.search_dashboards(type_="dash-db"),
            lambda: grafana.dashboard.get_dashboard("EIGSTDAVz"),
        ):
            with pytest.raises(GrafanaUnauthorizedError):
                call()


def test_what_the_viewer_cannot_draw_is_a_table_and_free_text_is_a_field(viewer: Viewer) -> None:
    query = {
        "refId": "A",
        "rawSql": "SELECT count() AS n FROM events WHERE '${note:customqueryparam:v}' = 'v=%3Ca%27%5C'",
    }
    grid = {"x": 0, "y": 0, "w": 12, "h": 4}
    own = {
        "uid": "own",
        "title": "Own",
        "panels": [
            {
                "type": "row",
                "title": "closed",
                "panels": [{"id": 1, "type": "gauge", "title": "G", "gridPos": grid, "targets": [query]}],
            },
            {"id": 2, "type": "timeseries", "title": "T", "gridPos": grid, "targets": [query]},
            {"id": 3, "type": "text", "title": "X", "gridPos": grid},
        ],
        "templating": {"list": [{"name": "note", "type": "textbox", "query": ""}]},
    }
    file = Path(viewer.context.paths.dashboards, "own.json")
    file.write_text(json.dumps(own))
    try:
        text = page(viewer, "own", note="<a'\\")
        assert re.findall(r'<td class="number">([\d,]+)</td>', text)[0] != "0"
        assert len(re.findall("<tbody>", text)) == 2
        assert "The viewer shows panels with a query only." in panel(text, "X")
        assert '<input type="text" name="var-note" value="&lt;a&#39;\\">' in text
    finally:
        file.unlink()


def test_a_dashboard_file_that_is_broken_is_named(viewer: Viewer) -> None:
    broken = Path(viewer.context.paths.dashboards, "broken.json")
    broken.write_text("{")
    try:
        answer = get(f"{viewer.url}/analytics/dashboards")
        assert (answer.status, "broken.json: is not a dashboard" in answer.text) == (500, True)
    finally:
        broken.unlink()
