"""One case of the smoke test: a folder in `smoke_cases/` with what to send, what to ask, and what must come back.

It asks ClickHouse (`query.sql`), or a component over HTTP (`[request]` in `case.toml`). Adding one needs no code
(docs/reference/smoke.md).
"""

from __future__ import annotations

import json
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from clickhouse_connect.driver.exceptions import ClickHouseError
from pydantic import TypeAdapter, ValidationError

from cvat_analytics.base.errors import CvatAnalyticsError, InputError
from cvat_analytics.config.endpoints import Endpoint
from cvat_analytics.connect.access import Access
from cvat_analytics.connect.http import http_client
from cvat_analytics.pipeline import events

CASES = Path(__file__).parent / "smoke_cases"


class Skipped(Exception):
    """A check has nothing to check in this stack; the text says why."""


@dataclass(frozen=True)
class Request:
    """A request without a login to the component `to`, and what the answer must be."""

    to: Literal["events_api", "gateway", "gateway_http"]
    path: str
    """`GRAFANA` at its beginning is the path below which Grafana answers."""
    status: tuple[int, ...]
    headers: Mapping[str, str] = field(default_factory=dict)
    location: str = ""
    """How the answer's `Location` must begin."""


@dataclass(frozen=True)
class Case:
    """A case, as its folder has it."""

    name: str
    title: str
    advice: str
    request: Request | None
    user: str
    query: str
    events: str
    expected: list[list[Any]]
    expected_error: str
    timeout: float


def read_cases() -> list[Case]:
    """Return the cases in `CASES` by name. Raises InputError for a folder that is not a case."""
    return [_read_case(folder) for folder in sorted(CASES.iterdir()) if folder.is_dir()]


def _read_case(folder: Path) -> Case:
    try:
        about = tomllib.loads((folder / "case.toml").read_text())
        request = TypeAdapter(Request).validate_python(about["request"]) if "request" in about else None
        sent, expected = folder / "input.json", folder / "expected.json"
        return Case(
            name=folder.name,
            title=about["title"],
            advice=about["advice"],
            request=request,
            user=about.get("user", "grafana"),
            query="" if request else (folder / "query.sql").read_text(),
            events=sent.read_text() if sent.exists() else "",
            expected=json.loads(expected.read_text()) if expected.exists() else [],
            expected_error=about.get("expected_error", ""),
            timeout=about.get("timeout_seconds", 15),
        )
    except (OSError, ValueError, KeyError, ValidationError) as error:
        raise InputError(
            f"{folder}: is not a smoke case ({error}). docs/reference/smoke.md says what one needs"
        ) from None


def run(access: Access, case: Case, marker: str) -> str:
    """Carry out a case and return what was seen.

    Raises CvatAnalyticsError, ClickHouseError or httpx.HTTPError when it fails, Skipped when the stack lacks the component.
    """
    if case.request:
        return _request(access, case, case.request)
    return _query(access, case, f"{marker}-{case.name}")


def component(access: Access, name: str) -> Endpoint:
    """Return a component that not every stack has. Raises Skipped where there is none."""
    endpoint: Endpoint | None = getattr(access, name)
    if endpoint is None:
        raise Skipped(
            f"this stack has no {name.removesuffix('_http').replace('_', ' ').replace('api', 'API')}"
        )
    return endpoint


def _request(access: Access, case: Case, request: Request) -> str:
    endpoint = component(access, request.to)
    path = request.path.replace("GRAFANA", endpoint.settings.grafana_path, 1)
    with http_client(endpoint.url, endpoint.tls(), timeout=case.timeout) as asking:
        answer = asking.get(path, headers=request.headers)
    location = answer.headers.get("Location", "")
    if answer.status_code not in request.status:
        expected = " or ".join(map(str, request.status))
        raise CvatAnalyticsError(
            f"{case.title}: not so, {path} was answered HTTP {answer.status_code} and not {expected}"
        )
    if not location.startswith(request.location):
        raise CvatAnalyticsError(f"{case.title}: not so, {path} sends on to {location or 'nowhere'}")
    return f"{case.title} (HTTP {answer.status_code})"


def _query(access: Access, case: Case, marker: str) -> str:
    if case.events:
        text = case.events.replace("MARKER", marker).replace('"NOW"', f'"{time.time():.6f}"')
        vector = access.vector
        events.send(json.loads(text), *vector.address, login=access.vector_login, tls=vector.tls())
    clickhouse = access.client(case.user)
    clickhouse.database = access.database
    deadline = time.monotonic() + case.timeout
    begin = time.monotonic()
    while True:
        rows: list[list[Any]] = []
        try:
            rows = [
                list(row) for row in clickhouse.query(case.query, parameters={"marker": marker}).result_rows
            ]
        except ClickHouseError as error:
            if case.expected_error and getattr(error, "name", None) == case.expected_error:
                return case.title
            raise
        if case.expected_error:
            raise CvatAnalyticsError(f"{case.title}: not so, it was allowed")
        if json.loads(json.dumps(rows, default=str)) == case.expected:
            waited = f" after {time.monotonic() - begin:.1f} s" if case.events else ""
            return f"{case.title}{waited}"
        if time.monotonic() > deadline:
            raise CvatAnalyticsError(
                f"expected {json.dumps(case.expected)}, found {json.dumps(rows, default=str)} after {case.timeout:.0f} s"
            )
        time.sleep(0.2)
