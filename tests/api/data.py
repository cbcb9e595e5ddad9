"""The events that the tests of the API look for, and how they wait for an export of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from tests.waiting import until

START = datetime.now(UTC).replace(microsecond=0) - timedelta(days=2)
"""When the events begin; all lie within the last 30 days."""
AWKWARD = 'a "quoted", text\nwith lines; ünïcode'


def event(number: int, **fields: Any) -> dict[str, Any]:
    """Return a row of the event table, the `number`-th in time."""
    moment = START + timedelta(seconds=number, milliseconds=123)
    return {
        "scope": "save:job",
        "source": "client",
        "timestamp": f"{moment:%Y-%m-%d %H:%M:%S.%f}"[:-3],
        "duration": abs(number),
        "payload": json.dumps({"number": number}),
        **fields,
    }


# organization 1: the users 4, 5, 6; organization 2: the users 3 and 6; user 7 is alone
EVENTS = [
    *(
        event(
            n, user_id=4, user_name="plain", org_id=1, org_slug="first", project_id=1, task_id=10, job_id=100
        )
        for n in range(10)
    ),
    *(
        event(n, user_id=5, user_name="owner", org_id=1, org_slug="first", task_id=11, job_id=101)
        for n in range(10, 15)
    ),
    *(
        event(n, user_id=3, user_name="flagged", org_id=2, org_slug="second", task_id=20, job_id=200)
        for n in range(20, 24)
    ),
    *(event(n, user_id=7, user_name="loner", task_id=30, job_id=300) for n in range(30, 33)),
    event(
        40, user_id=7, user_name="loner", obj_name=AWKWARD, obj_val="", payload=None, scope="send:exception"
    ),
    event(
        41,
        user_id=7,
        user_name="loner",
        payload=json.dumps({"request": {"id": "rq-12345678"}}),
        scope="update:job",
        source="server",
    ),
    event(-100 * 86400, user_id=7, user_name="loner", job_id=300, task_id=30),
]


def wait_for(client: httpx.Client, query_id: str) -> httpx.Response:
    """Ask until an export is not on its way any more, and return that answer."""
    return until(
        lambda: client.get("/api/events", params={"query_id": query_id}),
        f"the export {query_id} is done",
        lambda answer: answer.status_code != 202,
    )
