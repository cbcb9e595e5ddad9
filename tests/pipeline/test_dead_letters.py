"""Dead letters are found, sent again and removed; whatever is interrupted, each is one letter or one event."""

from __future__ import annotations

import hashlib
import json
import sys
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner

from cvat_analytics.connect.access import Access
from cvat_analytics.connect.http import http_client
from cvat_analytics.embedded import stack
from cvat_analytics.pipeline import dead_letters_retry
from cvat_analytics.pipeline.dead_letters import MARK, Choice, DeadLetters
from cvat_analytics.pipeline.dead_letters_retry import Retry, bodies
from cvat_analytics.pipeline.originals import Originals
from scripts.cli import main
from tests.waiting import PATIENCE, until

# recent: what is older than the retention is gone at once
NEXT = datetime.now(UTC).date() - timedelta(days=1)
DAY = NEXT - timedelta(days=1)
# of each test's own: ClickHouse takes a block that it has had before for a repetition, even when its rows are deleted
GOOD = '{"scope":"save:job","timestamp":"1733480873.184","org_slug":"TEST","user_id":%d}'
BAD = '{"scope":"save:job","timestamp":"never","user_id":%d}'


@pytest.fixture(autouse=True)
def empty(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test begin without letters, and without events of the time that they are about."""
    monkeypatch.setattr(sys.modules[__name__], "GOOD", GOOD.replace("TEST", uuid.uuid4().hex))
    client = access.client()
    client.command("TRUNCATE TABLE cvat.events_dead_letter")
    client.command("DELETE FROM cvat.events WHERE toYYYYMM(timestamp) = 202412")


def put(
    access: Access, *originals: str, at: str = f"{DAY} 10:00:00.000", reason: str = "bad timestamp"
) -> None:
    """Store letters as they are after the rule that refused them was mended, or not."""
    access.client().command(
        "INSERT INTO cvat.events_dead_letter (received_at, reason, message, original) SELECT {at:String}, {reason:String}, 'must be unix seconds', arrayJoin({originals:Array(String)}) "
        "SETTINGS insert_deduplicate = 0",
        parameters={"at": at, "reason": reason, "originals": list(originals)},
    )


def letters(access: Access) -> list[str]:
    rows = (
        access.client()
        .query("SELECT original FROM cvat.events_dead_letter FINAL ORDER BY original")
        .result_rows
    )
    return [row[0] for row in rows]


def stored(access: Access, expected: int) -> int:
    """Return how many of the events sent again are readable, as soon as there are as many as expected."""
    query = "SELECT count() FROM cvat.events FINAL WHERE toYYYYMM(timestamp) = 202412"
    return until(
        lambda: int(access.client().query(query).result_rows[0][0]),
        f"{expected} events",
        lambda found: found == expected,
    )


def command(running: stack.Stack, *arguments: object) -> tuple[int, str]:
    options = ["dead-letters", arguments[0], "--dir", running.directory, *arguments[1:]]
    result = CliRunner().invoke(main, [str(option) for option in options])
    return result.exit_code, result.output


def answer(running: stack.Stack, *arguments: object) -> Any:
    options = ["dead-letters", arguments[0], "--dir", running.directory, "--json", *arguments[1:]]
    return json.loads(CliRunner().invoke(main, [str(option) for option in options]).stdout)


def test_letters_are_counted_by_reason_and_the_newest_are_listed(
    running: stack.Stack, access: Access
) -> None:
    put(access, BAD % 1, BAD % 2)
    put(access, "<html>" + "é" * 500, at=f"{NEXT} 00:00:00.000", reason="not JSON")
    code, output = command(running, "list")
    assert code == 0
    assert ["bad", "timestamp", "2"] in [line.split()[:3] for line in output.splitlines()]
    found = answer(running, "list", "--limit", 1)
    assert [(each["reason"], each["count"]) for each in found["reasons"]] == [
        ("bad timestamp", 2),
        ("not JSON", 1),
    ]
    assert [(each["reason"], each["size"], each["received_at"]) for each in found["letters"]] == [
        ("not JSON", 1006, f"{NEXT}T00:00:00.000")
    ]
    for options, count in (
        (["--reason", "not JSON"], 1),
        (["--since", NEXT], 1),
        (["--until", DAY], 2),
        (["--since", f"{DAY}T10:00", "--until", f"{DAY}T10:01"], 2),
        (["--contains", '"user_id":2'], 1),
        (["--contains", "unix seconds"], 3),
        (["--reason", "none"], 0),
    ):
        assert sum(each["count"] for each in answer(running, "list", *options)["reasons"]) == count, options
    assert command(running, "list", "--reason", "none") == (0, "No dead letters.\n")


def test_one_letter_is_shown_as_it_was_sent(running: stack.Stack, access: Access) -> None:
    original = '{"scope":"x",\n  "timestamp":"never"}'
    put(access, original, BAD % 1)
    id = next(each["id"] for each in answer(running, "list")["letters"] if each["size"] == len(original))
    code, output = command(running, "show", id[:8])
    assert (code, output.endswith(f"\n\n{original}\n")) == (0, True)
    assert answer(running, "show", id)["original"] == original
    assert command(running, "show", "0123456789abcdef")[0] == 2
    code, output = command(running, "show", "zz")
    assert (code, "is not the id of a dead letter" in output) == (2, True)


def test_what_has_been_mended_becomes_an_event_and_the_rest_stays_one_letter(
    running: stack.Stack, access: Access
) -> None:
    good, bad = [GOOD % number for number in range(40)], [BAD % number for number in range(5)]
    put(access, *good, *bad, "<html>\n{broken", '"text"', "[1, 2]")
    put(access, *good[:3], *bad[:3], at=f"{DAY} 11:00:00.000")
    code, output = command(running, "retry")
    assert code == 1
    assert "48 dead letters about 48 different originals: 40 accepted, 8 failed again." in output
    assert letters(access) == sorted([*bad, "<html>\n{broken", '"text"', "[1, 2]"])
    assert stored(access, 40) == 40
    assert answer(running, "list", "--since", f"{NEXT}T12:00")["reasons"][0]["count"] == 5, (
        "the letters are today's"
    )
    code, output = command(running, "retry", "--reason", "bad timestamp")
    assert "5 dead letters about 5 different originals: 0 accepted, 5 failed again." in output
    assert len(letters(access)) == 8


def test_only_what_is_chosen_is_sent_again(running: stack.Stack, access: Access) -> None:
    put(access, *(GOOD % number for number in range(3)))
    id = answer(running, "list", "--contains", '"user_id":1')["letters"][0]["id"]
    assert answer(running, "retry", id) == {"letters": 1, "sent": 1, "accepted": 1, "failed": 0, "missing": 0}
    assert letters(access) == [GOOD % 0, GOOD % 2]
    assert stored(access, 1) == 1


def test_a_letter_for_a_number_that_was_too_great_once_is_an_event_now(
    running: stack.Stack, access: Access
) -> None:
    """CVAT 2.42 sends one event per save, whatever the number of objects."""
    originals = [
        f'{{"scope":"delete:shapes","timestamp":"1733480873.184","org_slug":"{uuid.uuid4()}","count":{number}}}'
        for number in (70_000, 90_007)
    ]
    put(access, *originals, reason="bad count")
    assert command(running, "retry")[0] == 0
    assert letters(access) == []
    assert stored(access, 2) == 2
    query = "SELECT count FROM cvat.events FINAL WHERE toYYYYMM(timestamp) = 202412 ORDER BY count"
    assert [row[0] for row in access.client().query(query).result_rows] == [70_000, 90_007]


def test_a_retry_that_is_interrupted_is_completed_by_the_next(
    access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(access, GOOD % 1, BAD % 1)

    def interrupted(self: Retry, ids: list[str]) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Retry, "_remove", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Retry(DeadLetters(access)).run(Choice(), lambda letters: None)
    assert letters(access) == [GOOD % 1, BAD % 1, BAD % 1], "sent, and nothing removed"
    retried = Retry(DeadLetters(access)).run(Choice(), lambda letters: None)
    assert (retried.sent, retried.failed) == (2, 1)
    assert letters(access) == [BAD % 1]
    assert stored(access, 1) == 1


def test_many_letters_go_in_chunks(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters_retry, "CHUNK_LETTERS", 4)
    monkeypatch.setattr(dead_letters_retry, "CHUNK_BYTES", 400)
    put(access, *(GOOD % number for number in range(8)), BAD % 1)
    progress: list[int] = []
    retried = Retry(DeadLetters(access)).run(Choice(), progress.append)
    assert (retried.sent, retried.failed, sum(progress)) == (9, 1, 9)
    assert 3 <= len(progress) <= 5
    assert letters(access) == [BAD % 1]


class _Converted(Originals):
    """In place of the files beside the journal."""

    def __init__(self, originals: Sequence[bytes]) -> None:
        self.by_hash = {hashlib.sha256(each).hexdigest(): each for each in originals}

    def whole(self, name: str, sha256: str) -> bytes:
        return self.by_hash[sha256]


def test_many_letters_are_converted_at_once(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        '{"scope":"x","timestamp":"never","user_name":"Ren\u00e9","obj_id":%d,"payload":"' + "x" * 1000 + '"}'
    )
    texts = [text % number for number in range(2000)]
    originals = _Converted([each.encode("latin-1") for each in texts])
    at = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC)
    source = DeadLetters(access, originals)
    source.client.insert(
        source.table,
        [(at, "not UTF-8", "m", each.decode(errors="replace"), sha256, "f") for sha256, each in originals.by_hash.items()],
        column_names=["received_at", "reason", "message", "original", "original_sha256", "original_file"],
    )  # fmt: skip
    sent: list[bytes] = []

    # in place of Vector: three of them are refused again
    def send(retry: Retry, requests: Sequence[bytes]) -> None:
        sent.extend(requests)
        put(access, *texts[:3])

    monkeypatch.setattr(Retry, "send", send)
    retried = Retry(source, "latin-1").run(Choice(), lambda letters: None)
    assert (retried.sent, retried.failed, retried.missing) == (2000, 3, [])
    assert sorted(sent) == sorted(each.encode() for each in texts)
    assert letters(access) == sorted(texts[:3])


def test_any_number_of_letters_about_one_original_go(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    access.client().command(
        "INSERT INTO cvat.events_dead_letter (received_at, reason, message, original) "
        f"SELECT '{DAY} 10:00:00.000', 'not JSON', toString(number), {{original:String}} FROM numbers(8000)",
        parameters={"original": BAD % 1},
    )
    monkeypatch.setattr(Retry, "send", lambda retry, requests: None)
    assert Retry(DeadLetters(access)).run(Choice(), lambda letters: None).sent == 1
    assert letters(access) == []


def test_nothing_is_removed_when_vector_is_away(access: Access) -> None:
    put(access, GOOD % 1)
    away = replace(access, vector=replace(access.vector, port=1))
    with pytest.raises(dead_letters_retry.UnreachableError, match="Nothing of this part is removed"):
        Retry(DeadLetters(away)).run(Choice(), lambda letters: None)
    assert letters(access) == [GOOD % 1]


def test_nothing_is_removed_when_nothing_arrives(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    put(access, GOOD % 1)
    monkeypatch.setattr(dead_letters_retry, "_PATIENCE", 0.0)
    monkeypatch.setattr(Retry, "_send", lambda self, bodies: None)
    with pytest.raises(dead_letters_retry.UnreachableError, match="no letter is removed"):
        Retry(DeadLetters(access)).run(Choice(), lambda letters: None)
    assert letters(access) == [GOOD % 1]


def test_marks_of_a_retry_are_no_letters(running: stack.Stack, access: Access) -> None:
    put(access, f"{MARK}1234", BAD % 1)
    assert sum(each["count"] for each in answer(running, "list")["reasons"]) == 1
    command(running, "retry")
    assert letters(access) == [BAD % 1]


def test_a_purge_says_how_many_and_asks(running: stack.Stack, access: Access) -> None:
    put(access, *(BAD % number for number in range(3)))
    put(access, "<html>", reason="not JSON")
    options = ["dead-letters", "purge", "--dir", str(running.directory), "--reason", "bad timestamp"]
    refused = CliRunner().invoke(main, options, input="n\n")
    assert (refused.exit_code, "Remove 3 dead letters for good? [y/N]" in refused.output) == (1, True)
    assert len(letters(access)) == 4
    assert command(running, "purge", "--reason", "bad timestamp", "--yes") == (0, "3 dead letters removed.\n")
    assert letters(access) == ["<html>"]
    assert answer(running, "purge", "--all", "--yes") == {"removed": 1}


@pytest.mark.parametrize(
    "options", [(), ("--all", "--reason", "x"), ("--since", "2026-02-01", "--until", "2026-01-01")]
)
def test_a_purge_of_nothing_in_particular_is_refused(running: stack.Stack, options: tuple[str, ...]) -> None:
    assert command(running, "purge", "--yes", *options)[0] == 2


@pytest.mark.parametrize(
    ("original", "in_parts", "expected"),
    [
        ('{"a": [1]}', False, [b'{"a": [1]}']),
        ("[1, 2]", False, [b"[[1, 2]]"]),
        ("[NaN]", False, [b"[NaN]"]),
        ("[1, 2", False, [b"[1, 2"]),
        ("[" + ", ".join(['{"a": "]"}'] * 1001) + "]", True, [b"[" + b",".join([b'{"a": "]"}'] * 1000) + b"]", b'[{"a": "]"}]']),
        ("\n".join(["{}"] * 1001), True, [b"\n".join([b"{}"] * 1000), b"{}"]),
    ],
    ids=["event", "array", "no JSON to Vector", "torn", "many in an array", "many in lines"],
)  # fmt: skip
def test_how_an_original_is_sent_again(original: str, in_parts: bool, expected: list[bytes]) -> None:
    assert bodies(original.encode(), in_parts) == expected


def large(number: int, moment: str) -> bytes:
    """Return an event as a request, large enough that the table keeps its beginning only."""
    payload = json.dumps({"shapes": [{"id": each} for each in range(10**9, 10**9 + 20_000 + number)]})
    return json.dumps(
        [{"scope": "create:shapes", "timestamp": moment, "org_slug": uuid.uuid4().hex, "payload": payload}]
    ).encode()


def send(access: Access, body: bytes) -> None:
    with http_client(access.vector.url, timeout=PATIENCE) as sending:
        headers = {"Content-Type": "application/json"}
        assert sending.post("/", content=body, headers=headers).status_code == 200


def wait_for_letters(running: stack.Stack, count: int) -> list[dict[str, Any]]:
    return until(
        lambda: list(answer(running, "list")["letters"]),
        f"{count} letters",
        lambda found: len(found) == count,
    )


def test_of_a_large_letter_the_whole_is_shown_and_sent_again(
    running: stack.Stack, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    # alike for longer than what the table keeps of them
    sent = [large(number, "never") for number in range(2)]
    sent[1] = sent[1].replace(sent[1][80:112], sent[0][80:112])
    for body in (*sent, sent[0]):
        send(access, body)
    listed = wait_for_letters(running, 2)
    whole = sorted(body.decode().removeprefix("[").removesuffix("]") for body in sent)
    shown = [answer(running, "show", each["id"]) for each in listed]
    assert sorted(each["original"] for each in shown) == whole
    code, output = command(running, "show", listed[0]["id"])
    assert (code, shown[0]["file"] in output, output.endswith(f"\n\n{shown[0]['original']}\n")) == (
        0,
        True,
        True,
    )
    assert answer(running, "retry") == {"letters": 2, "sent": 2, "accepted": 0, "failed": 2, "missing": 0}
    assert len(wait_for_letters(running, 2)) == 2
    # as after the producer's mistake was mended on the way
    monkeypatch.setattr(
        dead_letters_retry, "bodies", lambda whole, in_parts: [whole.replace(b"never", b"1733480873.184")]
    )
    assert answer(running, "retry") == {"letters": 2, "sent": 2, "accepted": 2, "failed": 0, "missing": 0}
    assert stored(access, 2) == 2
    assert not letters(access)


def test_when_the_whole_is_gone_or_altered_it_is_told_and_the_letter_stays(
    running: stack.Stack, access: Access
) -> None:
    send(access, large(7, "gone"))
    (letter,) = wait_for_letters(running, 1)
    (file,) = running.directory.glob(f"**/journal/{letter['file']}")
    text = file.read_text()
    for damaged in (
        text.replace("1000000001", "1000000009"),
        text[: len(text) // 2],
        "",
    ):
        file.write_text(damaged)
        code, output = command(running, "show", letter["id"])
        assert (code, "NOT WHOLE: the whole original" in output) == (1, True)
        code, output = command(running, "retry", letter["id"])
        assert (code, f"NOT SENT: the whole original (SHA-256 {letter['sha256']})" in output) == (1, True)
        assert len(letters(access)) == 1
    file.write_text(text)
    assert command(running, "show", letter["id"])[0] == 0
