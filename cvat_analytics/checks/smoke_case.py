"""One case of the smoke test: a folder in `smoke_cases/` with what to send, what to ask, and what must come back.

It asks ClickHouse (`query.sql`), or a component over HTTP (`[request]` in `case.toml`). Adding one needs no code
(docs/reference/smoke.md).
"""

from __future__ import annotations

import json
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from clickhouse_connect.driver.exceptions import ClickHouseError
from pydantic import TypeAdapter, ValidationError

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError, InputError
from cvat_analytics.checks.causes import RefutedError, SkippedError, UnseenError
from cvat_analytics.config.endpoints import Endpoint
from cvat_analytics.connect.access import Access
from cvat_analytics.connect.clickhouse_errors import error_text
from cvat_analytics.connect.http import http_client
from cvat_analytics.pipeline import events
from cvat_analytics.store import smoke_events

CASES = Path(__file__).parent / "smoke_cases"

Asking = Callable[..., Sequence[Sequence[Any]]]
"""Asks ClickHouse as one of its users: takes a query and its parameters by name, returns rows, as `answered_rows` does."""


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

    @property
    def part(self) -> str:
        """Return the check of whether the component is there."""
        return self.to.removesuffix("_http").replace("_", "-")


@dataclass(frozen=True)
class Case:
    """A case, as its folder has it."""

    name: str
    title: str
    advice: str
    request: Request | None
    user: str
    query: str
    before: str
    """What is asked before anything is sent: its one value is `{before:String}` in `query`."""
    events: str
    """Events as JSON, or a text that is sent as it is."""
    needs: tuple[str, ...]
    """The checks without which this one says nothing, beside the parts and logins that it uses."""
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

        def text(*names: str) -> str:
            return next((path.read_text() for name in names if (path := folder / name).exists()), "")

        return Case(
            name=folder.name,
            title=about["title"],
            advice=about["advice"],
            request=request,
            user=about.get("user", "grafana"),
            query="" if request else (folder / "query.sql").read_text(),
            before=text("before.sql"),
            events=text("input.json", "input.txt"),
            needs=tuple(about.get("needs", ())),
            expected=json.loads(text("expected.json") or "[]"),
            expected_error=about.get("expected_error", ""),
            timeout=about.get("timeout_seconds", 15),
        )
    except (OSError, ValueError, KeyError, ValidationError) as error:
        raise InputError(
            Code.FILE_UNREADABLE,
            f"{folder}: is not a smoke case ({error}). docs/reference/smoke.md says what one needs",
        ) from None


def run(access: Access, case: Case, marker: str, asking: Asking) -> str:
    """Carry out a case and return what was seen; `asking` asks ClickHouse as the case's user.

    Raises CvatAnalyticsError, ClickHouseError or httpx.HTTPError when it fails, SkippedError when the stack lacks the component.
    """
    if case.request:
        return _request(access, case, case.request)
    return _query(access, case, f"{marker}-{case.name}", asking)


def component(access: Access, name: str) -> Endpoint:
    """Return a component that not every stack has. Raises SkippedError where there is none."""
    endpoint: Endpoint | None = getattr(access, name)
    if endpoint is None:
        raise SkippedError(
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
        text = f"{case.title}: not so, {path} was answered HTTP {answer.status_code} and not {expected}"
        if answer.is_success:
            raise RefutedError(Code.RIGHT_TOO_WIDE, text)
        raise CvatAnalyticsError(Code.EVENT_NOT_SEEN, text)
    if not location.startswith(request.location):
        raise CvatAnalyticsError(
            Code.EVENT_NOT_SEEN, f"{case.title}: not so, {path} sends on to {location or 'nowhere'}"
        )
    return f"{case.title} (HTTP {answer.status_code})"


def _query(access: Access, case: Case, marker: str, asking: Asking) -> str:
    before = str(asking(case.before)[0][0]) if case.before else ""
    if case.events:
        _send(access, case, marker)
    deadline = time.monotonic() + case.timeout
    begin = time.monotonic()
    while True:
        try:
            rows = [list(row) for row in asking(case.query, marker=marker, before=before)]
        except ClickHouseError as error:
            if case.expected_error and getattr(error, "name", None) == case.expected_error:
                return case.title
            if case.expected_error and getattr(error, "name", None):
                raise UnseenError(
                    Code.CLICKHOUSE_REFUSES, f"{case.title}: could not be seen, as {error_text(error)}"
                ) from None
            raise
        if case.expected_error:
            raise RefutedError(Code.RIGHT_TOO_WIDE, f"{case.title}: not so, it was allowed")
        if json.loads(json.dumps(rows, default=str)) == case.expected:
            waited = f" after {time.monotonic() - begin:.1f} s" if case.events else ""
            return f"{case.title}{waited}"
        if time.monotonic() > deadline:
            raise CvatAnalyticsError(
                Code.EVENT_NOT_SEEN,
                f"expected {json.dumps(case.expected)}, found {json.dumps(rows, default=str)} after {case.timeout:.0f} s",
            )
        time.sleep(0.2)


def _send(access: Access, case: Case, marker: str) -> None:
    now = f"{smoke_events.moment(datetime.now(UTC)).timestamp():.6f}"
    text = case.events.replace("MARKER", marker).replace("NOW", now).strip()
    events.send_text(text, access.vector, access.vector_login, timeout=case.timeout)
