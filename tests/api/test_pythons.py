"""The events API as a host gets it, on the Python of each supported system.

The other tests of this folder run it on the oldest of them; here is the main part of what it does, on each.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from backports import zstd

from tests.api import pythons
from tests.api.data import wait_for
from tests.api.harness import Api, FakeVector, running_api
from tests.clickhouse import Store
from tests.missing import give_up


@pytest.fixture(params=pythons.VERSIONS)
def on_python(
    request: pytest.FixtureRequest, tmp_path: Path, store: Store, vector: FakeVector
) -> Iterator[Api]:
    """Return a service without a CVAT that runs on one of the Pythons."""
    python = pythons.find(request.param) or pythons.install(request.param)
    if python is None:
        give_up(
            f"Python {request.param}, which a supported system has, is not installed here: `.venv/bin/uv python install {request.param}`"
        )
    program = pythons.program(python, request.param, tmp_path / "program")
    with running_api(tmp_path, store, vector.url, program=program) as service:
        yield service


def test_it_does_there_what_it_does_everywhere(on_python: Api, vector: FakeVector) -> None:
    with on_python.client("boss") as boss:
        _everything(on_python, boss, vector)
    assert [line for line in on_python.log.splitlines() if "Traceback" in line or "Warning" in line] == []


def _everything(on_python: Api, boss: httpx.Client, vector: FakeVector) -> None:
    wrong = httpx.BasicAuth("boss", "wrong")
    assert boss.get("/api/events?format=json", auth=wrong).status_code == 401

    # an export by CVAT's protocol, survived by a restart
    first_answer = boss.get("/api/events?job_id=100&filename=x.csv&from=2000-01-01T00:00:00Z")
    assert first_answer.status_code == 202, first_answer.text
    query_id = first_answer.json()["query_id"]
    assert wait_for(boss, query_id).status_code == 201
    assert on_python.stop() == 0
    on_python.start()
    file = boss.get("/api/events", params={"query_id": query_id, "action": "download"})
    assert (file.status_code, len(file.text.splitlines())) == (200, 11)

    # at once, in each format and encoding
    rows = {"csv": 11, "jsonl": 10}
    for form, lines in rows.items():
        for encoding, unpacked in (("identity", bytes), ("gzip", gzip.decompress), ("zstd", zstd.decompress)):
            with boss.stream(
                "GET", f"/api/events?job_id=100&format={form}", headers={"Accept-Encoding": encoding}
            ) as answer:
                content = unpacked(b"".join(answer.iter_raw()))
            assert (answer.status_code, len(content.splitlines())) == (200, lines), (form, encoding)
    for form, magic in (("parquet", b"PAR1"), ("arrow", b"ARROW1")):
        assert boss.get(f"/api/events?job_id=100&format={form}").content.startswith(magic), form

    # in pages
    page = boss.get("/api/events?job_id=100&format=json&limit=6").json()
    rest = boss.get("/api/events", params={"job_id": 100, "format": "json", "cursor": page["next"]}).json()
    assert (len(page["events"]), len(rest["events"]), rest["next"]) == (6, 4, None)

    # events in
    vector.requests.clear()
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    body = {"events": [{"scope": "save:job", "timestamp": now, "job_id": 5}], "timestamp": now}
    assert boss.post("/api/events", json=body).status_code == 201
    assert vector.requests[0][0]["scope"] == "save:job"

    # mistakes, and what it says of itself
    refused = boss.get("/api/events?job_id=x")
    assert (refused.status_code, refused.headers["content-type"]) == (400, "application/problem+json")
    assert boss.get("/api/events/docs").status_code == 200
    assert "/api/events" in boss.get("/api/events/openapi.json").json()["paths"]
