"""Prove that a stack works, from outside, as its users use it: the smoke test.

Most checks are cases (smoke_case.py). The rest asks the parts about themselves.
"""

from __future__ import annotations

import csv
import io
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx
from clickhouse_connect.driver.exceptions import ClickHouseError

from cvat_analytics import dashboards
from cvat_analytics.base.errors import CvatAnalyticsError, UnreachableHostError
from cvat_analytics.base.project import ROOT
from cvat_analytics.checks import smoke_case
from cvat_analytics.checks.datasource import answered, read_events
from cvat_analytics.checks.smoke_case import Skipped, component, read_cases
from cvat_analytics.connect.access import Access, pairs
from cvat_analytics.connect.clickhouse_errors import error_text
from cvat_analytics.connect.http import http_client
from cvat_analytics.credentials import users
from cvat_analytics.dashboards.grafana import VIEWER
from cvat_analytics.store import migrations, rebuild

_FAILURES = (
    CvatAnalyticsError,
    ClickHouseError,
    OSError,
    httpx.HTTPError,
)
_EVENTS = "/api/events"


@dataclass(frozen=True)
class Result:
    """The outcome of one check. `detail` says what was seen, after a failure also what to do, or why there is nothing to see."""

    name: str
    passed: bool | None
    """None where this stack has nothing to check."""
    detail: str


def run(access: Access) -> Iterator[Result]:
    """Yield the result of each check, in order. What the test has sent is removed at the end.

    Raises UnreachableError when the connection to a host is lost: no check has failed then, they could not be made.
    """
    marker = f"smoke-{uuid.uuid4()}"
    try:
        for result in _results(access, marker):
            if result.passed is False:
                access.ensure_connected()
            yield result
    finally:
        _remove(access, marker)


def _results(access: Access, marker: str) -> Iterator[Result]:
    yield _check("schema-version", "look at `cvat-analytics deploy --dry`", lambda: _schema(access))
    for case in read_cases():
        yield _check(case.name, case.advice, lambda case=case: smoke_case.run(access, case, marker))  # type: ignore[misc]
    yield _check("events-api-export", "see the events API's log", lambda: _export(access, marker))
    yield from _dashboards(access)
    yield from _grafana(access)


def _check(name: str, advice: str, check: Callable[[], str]) -> Result:
    try:
        return Result(name, True, check())
    except Skipped as reason:
        return Result(name, None, str(reason))
    except UnreachableHostError as error:
        return Result(name, None, f"not asked, because {error}")
    except _FAILURES as error:
        return Result(name, False, f"{error_text(error)}. What to do: {advice}")


def _schema(access: Access) -> str:
    database = access.database
    scripts = migrations.read(ROOT / "clickhouse")
    applied = pairs(access.client(), migrations.applied_query(database))
    pending = migrations.pending(scripts, applied)
    if rebuild.pending(scripts, applied):
        raise CvatAnalyticsError(
            f"the table {database}.{rebuild.TABLE} is one of an earlier version and still to be rebuilt"
        )
    if pending:
        raise CvatAnalyticsError(f"database {database} lacks {', '.join(script.name for script in pending)}")
    return f"database {database} has all {len(scripts)} scripts"


def _dashboards(access: Access) -> Iterator[Result]:
    """Run every query of each dashboard as the user grafana, for its default range and no filter."""
    now = datetime.now(UTC)
    week = dashboards.TimeRange(now - timedelta(days=7), now)
    for dashboard in dashboards.load():

        def check(dashboard: dashboards.Dashboard = dashboard) -> str:
            client = access.client("grafana")
            client.database = access.database
            for query in dashboard.queries:
                try:
                    client.query(dashboards.expand(query, dashboard, week))
                except ClickHouseError as error:
                    raise CvatAnalyticsError(f"{query.where}: {error_text(error)}") from None
            return f"all {len(dashboard.queries)} queries of the dashboard {dashboard.title!r} answer"

        advice = "`cvat-analytics deploy` brings the schema to what the dashboards need"
        yield _check(f"dashboard-{dashboard.file.stem}", advice, check)


def _grafana(access: Access) -> Iterator[Result]:
    """Ask Grafana for what it reads through its datasource, and whether it has the dashboards."""

    def datasource() -> str:
        # its health is a ping, which comes back while each query is refused
        who = "Grafana"
        with access.grafana_client(timeout=30) as grafana:
            if str(answered(grafana.get("/api/health")).get("version", "")).endswith(VIEWER):
                who = "the embedded viewer, which stands in for Grafana, its plugin and the plugin's driver here,"
            events, seconds = read_events(grafana)
        return f"{who} reads {events:.0f} events of the last hour through its datasource, in a query that may take {seconds:g} s"

    def provisioned() -> str:
        with access.grafana_client(timeout=30) as grafana:
            present = {
                item["uid"] for item in answered(grafana.get("/api/search", params={"type": "dash-db"}))
            }
        missing = [dashboard.title for dashboard in dashboards.load() if dashboard.uid not in present]
        if missing:
            raise CvatAnalyticsError(f"Grafana lacks the dashboards {', '.join(missing)}")
        return f"Grafana has all {len(dashboards.load())} dashboards"

    yield _check(
        "grafana-datasource",
        "see Grafana's log, and whether the plugin is installed. Code 452: its driver asks for more than users.d allows; deploy again",
        datasource,
    )
    yield _check("grafana-dashboards", "see Grafana's log for its provisioning", provisioned)


def _export(access: Access, marker: str) -> str:
    """Send events to the events API and have them exported, in CVAT's three steps."""
    endpoint = component(access, "events_api")
    if access.asked_cvat:
        raise Skipped(
            "not tried: who calls the events API is asked of CVAT, which knows only its own users. Export something as one of them"
        )
    now = datetime.now(UTC).isoformat()
    # different, or they would be one event sent again; of one moment, or there would be working time between them
    sent = [{"scope": "debug:info", "timestamp": now, "obj_id": number} for number in range(1, 4)]
    login = (users.ADMIN, access.secrets["events_api_admin"])
    conditions = {"request_id": marker}
    with http_client(endpoint.url, endpoint.tls(), timeout=15, login=login) as asking:

        def until(path: str, parameters: dict[str, str], done: Callable[[httpx.Response], bool]) -> None:
            end = time.monotonic() + 15
            while not done(answer := asking.get(path, params=parameters)):
                if not answer.is_success or time.monotonic() > end:
                    raise CvatAnalyticsError(f"HTTP {answer.status_code} from {path}: {answer.text[:200]}")
                time.sleep(0.2)

        begin = time.monotonic()
        answer = asking.post(
            _EVENTS, json={"timestamp": now, "events": sent}, headers={"X-Request-Id": marker}
        )
        if answer.status_code != 201:
            raise CvatAnalyticsError(
                f"it does not take events: HTTP {answer.status_code} {answer.text[:200]}"
            )
        until(
            _EVENTS, conditions | {"format": "jsonl"}, lambda found: len(found.text.splitlines()) >= len(sent)
        )
        readable = time.monotonic() - begin
        answer = asking.get(_EVENTS, params=conditions)
        if answer.status_code != 202:
            raise CvatAnalyticsError(f"it makes no export: HTTP {answer.status_code} {answer.text[:200]}")
        query = {"query_id": answer.json()["query_id"]}
        until(_EVENTS, query, lambda found: found.status_code == 201)
        file = asking.get(_EVENTS, params=query | {"action": "download"}).raise_for_status().text
        asking.delete(f"/api/requests/{query['query_id']}")
    rows = [row["obj_id"] for row in csv.DictReader(io.StringIO(file, newline=""))]
    if sorted(rows) != ["1", "2", "3"]:
        raise CvatAnalyticsError(f"the export has not the three events that were sent, but {rows}")
    return f"events sent to the events API are readable through it after {readable:.1f} s and come back complete in an export"


def _remove(access: Access, marker: str) -> None:
    """Delete what the cases have sent."""
    try:
        client = access.client()
        database = access.database
        for table, column in (
            ("events", "user_email"),
            ("events", "request_id"),
            ("events_dead_letter", "original"),
        ):
            client.command(
                f"DELETE FROM {database}.{table} WHERE {column} LIKE {{like:String}}",
                parameters={"like": f"%{marker}%"},
            )
    except (CvatAnalyticsError, ClickHouseError):
        # ClickHouse is away: a check has already failed, and nothing could have been stored
        return
