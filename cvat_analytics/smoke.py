"""Prove that a stack works, from outside, as its users use it: the smoke test.

Most checks are cases: a folder in `smoke_cases/` with what to send, what to ask, and what must come back. Adding one
needs no code (docs/smoke.md). The rest asks the parts about themselves.
"""

from __future__ import annotations

import json
import time
import tomllib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from clickhouse_connect.driver.exceptions import ClickHouseError
from grafana_client import GrafanaApi
from grafana_client.client import GrafanaException

from cvat_analytics import dashboards, events, events_api, migrations, render
from cvat_analytics.access import Access, pairs, said
from cvat_analytics.endpoints import Endpoint
from cvat_analytics.errors import CvatAnalyticsError, InputError

CASES = Path(__file__).parent / "smoke_cases"


@dataclass(frozen=True)
class Result:
    """The outcome of one check. `detail` says what was seen, and after a failure what to do."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class Case:
    """One folder of `smoke_cases/`."""

    name: str
    title: str
    user: str
    query: str
    advice: str
    events: str
    expected: list[list[Any]]
    expected_error: str
    timeout: float


def read_cases(directory: Path = CASES) -> list[Case]:
    """Return the cases in `directory` by name. Raises InputError for a folder that is not a case."""
    return [_read_case(folder) for folder in sorted(directory.iterdir()) if folder.is_dir()]


def _read_case(folder: Path) -> Case:
    try:
        about = tomllib.loads((folder / "case.toml").read_text())
        sent, expected = folder / "input.json", folder / "expected.json"
        return Case(
            name=folder.name,
            title=about["title"],
            user=about.get("user", "grafana"),
            query=(folder / "query.sql").read_text(),
            advice=about["advice"],
            events=sent.read_text() if sent.exists() else "",
            expected=json.loads(expected.read_text()) if expected.exists() else [],
            expected_error=about.get("expected_error", ""),
            timeout=about.get("timeout_seconds", 15),
        )
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"smoke case {folder}: {error}. A case has case.toml (title, advice), query.sql, and expected.json or expected_error"
        ) from None


def run(access: Access) -> Iterator[Result]:
    """Yield the result of each check, in order. What the test has sent is removed at the end."""
    marker = f"smoke-{uuid.uuid4()}"
    try:
        yield _check("schema-version", "look at `cvat-analytics deploy --dry`", lambda: _schema(access))
        for case in read_cases():
            yield _check(case.name, case.advice, lambda case=case: _case(access, case, marker))  # type: ignore[misc]
        yield from _dashboards(access)
        yield from _grafana(access)
        if access.events_api:
            yield from _events_api(access, access.events_api, marker)
    finally:
        _remove(access, marker)


def _check(name: str, advice: str, check: Callable[[], str]) -> Result:
    try:
        return Result(name, True, check())
    except (CvatAnalyticsError, ClickHouseError, GrafanaException, OSError, httpx.HTTPError) as error:
        return Result(name, False, f"{said(error)}. What to do: {advice}")


def _schema(access: Access) -> str:
    database = access.database
    scripts = migrations.read(render.ROOT / "clickhouse")
    pending = migrations.pending(scripts, pairs(access.client(), migrations.applied_query(database)))
    if pending:
        raise CvatAnalyticsError(f"database {database} lacks {', '.join(script.name for script in pending)}")
    return f"database {database} has all {len(scripts)} scripts"


def _case(access: Access, case: Case, marker: str) -> str:
    if case.events:
        text = case.events.replace("MARKER", f"{marker}-{case.name}").replace('"NOW"', f'"{time.time():.6f}"')
        vector = access.vector
        events.send(json.loads(text), *vector.address, login=access.vector_login, tls=vector.tls())
    client = access.client(case.user)
    client.database = access.database
    parameters = {"marker": f"{marker}-{case.name}"}
    deadline = time.monotonic() + case.timeout
    begin = time.monotonic()
    while True:
        found: list[list[Any]] = []
        try:
            found = [list(row) for row in client.query(case.query, parameters=parameters).result_rows]
        except ClickHouseError as error:
            if case.expected_error and getattr(error, "name", None) == case.expected_error:
                return case.title
            raise
        if case.expected_error:
            raise CvatAnalyticsError(f"{case.title}: not so, it was allowed")
        if json.loads(json.dumps(found, default=str)) == case.expected:
            waited = f" after {time.monotonic() - begin:.1f} s" if case.events else ""
            return f"{case.title}{waited}"
        if time.monotonic() > deadline:
            raise CvatAnalyticsError(
                f"expected {json.dumps(case.expected)}, found {json.dumps(found, default=str)} after {case.timeout:.0f} s"
            )
        time.sleep(0.2)


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
                    raise CvatAnalyticsError(f"{query.where}: {said(error)}") from None
            return f"all {len(dashboard.queries)} queries of the dashboard {dashboard.title!r} answer"

        advice = "`cvat-analytics deploy` brings the schema to what the dashboards need"
        yield _check(f"dashboard-{dashboard.file.stem}", advice, check)


def _grafana(access: Access) -> Iterator[Result]:
    """Ask Grafana whether its datasource works and whether it has the dashboards."""
    grafana = GrafanaApi.from_url(
        f"{access.grafana.url}{access.grafana.settings.grafana_path}/",
        ("admin", access.secrets["grafana_admin"]),
        timeout=15,
    )

    def datasource() -> str:
        answer = grafana.datasource.health(dashboards.DATASOURCE_UID)
        if answer.get("status") != "OK":
            raise CvatAnalyticsError(f"Grafana's datasource says: {answer.get('message', answer)}")
        return f"Grafana reaches ClickHouse ({answer.get('message', 'OK')})"

    def provisioned() -> str:
        present = {item["uid"] for item in grafana.search.search_dashboards(type_="dash-db")}
        missing = [dashboard.title for dashboard in dashboards.load() if dashboard.uid not in present]
        if missing:
            raise CvatAnalyticsError(f"Grafana lacks the dashboards {', '.join(missing)}")
        return f"Grafana has all {len(dashboards.load())} dashboards"

    yield _check("grafana-datasource", "see Grafana's log, and whether the plugin is installed", datasource)
    yield _check("grafana-dashboards", "see Grafana's log for its provisioning", provisioned)


def _events_api(access: Access, endpoint: Endpoint, marker: str) -> Iterator[Result]:
    """Ask the events API: strangers are refused, and what is sent to it can be read from it."""
    url = f"{endpoint.url}/api/events"
    login = (events_api.ADMIN, access.secrets["events_api_admin"])

    def strangers() -> str:
        status = httpx.get(url, timeout=15, trust_env=False).status_code
        if status != 401:
            raise CvatAnalyticsError(f"the events API answers HTTP {status} to a stranger, not 401")
        return "the events API refuses strangers"

    def there_and_back() -> str:
        now = datetime.now(UTC).isoformat()
        body = {"timestamp": now, "events": [{"scope": "debug:info", "timestamp": now}]}
        begin = time.monotonic()
        with httpx.Client(auth=login, timeout=15, trust_env=False) as client:
            sent = client.post(url, json=body, headers={"X-Request-Id": marker})
            if sent.status_code != 201:
                raise CvatAnalyticsError(
                    f"the events API does not take events: HTTP {sent.status_code} {sent.text[:200]}"
                )
            while True:
                found = client.get(url, params={"format": "jsonl", "request_id": marker})
                if found.status_code == 200 and found.text:
                    return f"an event sent to the events API is readable through it after {time.monotonic() - begin:.1f} s"
                if time.monotonic() - begin > 15:
                    raise CvatAnalyticsError(
                        f"HTTP {found.status_code} and no event after 15 s {found.text[:200]}"
                    )
                time.sleep(0.2)

    advice = "see the events API's log"
    yield _check("events-api-strangers", advice, strangers)
    settings = endpoint.settings
    if not (settings.cvat_server_url or settings.cvat_url):  # with a CVAT only its users can log in
        yield _check("events-api-there-and-back", advice, there_and_back)


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
