"""Bytes that are no UTF-8 are recognised: their event is a dead letter with exactly what came, and its neighbours are stored."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cvat_analytics.config import limits
from cvat_analytics.pipeline import originals
from cvat_analytics.pipeline.originals import Originals
from tests.vector.configuration import Run
from tests.vector.fake_clickhouse import FakeClickHouse
from tests.vector.running import Substitute
from tests.waiting import until

BROKEN = {
    "Latin-1": b"caf\xe9",
    "overlong": b"\xc0\xaf",
    "half of a surrogate pair": b"\xed\xa0\x80",
    "beyond Unicode": b"\xf4\x90\x80\x80",
    "cut off": b"\xf0\x9f\x98",
    "cp932": "車".encode("cp932"),
}
TIME = b'"timestamp": 1733480873'


def event(scope: bytes, field: bytes = b'"obj_name": ""') -> bytes:
    return b'{"scope": "%s", %s, %s}' % (scope, TIME, field)


def is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


PLACES = {
    "a value": b'"obj_name": "%s"',
    "a name": b'"%s": 1',
    "a payload": b'"payload": "{\\"a\\": \\"%s\\"}"',
    "an object in it": b'"payload": {"%s": ["%s"]}',
    "an unknown field": b'"tomorrow": [{"a": "%s"}]',
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_the_event_is_a_dead_letter_and_its_neighbours_are_stored(
    run: Run, broken: bytes, place: bytes
) -> None:
    bad = event(b"bad", place.replace(b"%s", broken))
    outputs = run(b"[%s, %s, %s]" % (event(b"before"), bad, event("nächster".encode())))
    assert [row["scope"] for row in outputs["normalise"]] == ["before", "nächster"]
    (letter,) = outputs["dead_letter"]
    assert letter["reason"] == "not UTF-8"
    byte = next(byte for byte in broken if byte > 127)
    assert letter["message"].startswith(f"the byte {byte:02x} after ")
    assert letter["message"].endswith(bad.split(bytes([byte]))[0].decode()[-10:])
    assert base64.b64decode(letter["base64"]) == bad
    assert letter["original_size"] == len(bad)
    (row,) = outputs["dead_letter_row"]
    assert (row["original"], "base64" in row) == (bad.decode(errors="replace"), False)
    (whole,) = outputs["whole_original"]
    assert whole["sha256"] == row["original_sha256"] == hashlib.sha256(bad).hexdigest()


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_lines_are_told_apart_too(run: Run, broken: bytes) -> None:
    bad = event(b"bad", b'"obj_name": "%s"' % broken)
    outputs = run(b"\n".join([bad, event(b"after"), event(b"last")]))
    assert [row["scope"] for row in outputs["normalise"]] == ["after", "last"]
    assert [base64.b64decode(each["base64"]) for each in outputs["dead_letter"]] == [bad]


@pytest.mark.parametrize(
    "body",
    ['[{"scope": "x", "timestamp": 1733480873}]'.encode("utf-16"), b"\xff[]", b"\x00\xfe\xff\n[1", b"\x80"],
)
def test_what_is_no_json_is_kept_as_it_came(run: Run, body: bytes) -> None:
    outputs = run(body)
    assert not outputs["normalise"]
    (letter,) = outputs["dead_letter"]
    assert (letter["reason"], base64.b64decode(letter["base64"])) == ("not UTF-8", body)


def test_the_character_that_stands_for_bad_bytes_is_a_character_itself(run: Run) -> None:
    outputs = run('[{"scope": "x\ufffd", "timestamp": 1733480873}, {"scope": "\ufffd"}]')
    assert [row["scope"] for row in outputs["normalise"]] == ["x\ufffd"]
    assert [each["reason"] for each in outputs["dead_letter"]] == ["bad timestamp"]
    assert "base64" not in outputs["dead_letter"][0]


def test_of_more_than_4_mib_the_whole_is_one_letter(run: Run) -> None:
    body = b"[%s, %s]" % (event(b"x", b'"payload": "%s"' % (b"y" * limits.ANY_FORM)), event(b"\xff"))
    outputs = run(body)
    assert not outputs["normalise_large"]
    (letter,) = outputs["dead_letter"]
    assert (letter["reason"], base64.b64decode(letter["base64"])) == ("not UTF-8", body)


# what JSON lets stand between quotes, and any bytes beyond ASCII
texts = st.lists(
    st.binary(max_size=4).map(lambda data: bytes(byte | 128 for byte in data)) | st.text("aé車😀\ufffd\uf7e9 ").map(str.encode),
    max_size=4,
).map(b"".join)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fields=st.lists(st.tuples(texts, st.sampled_from(list(PLACES.values()))), min_size=1, max_size=6),
    as_lines=st.booleans(),
)
def test_any_bytes_are_stored_as_they_came_or_kept_as_they_came(
    run: Run, fields: list[tuple[bytes, bytes]], as_lines: bool
) -> None:
    sent = [event(b"e%d" % number, place.replace(b"%s", text)) for number, (text, place) in enumerate(fields)]
    outputs = run(b"\n".join(sent) if as_lines else b"[%s]" % b",".join(sent))
    assert [row["scope"] for row in outputs["normalise"]] == [
        f"e{number}" for number, each in enumerate(sent) if is_utf8(each)
    ]
    kept = [base64.b64decode(each["base64"]) for each in outputs["dead_letter"]]
    assert kept == [each for each in sent if not is_utf8(each)]
    for row, (text, place) in zip(
        outputs["normalise"], [each for each in fields if is_utf8(each[0])], strict=True
    ):
        if place == PLACES["a value"]:
            assert row["obj_name"] == text.decode()


@pytest.mark.parametrize("padding", [0, limits.DIRECT_BODY], ids=["direct", "large"])
def test_the_programs_do_it_too(vector: Substitute, clickhouse: FakeClickHouse, padding: int) -> None:
    mark = f"{vector.program}{padding}".encode()
    bad = event(b"bad" + mark, b'"obj_name": "caf\xe9"')
    body = b"[%s, %s%s]" % (event(mark), bad, b" " * padding)
    assert vector.request("POST", body=body)[0] == 200
    (letter,) = until(
        lambda: [each for each in clickhouse.rows("events_dead_letter") if mark.decode() in each["original"]],
        "the letter",
        told=lambda: vector.log[-2000:],
    )
    assert (letter["reason"], letter["original_size"]) == ("not UTF-8", len(bad))
    until(
        lambda: [row["scope"] for row in clickhouse.rows()],
        "the neighbour",
        lambda seen: mark.decode() in seen,
    )
    # files are written beside the tables, and may be there later
    directory = Path(vector.root) / "var/lib/vector/journal"
    original = until(
        lambda: Originals([originals.in_directory(directory)]).whole(
            letter["original_file"], letter["original_sha256"]
        ),
        "the original",
        despite=originals.MissingOriginal,
    )
    assert original == bad

    def lines() -> list[bytes]:
        journal = b"".join(each.read_bytes() for each in directory.glob("events-*"))
        return [line for line in journal.splitlines(keepends=True) if mark in line and line.endswith(b"\n")]

    assert json.loads(until(lines, "the neighbour in the journal")[0])["obj_name"] == ""
