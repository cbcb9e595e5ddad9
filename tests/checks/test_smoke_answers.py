"""What ClickHouse answers is called what it is: nothing, a part of an answer, a refusal, no answer in time."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.base.project import ROOT
from cvat_analytics.checks import causes, smoke
from cvat_analytics.checks.causes import Result
from cvat_analytics.store import migrations, smoke_events
from tests.clickhouse import context, way_to
from tests.serving import QuietServer, served

pytestmark = pytest.mark.usefixtures("patience")
Answer = tuple[int, bytes]
SCRIPTS = migrations.read(ROOT / "clickhouse")


def nothing(query: str) -> Answer:
    return 200, b""


def broken(query: str) -> Answer:
    return 200, b'{"meta": [{"name": "a", "type": "String"}], "data": [["x"'


def told(query: str) -> Answer:
    return (
        200,
        b'{"data": [\nCode: 243. DB::Exception: Cannot reserve 1.00 MiB, not enough space. (NOT_ENOUGH_SPACE) (version 26.7.1)',
    )


def refuses(query: str) -> Answer:
    return 500, b"Code: 243. DB::Exception: Cannot reserve 1.00 MiB, not enough space. (NOT_ENOUGH_SPACE)"


@contextmanager
def clickhouse(
    answers: Callable[[str], Answer], greets: Callable[[str], Answer] | None = None
) -> Iterator[int]:
    """Run what stands for a ClickHouse: it lets everybody in, and answers everything else as it is told. Yields its port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            asked = parse_qs(urlsplit(self.path).query).get("query", [""])[0] + query
            code, body = self.answer(asked)
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def answer(self, query: str) -> Answer:
            if self.path == "/ping" or not query:
                return 200, b"Ok.\n"
            if greets:
                return greets(query)
            if "version()" in query:
                return 200, b"26.7.1.1\tUTC\n"
            if "system.settings" in query:
                return 200, b""
            if query.startswith("SELECT 1"):
                return 200, json.dumps({"data": [[1]]}).encode()
            if query.startswith("INSERT"):  # of which a success is an empty answer
                return 500, b"Code: 497. DB::Exception: grafana: Not enough privileges. (ACCESS_DENIED)"
            return answers(query)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with served(QuietServer(("127.0.0.1", 0), Handler)) as server:
        yield int(server.server_address[1])


def found(directory: Path, answers: Callable[[str], Answer]) -> dict[str, Result]:
    with clickhouse(answers) as port:
        made = context(directory, clickhouse_http_port=port)
        return {each.name: each for each in smoke.run(way_to(made))}


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (nothing, "ClickHouse has answered nothing at all"),
        (broken, "ClickHouse's answer breaks off: it ends with"),
        (told, "ClickHouse's answer breaks off: Cannot reserve 1.00 MiB, not enough space"),
        (refuses, "Cannot reserve 1.00 MiB, not enough space"),
    ],
)
def test_an_answer_that_is_none_says_nothing_of_the_schema(
    tmp_path: Path, answers: Callable[[str], Answer], words: str
) -> None:
    results = found(tmp_path, answers)
    schema = results["schema-version"]
    assert schema.passed is False
    assert words in schema.detail
    assert "lacks" not in schema.detail
    # all that asks the same ClickHouse fails for the same reason, once
    failed = {name for name, result in results.items() if result.passed is False}
    assert failed - {"vector", "grafana"} == {"schema-version"}
    assert results["04-vector-cannot-read"].cause == "schema-version"


def test_a_right_that_could_not_be_seen_is_no_right_that_is_too_wide(tmp_path: Path) -> None:
    def out_of_memory(query: str) -> Answer:
        if "schema_migrations" in query:
            return 200, json.dumps({"data": [[each.name, each.checksum] for each in SCRIPTS]}).encode()
        if "system.tables" in query:  # of the views behind what is inserted into nothing is wrong
            return 200, json.dumps({"data": [[""]]}).encode()
        if query.startswith("SELECT count() FROM events SETTINGS max_memory_usage"):
            return 200, json.dumps({"data": [[7]]}).encode()
        return 500, b"Code: 241. DB::Exception: memory limit exceeded. (MEMORY_LIMIT_EXCEEDED)"

    results = found(tmp_path, out_of_memory)
    assert results["schema-version"].passed, results["schema-version"]
    unseen = results["04-vector-cannot-read"].detail
    assert "could not be seen, as memory limit exceeded" in unseen
    assert "widened" not in unseen
    assert "not so, it was allowed" in results["06-grafana-cannot-lift-its-limits"].detail


def test_a_clickhouse_that_never_answers_fails_once_and_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(causes, "STEP_SECONDS", 3.0)
    ends = threading.Event()

    def never(query: str) -> Answer:
        ends.wait()
        return nothing(query)

    try:
        with clickhouse(never, greets=never) as port:
            made = context(tmp_path, clickhouse_http_port=port)
            results = [*smoke.run(way_to(made))]
            ends.set()
    finally:
        ends.set()
    failed = [each for each in results if each.passed is False and each.name not in ("vector", "grafana")]
    assert [each.name for each in failed] == ["clickhouse"]
    assert "What to do" in failed[0].detail
    assert {each.cause for each in results if each.name in ("schema-version", "login-grafana")} == {
        "clickhouse"
    }


@pytest.mark.parametrize("answers", [nothing, broken])
def test_a_clickhouse_whose_answers_are_none_fails_once(
    tmp_path: Path, answers: Callable[[str], Answer]
) -> None:
    def greets(query: str) -> Answer:
        if "version()" in query:
            return 200, b"26.7.1.1\tUTC\n"
        return nothing(query) if "system.settings" in query else answers(query)

    with clickhouse(answers, greets) as port:
        made = context(tmp_path, clickhouse_http_port=port)
        results = [*smoke.run(way_to(made))]
    failed = [each for each in results if each.passed is False and each.name not in ("vector", "grafana")]
    assert [each.name for each in failed] == ["clickhouse"]


def test_an_answer_that_is_none_is_not_taken_for_nothing_to_remove(tmp_path: Path) -> None:
    with clickhouse(nothing) as port:
        client = way_to(context(tmp_path, clickhouse_http_port=port)).client()
        with pytest.raises(CvatAnalyticsError, match="answered nothing at all"):
            smoke_events.remove(client, "cvat", smoke_events.new_marker())
