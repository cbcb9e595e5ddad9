"""What CVAT's own client does with large events: its queue becomes empty, and all of it is stored or a dead letter.

They run on the substitute, and on the `vector` on PATH where there is one.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cvat_analytics.config import limits
from cvat_analytics.pipeline import originals
from cvat_analytics.pipeline.originals import Originals
from tests.vector.fake_clickhouse import FakeClickHouse
from tests.vector.large_client import event, left
from tests.vector.running import Substitute
from tests.waiting import until


def digests(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {row["obj_name"]: hashlib.sha256(row["payload"].encode()).hexdigest() for row in rows}


def journal(running: Substitute) -> Path:
    return running.root / "var/lib/vector/journal"


def whole(running: Substitute, letter: dict[str, Any]) -> bytes:
    """Return the whole original of a dead letter: its file is written beside the table, and may be there later."""
    found = Originals([originals.in_directory(journal(running))])
    return until(
        lambda: found.whole(letter["original_file"], letter["original_sha256"]),
        "the original",
        despite=originals.MissingOriginal,
        patience=300,
    )


def test_cvats_queue_becomes_empty_whatever_it_holds(
    vector: Substitute, clickhouse: FakeClickHouse, tmp_path: Path
) -> None:
    # 20 MB as they come together from many saves, one save of 600 000 shapes, and one that no event may be as large as
    shapes = [*[24_000] * 45, 600_000, 1_900_000, *[70_000] * 8]
    command = [sys.executable, "-m", "tests.vector.large_client", "--port", str(vector.port)]
    client = subprocess.run(
        [*command, "--queue", tmp_path / "queue.sqlite", "--shapes", *map(str, shapes)],
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    print(client.stdout)
    assert client.returncode == 0, client.stderr[-2000:]
    answers = [json.loads(line) for line in client.stdout.splitlines()]
    assert {status for _, status, _ in answers} <= {200, 0}
    assert left(str(tmp_path / "queue.sqlite")) == 0
    assert max(size for size, _, _ in answers) > 40_000_000
    expected = [event(f"event {number}", count) for number, count in enumerate([0, *shapes, 0])]
    too_large = expected.pop(1 + shapes.index(1_900_000))
    until(
        lambda: len({row["obj_name"] for row in clickhouse.rows()}),
        "all events",
        lambda seen: seen == len(expected),
        patience=300,
    )
    assert digests(clickhouse.rows()) == digests(expected)
    until(lambda: clickhouse.rows("events_dead_letter"), "the dead letter", patience=300)
    letter = clickhouse.rows("events_dead_letter")[0]
    assert (letter["reason"], letter["message"]) == ("too large", "an event may have up to 32 MiB")
    original = whole(vector, letter)
    assert json.loads(original) == too_large
    assert len(original) == letter["original_size"]
    assert original.startswith(letter["original"].encode())


@pytest.mark.parametrize("size", [limits.BODY + 2**20, limits.VECTOR_BODY])
def test_what_is_too_large_for_any_event_is_answered_200_and_kept_whole(
    vector: Substitute, clickhouse: FakeClickHouse, size: int
) -> None:
    body = b'[{"scope":"x","timestamp":1733480873,"payload":"' + b"x" * (size - 51) + b'"}]'
    assert len(body) == size
    assert vector.request("POST", "/", body)[0] == 200
    sha256 = hashlib.sha256(body[1:-1]).hexdigest()

    def arrived() -> list[dict[str, Any]]:
        letters = clickhouse.rows("events_dead_letter")
        return [letter for letter in letters if letter["original_sha256"] == sha256]

    until(arrived, "the dead letter", patience=300)
    (letter,) = arrived()
    assert len(letter["original"]) == limits.LETTER
    assert whole(vector, letter) == body[1:-1]


@pytest.mark.parametrize("packed", [False, True])
def test_only_what_no_cvat_can_send_is_refused(vector: Substitute, packed: bool) -> None:
    body = b" " * (limits.VECTOR_BODY + 1)
    headers = {"Content-Encoding": "gzip"} if packed else {}
    try:
        status = vector.request("POST", "/", gzip.compress(body, 1) if packed else body, headers)[0]
    except ConnectionError:  # Vector itself answers before it has read all, and closes
        status = 413
    assert status == 413
    assert vector.request("POST", "/", b"[]")[0] == 200


def test_bytes_that_are_no_text_are_kept_as_they_are(vector: Substitute, clickhouse: FakeClickHouse) -> None:
    body = os.urandom(limits.DIRECT_BODY * 2)
    assert vector.request("POST", "/", body)[0] == 200
    sha256 = hashlib.sha256(body).hexdigest()
    until(
        lambda: sha256 in [letter["original_sha256"] for letter in clickhouse.rows("events_dead_letter")],
        "the dead letter",
    )
    (letter,) = [each for each in clickhouse.rows("events_dead_letter") if each["original_sha256"] == sha256]
    assert whole(vector, letter) == body


def test_many_large_requests_at_a_time_lose_nothing(vector: Substitute, clickhouse: FakeClickHouse) -> None:
    """What Vector joins of several requests must fit into a record: it drops a larger one, although it has answered 200."""
    events = [
        event(f"at a time {number}", 400_000) for number in range(24 if vector.program == "vector" else 6)
    ]
    program = (
        "import sys, http.client\n"
        "connection = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]), timeout=500)\n"
        "connection.request('POST', '/', open(sys.argv[2], 'rb').read())\n"
        "sys.exit(connection.getresponse().status != 200)\n"
    )
    for each in events:
        (vector.root / each["obj_name"]).write_text(json.dumps([each]))
    senders = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(vector.port), str(vector.root / each["obj_name"])]
        )
        for each in events
    ]
    assert [sender.wait(540) for sender in senders] == [0] * len(events)

    def arrived() -> list[dict[str, Any]]:
        return [row for row in clickhouse.rows() if row["obj_name"].startswith("at a time")]

    until(
        lambda: len({row["obj_name"] for row in arrived()}),
        "all events",
        lambda seen: seen == len(events),
        patience=300,
    )
    assert digests(arrived()) == digests(events)
