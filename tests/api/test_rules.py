"""The parts that need no service: working time against its stated rule, limits, names, cursors."""

from __future__ import annotations

import asyncio
import io
import json
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cvat_analytics.api import export_store, problems, queries, streams
from cvat_analytics.api.clickhouse import written
from cvat_analytics.api.filters import Filters
from cvat_analytics.api.problems import Problem
from cvat_analytics.api.tracing import Tracing
from cvat_analytics.api.working_time import DURATION_SCOPES, THRESHOLD_MS, Action, Ids, amounts
from tests.store.working_time import reference as stated

IDS = st.builds(Ids, st.none() | st.integers(1, 3), st.none() | st.integers(1, 2), st.none())
ACTIONS = st.lists(
    st.builds(
        Action,
        st.integers(0, 400_000) | st.sampled_from([0, 100_000, 99_999, 100_001, 200_000]),
        st.sampled_from(["change:frame", "draw:object"]),
        st.integers(0, 150_000),
        IDS,
    ),
    max_size=12,
)


def as_stated(action: Action, number: int) -> stated.Event:
    return stated.Event(
        1, action.at_ms, action.scope, action.duration_ms,
        stated.Ids(None, action.ids.project_id, action.ids.task_id, action.ids.job_id), other_columns=number,
    )  # fmt: skip


@pytest.mark.parametrize(
    "text", ["T" * 60_000, "1T" * 30_000, "1T1 " * 15_000, "2026-01-01T" + "1:" * 30_000]
)
def test_a_time_that_is_none_is_refused_at_once(text: str) -> None:
    took = []
    for _ in range(3):
        began = time.process_time()
        with pytest.raises(ValidationError):
            Filters.model_validate({"from": text})
        took.append(time.process_time() - began)
    # a thousandth of it is the rule; a pause of the machine is not in all three
    assert min(took) < 0.5


def test_the_rules_numbers_are_the_stated_ones() -> None:
    assert (THRESHOLD_MS, DURATION_SCOPES) == (stated.THRESHOLD_MS, stated.DURATION_SCOPES)


@given(ACTIONS, st.booleans())
def test_working_time_follows_the_stated_rule(actions: list[Action], after_another: bool) -> None:
    previous = Action(-50_000, "change:frame", 20_000, Ids(9, None, None)) if after_another else None
    events = [as_stated(action, number) for number, action in enumerate(actions)]
    first = [as_stated(previous, -1)] if previous else []
    expected: dict[Ids, int] = {}
    for span in stated.spans([*first, *events]):
        if span.event not in first and span.end_ms > span.start_ms:
            ids = Ids(span.ids.job_id, span.ids.task_id, span.ids.project_id)
            expected[ids] = expected.get(ids, 0) + span.end_ms - span.start_ms
    assert {ids: amount.milliseconds for ids, amount in amounts(actions, previous).items()} == expected


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("", ""),
        ("gzip, deflate", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("zstd;q=0, gzip;q=0.5", "gzip"),
        ("identity", ""),
        ("gzip;q=0", ""),
    ],
)
def test_the_encoding_is_what_the_caller_takes(accepted: str, encoding: str) -> None:
    assert streams.chosen_encoding(accepted) == encoding


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"),
        ("a\\b\tc\n'", "a\\\\b\\tc\\n'"),
        (["a'b", "c\\"], "['a\\'b','c\\\\']"),
        ([1, 2], "[1,2]"),
    ],
)
def test_parameters_are_written_as_clickhouse_reads_them(value: Any, text: str) -> None:
    assert written(value) == text


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (None, "events_now.csv"), ("", "events_now.csv"), ("x.csv", "x.csv"), ("../../etc/passwd", "passwd"), ("a\\b.csv", "b.csv"),
        ("\r\nSet-Cookie: x", "Set-Cookie: x"), ("...", "events_now.csv"), ("büro.csv", "büro.csv"),
    ],
)  # fmt: skip
def test_a_file_name_is_nothing_but_a_name(text: str | None, name: str) -> None:
    assert queries.file_name(text, queries.FORMATS["csv"], "now") == name


def test_a_header_holds_any_name() -> None:
    assert streams.disposition('a"b.csv') == "attachment; filename=\"a_b.csv\"; filename*=UTF-8''a%22b.csv"
    assert streams.disposition("büro.csv").encode("latin-1")


@given(st.text(max_size=40))
def test_a_text_is_no_cursor(text: str) -> None:
    with pytest.raises(Problem, match="cursor"):
        queries.read_cursor(text)


def test_a_cursor_is_read_as_it_was_written() -> None:
    cursor = queries.Cursor(1_700_000_000_123, 2**64 - 1, 0, 4_000_000_000_000)
    assert queries.read_cursor(cursor.text()) == cursor


def test_compressing_keeps_the_bytes() -> None:
    import gzip

    data = b"".join(b"line %d\n" % n for n in range(100_000))
    source = io.BytesIO(data)
    pieces = iter(lambda: source.read(65536), b"")
    assert gzip.decompress(b"".join(streams.compressed(pieces, "gzip"))) == data


def job(**fields: Any) -> export_store.Job:
    about: dict[str, Any] = {
        "id": "a", "owner": "cvat:1", "owner_id": 1, "owner_name": "root", "request_id": "r", "format": "csv", "filename": "x.csv",
        "filters": {}, "conditions": [], "parameters": {}, "created": 1.0,
    }  # fmt: skip
    return export_store.Job(**{**about, **fields})


def test_what_a_crash_leaves_is_begun_anew_and_never_taken_for_complete(tmp_path: Path) -> None:
    store = export_store.ExportStore(tmp_path)
    for name, status in (
        ("queued", "queued"),
        ("begun", "started"),
        ("cut", "finished"),
        ("whole", "finished"),
    ):
        store.write(job(id=name, status=status, size=5, attempts=1))
    store.part("begun").write_text("half")
    store.file("cut").write_text("1234")
    store.file("whole").write_text("12345")
    store.write(job(id="often", status="started", attempts=export_store.ATTEMPTS))
    (tmp_path / "odd").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "job.json").write_text(json.dumps({"id": "broken"}))
    exports = {each.id: each for each in store.load(100.0, 10.0)}
    assert {name: each.status for name, each in exports.items()} == {
        "queued": "queued", "begun": "queued", "cut": "queued", "whole": "finished", "often": "failed",
    }  # fmt: skip
    assert (exports["often"].expires, "3 times" in exports["often"].message) == (110.0, True)
    assert not store.part("begun").exists()
    assert not store.file("cut").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["begun", "cut", "often", "queued", "whole"]


def test_a_file_that_the_disk_takes_only_a_part_of_is_an_error(tmp_path: Path) -> None:
    store = export_store.ExportStore(tmp_path)
    store.write(job())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (export_store._WRITE_BACK + 10, limits[1]))
        with pytest.raises(OSError, match="File too large"), store.writing("a") as write:
            write(b"x" * (export_store._WRITE_BACK + 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with store.writing("a") as write:
        for _ in range(3):
            write(b"y" * export_store._WRITE_BACK)
    assert store.complete("a") == 3 * export_store._WRITE_BACK
    assert set(store.file("a").read_bytes()) == set(b"y")


def test_a_failure_of_the_service_is_a_problem_that_does_not_say_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    application = FastAPI()
    problems.install(application)

    @application.get("/failing")
    async def failing() -> None:
        raise RuntimeError("an inner secret")

    @application.get("/half")
    async def half() -> StreamingResponse:
        def pieces() -> Iterator[bytes]:
            yield b"half"
            raise RuntimeError("an inner secret")

        return StreamingResponse(pieces())

    async def get(path: str) -> httpx.Response:
        service = httpx.ASGITransport(Tracing(application, lambda path: "GET"))
        async with httpx.AsyncClient(transport=service, base_url="http://api") as client:
            return await client.get(path, headers={"X-Request-Id": "trace-12345678"})

    answer = asyncio.run(get("/failing"))
    assert (answer.status_code, answer.headers["content-type"]) == (500, problems.MEDIA_TYPE)
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == "trace-12345678"
    assert "secret" not in answer.text
    assert "request_id=trace-12345678 failed" in caplog.text
    # what has begun cannot be taken back: the server has to break it off
    with pytest.raises(RuntimeError):
        asyncio.run(get("/half"))
