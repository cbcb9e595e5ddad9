"""The events API, from taking events to an export of them, as one check of the smoke test."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable
from datetime import UTC, datetime

import httpx

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.checks.causes import STEP_SECONDS, SkippedError
from cvat_analytics.checks.smoke_case import component
from cvat_analytics.connect.access import Access
from cvat_analytics.connect.http import http_client, understood
from cvat_analytics.credentials import users
from cvat_analytics.store import smoke_events

_EVENTS = "/api/events"
_PATIENCE = STEP_SECONDS - 2
"""Seconds for all of it."""


def export(access: Access, marker: str) -> str:
    """Send events to the events API, have them exported in CVAT's three steps, and return what was seen."""
    endpoint = component(access, "events_api")
    if access.asked_cvat:
        raise SkippedError(
            "not tried: who calls the events API is asked of CVAT, which knows only its own users. Export something as one of them"
        )
    now = datetime.now(UTC)
    # different, or they would be one event sent again; of one moment, or there would be working time between them
    moment = smoke_events.moment(now).isoformat()
    sent = [{"scope": "debug:info", "timestamp": moment, "obj_id": number} for number in range(1, 4)]
    login = (users.ADMIN, access.secrets["events_api_admin"])
    begin = time.monotonic()
    # without an end, everything until now is meant
    conditions = {"request_id": marker, "to": smoke_events.END.isoformat()}
    with http_client(endpoint.url, endpoint.tls(), timeout=_PATIENCE, login=login) as asking:

        def until(path: str, parameters: dict[str, str], done: Callable[[httpx.Response], bool]) -> None:
            while not done(answer := asking.get(path, params=parameters)):
                if not answer.is_success or time.monotonic() > begin + _PATIENCE:
                    raise CvatAnalyticsError(
                        Code.EXPORT_UNPROVEN, f"HTTP {answer.status_code} from {path}: {answer.text[:200]}"
                    )
                time.sleep(0.2)

        answer = asking.post(
            _EVENTS, json={"timestamp": now.isoformat(), "events": sent}, headers={"X-Request-Id": marker}
        )
        if answer.status_code == 401:
            raise CvatAnalyticsError(
                Code.EXPORT_UNPROVEN,
                f"it does not let in its local user {users.ADMIN} with the password of the stack's secrets, which a deploy puts there",
            )
        if answer.status_code != 201:
            raise CvatAnalyticsError(
                Code.EXPORT_UNPROVEN,
                f"it does not take events: HTTP {answer.status_code} {answer.text[:200]}",
            )
        until(
            _EVENTS, conditions | {"format": "jsonl"}, lambda found: len(found.text.splitlines()) >= len(sent)
        )
        readable = time.monotonic() - begin
        answer = asking.get(_EVENTS, params=conditions)
        if answer.status_code != 202:
            raise CvatAnalyticsError(
                Code.EXPORT_UNPROVEN, f"it makes no export: HTTP {answer.status_code} {answer.text[:200]}"
            )
        with understood(answer):
            query = {"query_id": str(answer.json()["query_id"])}
        until(_EVENTS, query, lambda found: found.status_code == 201)
        file = asking.get(_EVENTS, params=query | {"action": "download"}).raise_for_status()
        asking.delete(f"/api/requests/{query['query_id']}")
    with understood(file):
        rows = [str(row["obj_id"]) for row in csv.DictReader(io.StringIO(file.text, newline=""))]
    if sorted(rows) != ["1", "2", "3"]:
        raise CvatAnalyticsError(
            Code.EXPORT_UNPROVEN, f"the export has not the three events that were sent, but {rows}"
        )
    return f"events sent to the events API are readable through it after {readable:.1f} s and come back complete in an export"
