"""`GET /api/events`: the protocol that CVAT's users know, and what each parameter and each mistake leads to."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from backports import zstd

from cvat_analytics.store.event_columns import COLUMNS
from tests.api.data import AWKWARD, EVENTS, START, wait_for
from tests.api.harness import Api
from tests.missing import give_up
from tests.waiting import until

HEADER = list(COLUMNS)
BEGIN = (START - timedelta(days=1)).isoformat()


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def download(client: httpx.Client, **parameters: Any) -> str:
    """Ask for an export, wait, and return the file's text."""
    first_answer = client.get("/api/events", params=parameters)
    assert first_answer.status_code == 202, first_answer.text
    query_id = first_answer.json()["query_id"]
    assert wait_for(client, query_id).status_code == 201
    answer = client.get("/api/events", params={"query_id": query_id, "action": "download"})
    assert answer.status_code == 200
    return answer.text


def test_an_export_goes_through_202_201_and_200(as_: Callable[..., httpx.Client]) -> None:
    client = as_("root")
    first_answer = client.get("/api/events", params={"job_id": 300, "filename": "x.csv"})
    assert first_answer.status_code == 202
    query_id = first_answer.json()["query_id"]
    assert uuid.UUID(query_id)
    ready = wait_for(client, query_id)
    assert (ready.status_code, ready.content) == (201, b"")
    head = client.head("/api/events", params={"query_id": query_id})
    assert (head.status_code, head.content) == (201, b"")
    answer = client.get("/api/events", params={"query_id": query_id, "action": "download"})
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == 'attachment; filename="x.csv"'
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert len(rows(answer.text)) == 4
    again = client.get("/api/events", params={"query_id": query_id, "action": "download"})
    assert again.text == answer.text


def test_the_file_has_cvats_columns_times_and_empty_fields(as_: Callable[..., httpx.Client]) -> None:
    text = download(as_("root"), **{"from": BEGIN, "include": "all"})
    assert text.splitlines()[0].replace('"', "").split(",") == HEADER
    lines = rows(text)
    expected = [each for each in EVENTS if each["timestamp"] >= f"{START:%Y-%m-%d}"]
    assert [row["timestamp"] for row in lines] == [f"{each['timestamp']}000+00:00" for each in expected]
    first = lines[0]
    assert (first["count"], first["obj_id"], first["user_email"]) == ("", "", "")
    assert (first["user_id"], first["job_id"], first["duration"]) == ("4", "100", "0")
    awkward = next(row for row in lines if row["scope"] == "send:exception")
    assert (awkward["obj_name"], awkward["payload"]) == (AWKWARD, "")


@pytest.mark.parametrize(
    ("parameters", "count"),
    [
        # CVAT's own rows: an exception is not among them unless it is asked for
        ({}, 23),
        ({"include": "all"}, 24),
        ({"org_id": 1}, 15),
        ({"org_id": 2}, 4),
        ({"project_id": 1}, 10),
        ({"task_id": 30}, 4),
        ({"job_id": 100}, 10),
        ({"user_id": 7}, 4),
        ({"user_id": 7, "job_id": 100}, 0),
        ({"scope": "send:exception"}, 1),
        ({"scope": ["send:exception", "update:job"]}, 2),
        ({"request_id": "rq-12345678"}, 1),
        ({"from": (START + timedelta(seconds=5)).isoformat(), "to": (START + timedelta(seconds=10)).isoformat()}, 5),
        # `to` alone is no range: everything before it, however long ago
        ({"to": (START + timedelta(seconds=9, milliseconds=123)).isoformat(), "user_id": 4}, 10),
        ({"to": f"{START - timedelta(days=50):%Y%m%d}", "user_id": 7}, 1),
        ({"from": f"{START - timedelta(days=200):%Y%m%d}"}, 24),
        ({"from": (START - timedelta(days=200)).isoformat()}, 24),
        ({"from": f"{START:%Y-%m-%dT%H:%M:%S}+00:00"}, 23),
        ({"job_id": "", "user_id": "7", "include": ""}, 4),
    ],
)  # fmt: skip
def test_each_filter_finds_what_it_names(
    as_: Callable[..., httpx.Client], parameters: dict[str, str | int | list[str]], count: int
) -> None:
    assert len(rows(download(as_("root"), **parameters))) == count


def test_a_plus_that_an_url_has_turned_into_a_space_is_understood(as_: Callable[..., httpx.Client]) -> None:
    answer = as_("root").get(f"/api/events?from={START:%Y-%m-%dT%H:%M:%S}+00:00&format=json&limit=1")
    assert answer.status_code == 200
    assert answer.json()["events"][0]["duration"] == 0


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"from": "yesterday"}, "from"),
        # seconds since 1970 by another name: everything would be found
        ({"from": "2026"}, "from"),
        ({"from": "1767225600"}, "from"),
        ({"to": "-5.5"}, "to"),
        ({"from": "20261301"}, "from"),
        ({"to": "2026-13-01"}, "to"),
        ({"from": "2026-01-02", "to": "2026-01-01"}, "from"),
        ({"action": "upload"}, "action"),
        ({"action": "download"}, "query_id"),
        ({"query_id": "5"}, "query_id"),
        ({"job_id": "abc"}, "job_id"),
        ({"job_id": "-1"}, "job_id"),
        ({"user_id": str(2**64)}, "user_id"),
        ({"format": "xlsx"}, "format"),
        ({"jobid": "5"}, "jobid"),
        ({"format": "json", "limit": "0"}, "limit"),
        ({"format": "json", "cursor": "!"}, "cursor"),
        ({"format": "json", "cursor": "WzEsMl0"}, "cursor"),
        # they would be passed over, and everything be found
        ({"format": "csv", "limit": "5"}, "limit"),
        ({"cursor": "WzEsMl0"}, "cursor"),
        ({"job_id": ["300", "301"]}, "job_id"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(
    as_: Callable[..., httpx.Client], parameters: dict[str, str | list[str]], field: str
) -> None:
    answer = as_("root").get("/api/events", params=parameters)
    assert answer.status_code == 400
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (problem["status"], problem["instance"]) == (400, "/api/events")
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert [each["field"] for each in problem["errors"]] == [field]


def test_a_wrong_parameter_is_refused_with_what_to_write(as_: Callable[..., httpx.Client]) -> None:
    answer = as_("root").get("/api/events", params={"jobid": "5", "from": "yesterday"})
    assert {each["field"]: each["reason"] for each in answer.json()["errors"]} == {
        "jobid": "there is none of that name",
        "from": "is not a time. Write it as 2026-01-31 or 2026-01-31T12:00:00Z",
    }


def test_an_unknown_or_foreign_export_is_not_there(as_: Callable[..., httpx.Client]) -> None:
    mine = as_("root").get("/api/events", params={"job_id": 300}).json()["query_id"]
    for query_id in (mine, str(uuid.uuid4())):
        for parameters in ({}, {"action": "download"}):
            answer = as_("admin").get("/api/events", params={"query_id": query_id, **parameters})
            assert (answer.status_code, answer.json()["title"]) == (404, "Not Found")
        assert as_("admin").get(f"/api/requests/{query_id}").status_code == 404
        assert as_("admin").delete(f"/api/requests/{query_id}").status_code == 404
        assert as_("admin").get("/api/events/download", params={"rq_id": query_id}).status_code == 404
    assert wait_for(as_("root"), mine).status_code == 201


def test_the_newer_form_reports_progress_and_where_the_file_is(as_: Callable[..., httpx.Client]) -> None:
    client = as_("root")
    first_answer = client.post(
        "/api/events/export", params={"task_id": 30, "filename": "../../etc/x\n.csv", "location": "local"}
    )
    assert first_answer.status_code == 202
    rq_id = first_answer.json()["rq_id"]
    wait_for(client, rq_id)
    request = client.get(f"/api/requests/{rq_id}").json()
    assert (request["status"], request["progress"], request["message"]) == ("finished", 1.0, "")
    assert request["operation"] == request["operation"] | {"type": "export:events", "task_id": 30}
    assert request["owner"] == {"id": 1, "username": "root"}
    answer = client.get(request["result_url"])
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == 'attachment; filename="x.csv"'
    assert len(rows(answer.text)) == 4
    assert client.get("/api/requests").json()["results"][0]["id"] == rq_id
    assert client.post(f"/api/requests/{rq_id}/cancel").status_code == 409
    assert client.delete(f"/api/requests/{rq_id}").status_code == 204
    assert client.get(f"/api/requests/{rq_id}").status_code == 404
    assert client.get(request["result_url"]).status_code == 404


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ({}, True), ({"status": "finished"}, True), ({"status": "failed"}, False), ({"job_id": 101}, True), ({"job_id": 5}, False),
        ({"action": "export", "target": "events", "format": "jsonl"}, True), ({"action": "import"}, False), ({"target": "task"}, False),
        ({"task_id": 101}, False), ({"page": 1, "page_size": 10, "sort": "-created_date"}, True),
    ],
)  # fmt: skip
def test_the_list_of_requests_can_be_narrowed(
    as_: Callable[..., httpx.Client], parameters: dict[str, str | int], found: bool
) -> None:
    client = as_("owner")
    rq_id = client.post("/api/events/export", params={"job_id": 101, "format": "jsonl"}).json()["rq_id"]
    wait_for(client, rq_id)
    answer = client.get("/api/requests", params=parameters)
    listed = [each["id"] for each in answer.json()["results"]]
    assert (rq_id in listed, answer.json()["count"]) == (found, len(listed))
    head = client.head("/api/requests", params=parameters)
    assert (head.status_code, head.content) == (200, b"")
    assert client.head(f"/api/requests/{rq_id}").status_code == 200


def test_filters_in_the_body_are_not_overlooked(as_: Callable[..., httpx.Client]) -> None:
    client = as_("root")
    for body in (b'{"job_id": 300}', b"job_id=300", b" ", b"{}", b"null"):
        answer = client.post("/api/events/export", content=body, headers={"Content-Type": "application/json"})
        refused = b"job_id" in body
        assert answer.status_code == (400 if refused else 202)
        if refused:
            assert answer.json()["errors"][0]["field"] == "body"


def test_a_cloud_storage_is_refused(as_: Callable[..., httpx.Client]) -> None:
    answer = as_("root").post("/api/events/export", params={"location": "cloud_storage"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "location")


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "arrow"])
def test_a_stream_and_a_file_of_each_form_hold_the_same(as_: Callable[..., httpx.Client], form: str) -> None:
    client = as_("root")
    parameters: dict[str, Any] = {"format": form, "user_id": 7, "include": "all"}
    stream = client.get("/api/events", params=parameters)
    assert stream.status_code == 200
    request_id = client.post("/api/events/export", params=parameters).json()["rq_id"]
    wait_for(client, request_id)
    file = client.get("/api/events/download", params={"rq_id": request_id})
    assert file.headers["content-type"] == stream.headers["content-type"]
    assert file.headers["content-disposition"].endswith(f'.{form}"')
    if form == "csv":
        assert len(rows(stream.text)) == 5
    if form == "jsonl":
        lines = [json.loads(line) for line in stream.text.splitlines()]
        assert [list(line) for line in lines] == [HEADER] * 5
        assert lines[3] == lines[3] | {"obj_name": AWKWARD, "payload": None, "user_id": 7}
    if form == "parquet":
        assert (stream.content[:4], stream.content[-4:]) == (b"PAR1", b"PAR1")
    if form == "arrow":
        assert (stream.content[:6], stream.content[-6:]) == (b"ARROW1", b"ARROW1")
    if form in ("csv", "jsonl"):
        assert file.content == stream.content


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_stream_and_a_file_are_compressed_where_that_is_welcome(
    as_: Callable[..., httpx.Client], encoding: str
) -> None:
    plain = as_("root").get("/api/events", params={"format": "csv"}, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    query_id = as_("root").get("/api/events").json()["query_id"]
    wait_for(as_("root"), query_id)
    for parameters in ({"format": "csv"}, {"query_id": query_id, "action": "download"}):
        answer = as_("root").get("/api/events", params=parameters, headers={"Accept-Encoding": encoding})
        assert answer.headers["content-encoding"] == encoding
        # httpx itself undoes gzip, but not zstd
        text = zstd.decompress(answer.content).decode() if encoding == "zstd" else answer.text
        assert text == plain.text
    refused = as_("root").get(
        "/api/events", params={"format": "csv"}, headers={"Accept-Encoding": f"{encoding};q=0"}
    )
    assert "content-encoding" not in refused.headers


def test_an_interrupted_download_is_taken_up_again(as_: Callable[..., httpx.Client]) -> None:
    client = as_("root", headers={"Accept-Encoding": "gzip"})
    query_id = client.get("/api/events").json()["query_id"]
    wait_for(client, query_id)
    parameters = {"query_id": query_id, "action": "download"}
    whole = client.get("/api/events", params=parameters)
    begin = client.get("/api/events", params=parameters, headers={"Range": "bytes=0-99"})
    rest = client.get(
        "/api/events", params=parameters, headers={"Range": "bytes=100-", "If-Range": begin.headers["etag"]}
    )
    assert (begin.status_code, rest.status_code) == (206, 206)
    assert begin.content + rest.content == whole.content
    assert begin.headers["content-range"] == f"bytes 0-99/{len(whole.content)}"
    beyond = client.get("/api/events", params=parameters, headers={"Range": f"bytes={10**9}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(whole.content)}")
    assert beyond.headers["content-type"] == "application/problem+json"
    assert beyond.json()["detail"] == f"the file has no such part: it is {len(whole.content)} bytes long"
    for no_range in ("lines=1-2", "bytes=5-2", "bytes=first", "bytes", "-"):
        answer = client.get("/api/events", params=parameters, headers={"Range": no_range})
        assert (answer.status_code, answer.content) == (200, whole.content), no_range
    head = client.head("/api/events", params=parameters)
    assert (head.status_code, int(head.headers["content-length"])) == (200, len(whole.content))


@pytest.mark.parametrize("limit", [1, 3, 7, 5000])
def test_pages_hold_every_event_once(as_: Callable[..., httpx.Client], limit: int) -> None:
    client = as_("root")
    url, events = f"/api/events?format=json&limit={limit}", []
    for _ in range(50):
        answer = client.get(url)
        assert answer.status_code == 200
        page = answer.json()
        assert len(page["events"]) <= limit
        events += page["events"]
        if page["next"] is None:
            break
        url = answer.links["next"]["url"]
    assert [each["timestamp"] for each in events] == [row["timestamp"] for row in rows(download(client))]
    assert list(events[0]) == HEADER


def test_head_starts_nothing(as_: Callable[..., httpx.Client]) -> None:
    client = as_("maintainer")
    before = client.get("/api/requests").json()["count"]
    assert client.head("/api/events").status_code == 202
    assert client.head("/api/events", params={"format": "csv"}).status_code == 200
    assert client.head("/api/events", params={"action": "download"}).status_code == 400
    assert client.get("/api/requests").json()["count"] == before


def test_methods_are_named_and_others_are_refused(as_: Callable[..., httpx.Client]) -> None:
    client = as_("root")
    for path, allowed in {
        "/api/events": "GET, POST, HEAD, OPTIONS",
        "/api/events/export": "POST, OPTIONS",
        "/api/requests": "GET, HEAD, OPTIONS",
        f"/api/requests/{uuid.uuid4()}": "GET, HEAD, DELETE, OPTIONS",
        "/api/events/docs": "GET, HEAD, OPTIONS",
        "/api/events/openapi.json": "GET, HEAD, OPTIONS",
        "/health": "GET, HEAD, OPTIONS",
    }.items():
        options = client.options(path)
        assert (options.status_code, options.headers["allow"]) == (204, allowed)
        refused = client.put(path)
        assert (refused.status_code, refused.headers["allow"]) == (405, allowed)
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["detail"] == "PUT cannot be used here; the header `Allow` names what can"
        if "HEAD" in allowed and "requests/" not in path:
            head, got = client.head(path), client.get(path)
            assert (head.status_code, head.content) == (got.status_code, b"")
    nowhere = client.get("/api/event")
    assert nowhere.status_code == 404
    assert (
        nowhere.json()["detail"] == "there is nothing at this address; /api/events/docs lists what there is"
    )


def test_every_answer_has_a_request_id_and_keeps_a_valid_one(
    as_: Callable[..., httpx.Client], api: Api
) -> None:
    client = as_("root")
    for request_id in ("3f2a9b64-77c4-4a52-9d8f-0c5f2a1e7b11", "trace-1234.5678"):
        for path in ("/api/events", "/api/nothing", "/health", "/api/events?from=x"):
            assert (
                client.get(path, headers={"X-Request-Id": request_id}).headers["x-request-id"] == request_id
            )
    for request_id in ("short", "x" * 200, 'a"b c d e f g', "line\\nbreak"):
        made = client.get("/api/events", headers={"X-Request-Id": request_id}).headers["x-request-id"]
        assert uuid.UUID(made)
    assert "request_id=trace-1234.5678 method=GET" in api.log
    assert "password-of" not in api.log


def test_the_three_lines_with_curl(api: Api, tmp_path: Path) -> None:
    program = shutil.which("curl")
    if not program:
        give_up("curl is not installed, and these lines are curl's: run tests/hosts/prepare as root")

    def curl(*arguments: str) -> str:
        done = subprocess.run(
            [program, "-sS", "-u", "root:password-of-root", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    query_id = json.loads(curl(f"{api.url}/api/events?job_id=100&filename=x.csv"))["query_id"]
    options = (
        "-o",
        str(tmp_path / "none"),
        "-w",
        "%{http_code}",
        f"{api.url}/api/events?query_id={query_id}",
    )
    until(lambda: curl(*options), "the file is made", lambda status: status == "201")
    curl(
        "-O", "-J", "--output-dir", str(tmp_path), f"{api.url}/api/events?query_id={query_id}&action=download"
    )
    assert len(rows((tmp_path / "x.csv").read_text())) == 10
    assert len(rows(curl("--compressed", f"{api.url}/api/events?job_id=100&format=csv"))) == 10
