"""`POST /api/events`: what is refused, what becomes of what is not, and what Vector gets."""

from __future__ import annotations

import concurrent.futures
import gzip
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from cvat_analytics.api import ingest
from cvat_analytics.base.codes import Code
from tests.api.harness import Api, FakeVector


def iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def client_event(moment: datetime, scope: str = "draw:object", **fields: Any) -> dict[str, Any]:
    return {"scope": scope, "timestamp": iso(moment), **fields}


@pytest.fixture
def got(vector: FakeVector) -> FakeVector:
    vector.requests.clear()
    vector.status = 200
    return vector


def test_events_are_corrected_enriched_reported_and_handed_on_at_once(
    as_: Callable[..., httpx.Client], got: FakeVector
) -> None:
    ahead = datetime.now(UTC) + timedelta(hours=2)  # the client's clock
    job: dict[str, Any] = {"job_id": 5, "task_id": 4, "project_id": 3}
    body = {
        "events": [
            client_event(
                ahead - timedelta(seconds=20),
                **job,
                count=2,
                user_id=1,
                user_name="root",
                source="server",
                org_slug="x",
            ),
            client_event(
                ahead - timedelta(seconds=5), "change:frame", **job, duration=3000, payload='{"frame": 7}'
            ),
        ],
        "previous_event": client_event(ahead - timedelta(seconds=50), job_id=9, payload="not JSON"),
        "timestamp": iso(ahead),
    }
    request_id = str(uuid.uuid4())
    before = datetime.now(UTC).timestamp()
    answer = as_("plain").post(
        "/api/events", json=body, headers={"X-Request-Id": request_id, "X-Organization": "first"}
    )
    after = datetime.now(UTC).timestamp()
    assert answer.status_code == 201, answer.text
    (sent,) = got.requests
    assert [each["scope"] for each in sent] == [
        "draw:object",
        "change:frame",
        "send:working_time",
        "send:working_time",
    ]
    first, second, *reports = sent
    assert first == first | {
        "source": "client", "user_id": 4, "user_name": "plain", "user_email": "plain@example.org",
        "org_id": 1, "org_slug": "first", "count": 2, "duration": 0, **job,
    }  # fmt: skip
    assert isinstance(first["timestamp"], str)
    assert before - 20 <= float(first["timestamp"]) <= after - 20
    assert json.loads(second["payload"]) == {"frame": 7, "request": {"id": request_id}}
    assert [json.loads(each["payload"])["request"]["id"] for each in sent] == [request_id] * 4
    # 30 s between the event before and the first belong to the job before; 15 s, and 3 s of a frame, to this one
    assert [(each["job_id"], each["duration"], each["source"]) for each in reports] == [
        (9, 30_000, "server"),
        (5, 18_000, "server"),
    ]
    assert [json.loads(each["payload"])["working_time"] for each in reports] == [30_000, 18_000]
    assert {(each["user_id"], each["org_slug"], each["obj_name"]) for each in reports} == {(4, "first", None)}
    stored = answer.json()["events"]
    assert [each["scope"] for each in stored] == ["draw:object", "change:frame"]
    assert datetime.fromisoformat(stored[0]["timestamp"]).timestamp() == pytest.approx(
        float(first["timestamp"]), abs=1e-6
    )


@pytest.mark.parametrize(
    ("payload", "kept"),
    [
        ('{"working_time": 99999999, "is_active": true}', {"is_active": True}),
        (r'{"working\u005ftime": 99999999}', {}),
        ('{"working_time": 1, "working_time": 99999999}', {}),
        # of no server's form
        ('{"a": {"working_time": 7}}', {"a": {"working_time": 7}}),
        ("[7]", {"payload": [7]}),
    ],
    ids=["plain", "escaped", "twice", "within another", "no object"],
)
def test_clients_report_no_working_time(
    as_: Callable[..., httpx.Client], got: FakeVector, payload: str, kept: dict[str, Any]
) -> None:
    now = datetime.now(UTC)
    body = {"events": [client_event(now, "save:job", payload=payload, working_time=5)], "timestamp": iso(now)}
    answer = as_("plain").post("/api/events", json=body)
    assert answer.status_code == 201, answer.text
    ((sent,),) = got.requests
    for event in (sent, *answer.json()["events"]):
        assert {key: value for key, value in json.loads(event["payload"]).items() if key != "request"} == kept
        assert "working_time" not in event


def test_a_scope_of_a_newer_client_is_taken_where_a_setting_says_so(
    as_: Callable[..., httpx.Client], got: FakeVector
) -> None:
    now = datetime.now(UTC)
    body = {"events": [client_event(now, "tomorrow:scope")], "timestamp": iso(now)}
    assert as_("plain").post("/api/events", json=body).status_code == 201


def test_no_events_make_no_request(as_: Callable[..., httpx.Client], got: FakeVector) -> None:
    answer = as_("plain").post("/api/events", json={"events": [], "timestamp": iso(datetime.now(UTC))})
    assert (answer.status_code, answer.json()["events"], got.requests) == (201, [], [])


def _with(**changes: Any) -> dict[str, Any]:
    moment = "2026-01-01T12:00:00Z"
    return {"events": [{"scope": "load:job", "timestamp": moment, **changes}], "timestamp": moment}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (_with(scope="update:job"), "events.0.scope"),
        (_with(scope="send:working_time"), "events.0.scope"),
        (_with(scope="nonsense"), "events.0.scope"),
        (_with(scope=""), "events.0.scope"),
        (_with(payload="{"), "events.0.payload"),
        (_with(payload="NaN"), "events.0.payload"),
        (_with(payload='{"a": 1e999}'), "events.0.payload"),
        (_with(payload="[" * 100_000), "events.0.payload"),
        (_with(payload={"a": 1}), "events.0.payload"),
        (_with(job_id=-1), "events.0.job_id"),
        (_with(job_id=2**63), "events.0.job_id"),
        (_with(count=2**32), "events.0.count"),
        (_with(duration=2**32), "events.0.duration"),
        (_with(duration=None), "events.0.duration"),
        (_with(timestamp="noon"), "events.0.timestamp"),
        (_with(timestamp="0001-01-01T00:00:00Z"), "events.0.timestamp"),
        ({"events": []}, "timestamp"),
        ({"events": {}, "timestamp": "2026-01-01T12:00:00Z"}, "events"),
        ({**_with(), "previous_event": {"scope": "x"}}, "previous_event.timestamp"),
        ({**_with(), "previous_event": {"scope": "x", "timestamp": "9999-12-31T23:59:59Z"}}, "previous_event.timestamp"),
        ([], "body"),
    ],
)  # fmt: skip
def test_what_cannot_be_stored_is_refused_as_a_whole_with_the_reason(
    as_: Callable[..., httpx.Client],
    got: FakeVector,
    body: object,
    field: str,
) -> None:
    answer = as_("plain").post("/api/events", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["errors"][0]["field"] == field
    assert got.requests == []


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"not json", "application/json", 400),
        (b"", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b'{"timestamp": "2026-01-01T12:00:00Z", "events": [{"scope": "load:job", "obj_name": "\\ud800", "timestamp": "2026-01-01T12:00:00Z"}]}', "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"x" * (9 * 2**20), "application/json", 413),
    ],
)  # fmt: skip
def test_a_body_that_is_no_json_or_too_large_is_refused(
    as_: Callable[..., httpx.Client], got: FakeVector, content: bytes, kind: str, status: int
) -> None:
    answer = as_("plain").post("/api/events", content=content, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert got.requests == []


def test_a_compressed_body_is_refused_as_such(as_: Callable[..., httpx.Client], got: FakeVector) -> None:
    content = gzip.compress(json.dumps(_with()).encode())
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = as_("plain").post("/api/events", content=content, headers=headers)
    assert (answer.status_code, "compressed" in answer.json()["detail"]) == (415, True)
    assert got.requests == []


def test_more_events_than_anybody_has_are_refused_before_they_cost_anything(
    as_: Callable[..., httpx.Client], api: Api, got: FakeVector
) -> None:
    def peak() -> int:
        """Return the most memory that the service has had so far, in KiB."""
        assert api.process
        status = Path(f"/proc/{api.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0])

    as_("plain").post("/api/events", json=_with())
    before = peak()
    got.requests.clear()
    body = b'{"timestamp": "2026-01-01T12:00:00Z", "events": [' + b"{}," * (2**20 * 5 // 2) + b"{}]}"
    answer = as_("plain").post("/api/events", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert len(answer.content) < 10_000
    assert got.requests == []
    # without the limit it is gigabytes
    assert peak() - before < 600 * 1024


def test_one_person_sends_one_large_request_at_a_time(
    as_: Callable[..., httpx.Client], got: FakeVector
) -> None:
    head, text = b'{"timestamp": "2026-01-01T12:00:00Z", "events": [], "more": "', b"x" * ingest.LARGE_BODY
    begun, go_on = threading.Event(), threading.Event()

    def slowly() -> Iterator[bytes]:
        yield head + text
        begun.set()
        assert go_on.wait(60)
        yield b'"}'

    kind = {"Content-Type": "application/json"}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        first = pool.submit(as_("plain").post, "/api/events", content=slowly(), headers=kind)
        try:
            assert begun.wait(60)
            # what was sent before is there once this is answered: another connection would not have to wait for it
            statuses = {"large": 201}
            for _ in range(50):
                statuses["large"] = (
                    as_("plain").post("/api/events", content=head + text + b'"}', headers=kind).status_code
                )
                if statuses["large"] == 429:
                    break
            statuses["small"] = as_("plain").post("/api/events", json=_with()).status_code
            statuses["another's"] = (
                as_("loner").post("/api/events", content=head + text + b'"}', headers=kind).status_code
            )
        finally:
            go_on.set()
        assert (first.result(60).status_code, statuses) == (
            201,
            {"large": 429, "small": 201, "another's": 201},
        )
    assert as_("plain").post("/api/events", content=head + text + b'"}', headers=kind).status_code == 201


@pytest.mark.parametrize(
    ("payload", "stored"),
    [
        (None, {}),
        ("", {}),
        ("[1]", {"payload": [1]}),
        ('"text"', {"payload": "text"}),
        (
            '{"a": "ü", "big": 123456789012345678901234567890}',
            {"a": "ü", "big": 123456789012345678901234567890},
        ),
        ('{"request": {"id": "forged", "method": "GET"}}', {"request": {"method": "GET"}}),
        ('{"request": 5}', {"request": {"payload": 5}}),
    ],
)
def test_the_request_id_is_in_every_payload_and_cannot_be_forged(
    as_: Callable[..., httpx.Client],
    got: FakeVector,
    payload: str | None,
    stored: dict[str, Any],
) -> None:
    answer = as_("plain").post("/api/events", json=_with(payload=payload))
    assert answer.status_code == 201
    stored_payload = json.loads(got.requests[0][0]["payload"])
    assert stored_payload["request"]["id"] == answer.headers["x-request-id"]
    assert stored_payload == {
        **stored,
        "request": {**stored.get("request", {}), "id": stored_payload["request"]["id"]},
    }


def test_an_organization_that_is_not_the_senders_is_refused(
    as_: Callable[..., httpx.Client], got: FakeVector
) -> None:
    for how in (
        {"headers": {"X-Organization": "second"}},
        {"params": {"org": "second"}},
        {"params": {"org_id": 2}},
    ):
        assert as_("plain").post("/api/events", json=_with(), **how).status_code == 403
    assert got.requests == []
    assert (
        as_("plain").post("/api/events", json=_with(), params={"org_id": 1}).json()["events"][0]["org_slug"]
        == "first"
    )


def test_an_administrator_sends_in_any_organization(
    as_: Callable[..., httpx.Client], got: FakeVector
) -> None:
    answer = as_("admin").post("/api/events", json=_with(), headers={"X-Organization": "second"})
    assert (answer.status_code, answer.json()["events"][0]["org_id"]) == (201, 2)
    assert as_("admin").post("/api/events", json=_with(), params={"org": "no-such"}).status_code == 403


def test_numbers_are_texts_where_texts_are_wanted_as_in_cvat(
    as_: Callable[..., httpx.Client], got: FakeVector
) -> None:
    answer = as_("plain").post("/api/events", json=_with(obj_val=5, obj_name=1.5, job_id="100", count="3"))
    assert answer.status_code == 201, answer.text
    sent = got.requests[0][0]
    assert (sent["obj_val"], sent["obj_name"], sent["job_id"], sent["count"]) == ("5", "1.5", 100, 3)
    refused = as_("plain").post("/api/events", json=_with(obj_val=True))
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "events.0.obj_val")


def test_more_than_vector_takes_at_once_is_not_asked_for_again(
    as_: Callable[..., httpx.Client], got: FakeVector
) -> None:
    got.status = 413
    answer = as_("plain").post("/api/events", json=_with())
    assert (answer.status_code, "retry-after" in answer.headers) == (413, False)
    assert "smaller parts" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("previous", "reported"),
    [
        (None, [(5, 10_000)]),
        ({"job_id": 9, "seconds": -99.999}, [(5, 10_000), (9, 99_999)]),
        ({"job_id": 9, "seconds": -100}, [(5, 10_000)]),
        ({"job_id": 9, "seconds": 60}, []),
        ({"job_id": 9, "seconds": -3, "scope": "change:frame", "duration": 7000}, [(5, 6000)]),
        # of no other scope does the duration count
        ({"job_id": 9, "seconds": -3, "scope": "save:job", "duration": 7000}, [(5, 10_000), (9, 3000)]),
    ],
)
def test_working_time_goes_on_from_the_event_before(
    as_: Callable[..., httpx.Client],
    got: FakeVector,
    previous: dict[str, Any] | None,
    reported: list[tuple[int, int]],
) -> None:
    begin = datetime(2026, 1, 1, 12, tzinfo=UTC)
    if previous:
        moment = begin + timedelta(seconds=previous.pop("seconds"))
        previous = client_event(moment, **{"scope": "draw:object", **previous})
    events = [client_event(begin + timedelta(seconds=s), job_id=job) for s, job in ((10, 6), (0, 5))]
    body = {"events": events, "previous_event": previous, "timestamp": iso(begin + timedelta(seconds=15))}
    assert as_("plain").post("/api/events", json=body).status_code == 201
    reports = [each for each in got.requests[0] if each["scope"] == "send:working_time"]
    assert sorted((each["job_id"], each["duration"]) for each in reports) == reported


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, "are not stored"),
        (404, "are not stored"),
        (429, "are not stored"),
        # some events of the request may be in a buffer then
        (400, "not known whether"),
        (500, "not known whether"),
        (503, "not known whether"),
    ],
)
def test_when_vector_does_not_take_the_events_the_answer_is_503(
    as_: Callable[..., httpx.Client], got: FakeVector, status: int, reason: str
) -> None:
    got.status = status
    answer = as_("plain").post("/api/events", json=_with())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert reason in answer.json()["detail"]
    assert answer.json()["code"] == Code.API_NOT_STORED
    got.status = 200
    assert as_("plain").post("/api/events", json=_with()).status_code == 201
