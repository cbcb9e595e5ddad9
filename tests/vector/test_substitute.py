"""The substitute for Vector as a process, between CVAT's client and a ClickHouse that does as it is told.

These tests say nothing about Vector.
"""

from __future__ import annotations

import gzip
import json
import resource
import subprocess
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from cvat_analytics import demo
from cvat_analytics.base.errors import UnreachableError
from cvat_analytics.config import limits
from cvat_analytics.pipeline import events, journal
from cvat_analytics.pipeline.journal_text import Damage
from tests.clickhouse import free_ports
from tests.vector.fake_clickhouse import FakeClickHouse, fake_clickhouse
from tests.vector.running import Substitute, substitute
from tests.waiting import until


@pytest.fixture(scope="module")
def clickhouse() -> Iterator[FakeClickHouse]:
    with fake_clickhouse() as fake:
        yield fake


@pytest.fixture(scope="module")
def vector(clickhouse: FakeClickHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Substitute]:
    with substitute(tmp_path_factory.mktemp("vector"), clickhouse.port) as running:
        yield running


def event(name: str, **fields: Any) -> dict[str, Any]:
    return {"scope": "load:cvat", "timestamp": "1733480873.184401", "obj_name": name} | fields


def stored(clickhouse: FakeClickHouse, prefix: str) -> list[str]:
    names = [row["obj_name"] for row in clickhouse.rows() if row["obj_name"]]
    return sorted(name for name in names if name.startswith(prefix))


def test_a_session_sent_by_cvats_client_arrives_and_is_in_the_journal(
    vector: Substitute, clickhouse: FakeClickHouse
) -> None:
    people = demo.live(seed=7, start=datetime.now(UTC) - timedelta(hours=1))
    session = [event | {"user_id": event["user_id"] + 900} for event in islice(people, 200)]
    events.send(session, "127.0.0.1", vector.port)
    until(
        lambda: sum((row["user_id"] or 0) >= 900 for row in clickhouse.rows()) >= len(session),
        "all rows",
    )
    rows = [row for row in clickhouse.rows() if (row["user_id"] or 0) >= 900]
    assert [(row["scope"], row["payload"]) for row in rows] == [
        (sent["scope"], sent["payload"]) for sent in session
    ]
    # a new hour may have begun since the first event
    files = sorted(vector.root.glob("var/lib/vector/journal/events-*.jsonl"))
    kept = [json.loads(line) for file in files for line in file.read_bytes().splitlines()]
    assert [row for row in kept if (row["user_id"] or 0) >= 900] == [
        row | {"sender": "127.0.0.1"} for row in rows
    ]


def test_the_insert_is_the_one_that_vector_makes(vector: Substitute, clickhouse: FakeClickHouse) -> None:
    vector.request("POST", body=json.dumps([event("insert")]))
    until(lambda: stored(clickhouse, "insert"), "the row")
    assert clickhouse.requests[-1] == {
        "database": "cvat",
        "query": "INSERT INTO incoming_events FORMAT JSONEachRow",
        "input_format_skip_unknown_fields": "0",
        "input_format_parallel_parsing": "0",
        "async_insert": "0",
        "insert_deduplicate": "1",
        "authorization": "Basic dmVjdG9yOnBhc3Mgd29yZA==",  # vector:pass word
    }


def test_what_is_no_event_becomes_a_dead_letter_and_is_answered_200(
    vector: Substitute, clickhouse: FakeClickHouse
) -> None:
    body = json.dumps([event("neighbour"), event("bad", task_id=-1)])
    assert vector.request("POST", body=body) == (200, b"")
    assert vector.request("POST", body=b"caf\xe9 <html>") == (200, b"")
    until(lambda: len(clickhouse.rows("events_dead_letter")), "two dead letters", lambda seen: seen == 2)
    letters = {letter["reason"]: letter["original"] for letter in clickhouse.rows("events_dead_letter")}
    assert letters == {
        "bad task_id": json.dumps(event("bad", task_id=-1)),
        "not UTF-8": "caf\N{REPLACEMENT CHARACTER} <html>",
    }
    until(lambda: stored(clickhouse, "neighbour"), "the neighbour")


@pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)]
)
def test_content_encodings(
    encoding: str, compress: Any, vector: Substitute, clickhouse: FakeClickHouse
) -> None:
    body = compress(json.dumps(event(f"encoding {encoding}")).encode())
    assert vector.request("POST", body=body, headers={"Content-Encoding": encoding})[0] == 200
    until(lambda: stored(clickhouse, f"encoding {encoding}"), "the row")


@pytest.mark.parametrize(
    ("status", "method", "path", "body", "encoding"),
    [
        (404, "POST", "/elsewhere", b"[]", "identity"),
        (405, "PUT", "/", b"[]", "identity"),
        (413, "POST", "/", gzip.compress(bytes(limits.VECTOR_BODY + 1), 1), "gzip"),
        (415, "POST", "/", b"[]", "br"),
        (422, "POST", "/", b"[]", "gzip"),
        (422, "POST", "/", gzip.compress(b"[]")[:-5], "gzip"),
    ],
    ids=["other path", "other method", "too large", "unknown encoding", "not gzip", "cut gzip"],
)
def test_refused_requests(
    status: int, method: str, path: str, body: bytes, encoding: str, vector: Substitute
) -> None:
    assert vector.request(method, path, body, {"Content-Encoding": encoding})[0] == status


@pytest.mark.parametrize("answer", [(500, "Code: 117. DB::Exception: Unknown field"), (429, "")])
def test_what_clickhouse_answered_is_in_the_log(
    answer: tuple[int, str], vector: Substitute, clickhouse: FakeClickHouse
) -> None:
    clickhouse.answers += [answer]
    name = f"kept {answer}"
    vector.request("POST", body=json.dumps(event(name)))
    until(lambda: stored(clickhouse, name), "the row", lambda seen: seen == [name])
    assert "cannot deliver, trying again in" in vector.log
    assert f"HTTP {answer[0]} {answer[1]}".rstrip() in vector.log


def tried(vector: Substitute, times: int) -> bool:
    return vector.log.count("trying again") >= times


def test_kill_9_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    accepted: list[str] = []
    with substitute(tmp_path, port) as vector:
        for round_ in range(3):  # ClickHouse is away
            for number in range(5):
                names = [f"{round_} {number} {index}" for index in range(10)]
                assert vector.request("POST", body=json.dumps([event(name) for name in names]))[0] == 200
                accepted += names
            until(partial(tried, vector, round_ + 1), "a batch in flight")
            vector.kill()
            torn = max(tmp_path.glob("var/lib/vector/substitute/events/*.jsonl"))
            with torn.open("ab") as file:
                file.write(b'{"scope":"torn by the k')
            vector.start()
        with fake_clickhouse(port) as clickhouse:
            clickhouse.answers += [(503, "busy")]
            until(lambda: len(clickhouse.rows()), "all rows", lambda seen: seen >= len(accepted))
            # killed between the insert and its acknowledgement: the same batch is sent again, which is recognised
            vector.kill()
            lines = torn.read_bytes().splitlines(keepends=True)
            last = sum(map(len, lines[-clickhouse.batches[-1] :]))
            end = sum(map(len, lines))
            (torn.parent / "position.json").write_text(json.dumps([int(torn.stem), end - last, end]))
            vector.start()
            assert vector.request("POST", body=json.dumps(event("last")))[0] == 200
            until(lambda: stored(clickhouse, ""), "the last row", lambda seen: "last" in seen)
            assert stored(clickhouse, "") == sorted([*accepted, "last"])


def test_sigterm_delivers_what_waits(tmp_path: Path) -> None:
    with fake_clickhouse() as clickhouse, substitute(tmp_path, clickhouse.port) as vector:
        vector.request("POST", body=json.dumps(event("waiting")))
        assert vector.stop() == 0
        assert stored(clickhouse, "") == ["waiting"]


def test_a_disk_that_takes_nothing_is_answered_503_and_recovers(tmp_path: Path) -> None:
    with fake_clickhouse() as clickhouse, substitute(tmp_path, clickhouse.port) as vector:
        place = tmp_path / "var/lib/vector/journal"
        place.rmdir()
        place.write_text("a file where the directory should be")
        assert vector.request("POST", body=json.dumps(event("later")))[0] == 503
        with pytest.raises(UnreachableError, match=r"did not accept events \(it answered HTTP 503\)"):
            events.send([event("later")], "127.0.0.1", vector.port)
        place.unlink()
        assert vector.request("POST", body=json.dumps(event("later")))[0] == 200
        until(lambda: stored(clickhouse, ""), "the row", lambda seen: seen == ["later"])


def test_a_write_to_the_journal_that_the_disk_cuts_off_is_answered_503_and_the_next_follows_it(
    tmp_path: Path,
) -> None:
    with fake_clickhouse() as clickhouse, substitute(tmp_path, clickhouse.port) as vector:
        assert vector.request("POST", body=json.dumps(event("first")))[0] == 200
        (file,) = (tmp_path / "var/lib/vector/journal").iterdir()
        assert vector.process
        _, hard = resource.prlimit(vector.process.pid, resource.RLIMIT_FSIZE)
        limit = file.stat().st_size + 100
        resource.prlimit(vector.process.pid, resource.RLIMIT_FSIZE, (limit, hard))
        assert vector.request("POST", body=json.dumps(event("second")))[0] == 503
        resource.prlimit(vector.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        assert file.stat().st_size == limit
        assert vector.request("POST", body=json.dumps(event("third")))[0] == 200
        damages: list[Damage] = []
        kept = [
            line
            for each in journal.find(file.parent)
            for block in each.blocks(damages.append)
            for line in block.lines
        ]
        assert [json.loads(line)["obj_name"] for line in kept] == ["first", "third"]
        assert [damage.expected for damage in damages] == [True]
        until(lambda: stored(clickhouse, ""), "the rows", lambda seen: seen == ["first", "third"])


def test_an_occupied_port_is_one_message(vector: Substitute) -> None:
    second = subprocess.run(vector.command(), capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 1
    assert f"cannot listen on 127.0.0.1 port {vector.port}: Address already in use" in second.stderr
    assert len(second.stderr.splitlines()) == 1


def test_check_exits_0_or_78(vector: Substitute, tmp_path: Path) -> None:
    fine = subprocess.run(vector.command("--check"), capture_output=True, timeout=60, check=False)
    assert fine.returncode == 0
    broken = tmp_path / "vector.toml"
    broken.write_text(vector.config.read_text().replace('compression = "gzip"', 'compression = "zstd"'))
    refused = subprocess.run(
        [*vector.command("--check")[:-2], str(broken), "--check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert refused.returncode == 78
    assert "sinks.events: option compression = 'zstd'" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_sending_to_nobody_is_one_message() -> None:
    with pytest.raises(
        UnreachableError, match=r"Vector at http://127.0.0.1:1 did not accept events \(.*refused\)"
    ):
        events.send([event("x")], "127.0.0.1", 1)
