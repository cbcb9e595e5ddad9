"""What comes of each event form and trap: the cases in `cases/`, taken through the rendered transforms."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cvat_analytics.config import limits
from tests.vector.configuration import Run

CASES = {
    f"{file.stem}: {name}": case
    for file in sorted((Path(__file__).parent / "cases").glob("*.yaml"))
    for name, case in yaml.safe_load(file.read_text()).items()
}
PLAIN_EVENT = {"scope": "x", "timestamp": "1733480873"}
NULLS = "obj_name obj_id obj_val count project_id task_id job_id user_id user_name user_email org_id org_slug payload"
PLAIN_ROW = dict.fromkeys([*NULLS.split(), "access_token_id"]) | {
    "scope": "x",
    "source": "unknown",
    "timestamp": "2024-12-06 10:27:53.000",
    "duration": 0,
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_case(case: dict[str, Any], run: Run) -> None:
    assert case.keys() <= {"event", "body", "rows", "refused", "originals"}
    body = case["body"] if "body" in case else json.dumps(PLAIN_EVENT | case["event"])
    outputs = run(body)
    assert outputs["normalise"] == [PLAIN_ROW | row for row in case.get("rows", [])]
    letters = outputs["dead_letter"]
    reasons = [f"{letter['reason']}: {letter['message']}" for letter in letters]
    expected = case.get("refused", [])
    assert [text[: len(want)] for text, want in zip(reasons, expected, strict=False)] == expected, reasons
    assert len(reasons) == len(expected)
    if "originals" in case:
        assert [letter["original"] for letter in letters] == case["originals"]


@pytest.mark.parametrize("body", ["[" + ",".join("1" * 50_001) + "]", '{"a":1}\n' * 50_001])
def test_more_events_than_a_record_of_the_buffer_may_hold_are_kept_together(run: Run, body: str) -> None:
    outputs = run(body)
    assert not outputs["normalise"]
    assert not outputs["normalise_large"]
    (letter,) = outputs["dead_letter"]
    assert (letter["reason"], letter["message"]) == ("too many events", "a request may have up to 50000")
    assert letter["original"] == body


def test_as_many_events_as_are_allowed_are_taken(run: Run) -> None:
    body = "[" + ",".join(['{"scope":"x","timestamp":1733480873}'] * 50_000) + "]"
    assert len(run(body)["one_large_event"]) == 50_000


def test_deep_nesting_is_kept(run: Run) -> None:
    deep = "[" * 5000 + "]" * 5000
    (row,) = run(f'{{"scope":"x","timestamp":1733480873,"payload":{deep},"extra":{deep}}}')["normalise"]
    assert json.loads(row["payload"]) == {"payload": deep, "extra": deep}


def shapes(count: int, first: int = 10**9) -> dict[str, Any]:
    """Return an event as CVAT makes of one save of that many shapes."""
    ids = [{"id": number} for number in range(first, first + count)]
    payload = json.dumps({"shapes": ids, "request": {"id": "57df9a23", "user_agent": "cvat"}})
    return PLAIN_EVENT | {"scope": "create:shapes", "obj_name": "rectangle", "payload": payload}


def test_a_save_of_600_000_shapes_is_an_event(run: Run) -> None:
    event = shapes(600_000)
    (row,) = run(json.dumps([event]))["one_large_event"]
    assert row == PLAIN_ROW | event | {"timestamp": PLAIN_ROW["timestamp"]}


def test_many_saves_in_one_request_are_events(run: Run) -> None:
    events = [shapes(24_000, first=number) for number in range(45)]
    rows = run(json.dumps(events))["one_large_event"]
    assert [row["payload"] for row in rows] == [event["payload"] for event in events]


def test_a_large_event_takes_no_neighbour_along(run: Run) -> None:
    body = json.dumps([shapes(10), shapes(2_000_000), PLAIN_EVENT | {"job_id": -1}, shapes(300_000)])
    outputs = run(body)
    assert [len(json.loads(row["payload"])["shapes"]) for row in outputs["one_large_event"]] == [10, 300_000]
    assert [letter["reason"] for letter in outputs["dead_letter"]] == ["too large", "bad job_id"]


@pytest.mark.parametrize("size", [limits.DIRECT_BODY, limits.DIRECT_BODY + 1])
def test_the_direct_way_ends_at_its_limit(run: Run, size: int) -> None:
    body = json.dumps([PLAIN_EVENT | {"payload": ""}])
    body = body.replace('""', '"' + "x" * (size - len(body)) + '"')
    outputs = run(body)
    way, other = ("normalise", "one_large_event")[:: 1 if size <= limits.DIRECT_BODY else -1]
    assert (len(outputs[way]), len(outputs.get(other, ()))) == (1, 0)


@pytest.mark.parametrize("count", [limits.DIRECT_EVENTS, limits.DIRECT_EVENTS + 1])
def test_more_events_than_the_direct_way_has_room_for_are_taken_all_the_same(run: Run, count: int) -> None:
    outputs = run("[" + ",".join(['{"scope":"x","timestamp":1733480873}'] * count) + "]")
    direct = count <= limits.DIRECT_EVENTS
    assert len(outputs["normalise"]) == (count if direct else 0)
    assert len(outputs.get("one_large_event", ())) == (0 if direct else count)


@pytest.mark.parametrize("repeated", ["é", "\\u0000", "€\\ud83d\\ude00", '\\"', "\xa0"])
def test_of_a_large_original_the_row_has_the_beginning_and_the_file_the_whole(
    run: Run, repeated: str
) -> None:
    body = json.dumps(PLAIN_EVENT | {"scope": ""}, ensure_ascii=False).replace('""', f'"{repeated * 70_000}"')
    body = body.replace("17334", "never")
    outputs = run(body)
    (row,), (whole,) = outputs["one_dead_letter"], outputs["whole_original"]
    assert body.startswith(row["original"])
    assert limits.LETTER - 4 <= len(row["original"].encode()) <= limits.LETTER
    digest = hashlib.sha256(body.encode()).hexdigest()
    assert (row["original_size"], row["original_sha256"]) == (len(body.encode()), digest)
    assert row["original_file"] == f"dead-letters-{whole['hour']}.jsonl"
    assert whole["received_at"].replace(" ", "T").startswith(whole["hour"])
    assert (whole["original"], whole["sha256"], whole["reason"]) == (body, digest, row["reason"])


def test_an_original_that_fits_is_whole_in_its_row(run: Run) -> None:
    body = "x" * limits.LETTER
    outputs = run(body)
    (row,) = outputs["one_dead_letter"]
    assert (row["original"], row["original_size"]) == (body, len(body))
    assert (row["original_sha256"], row["original_file"]) == ("", "")
    assert not outputs["whole_original"]


MIB = 2**20
GARBAGE = {
    "ones": ("[" + "1," * 8 * MIB + "1]", "not plain"),
    "objects of nothing": ("[" + "{}," * 8 * MIB + "{}]", "not plain"),
    "objects of one field": ("[" + '{"a":1},' * 8 * MIB + "{}]", "not plain"),
    "objects of one field each": ("[" + ",".join(['{"a":1}'] * 8 * MIB) + "]", "too many events"),
    "lines": ("1\n" * 8 * MIB, "not JSON"),
    "objects in lines": ("{}\n" * 8 * MIB, "too many events"),
    "an array that breaks off": ("[" + '{"scope":"x","timestamp":1733480873},' * MIB, "not JSON"),
    "an object that breaks off": ('{"scope":"x"' + ',"a":1' * 4 * MIB, "not JSON"),
    "nested arrays": ("[" * 8 * MIB, "not JSON"),
    "text": ("x" * 8 * MIB, "not JSON"),
    "a payload that is an object": ('{"scope":"x","timestamp":1733480873,"payload":{"a":[' + "1," * 4 * MIB + "1]}}", "not plain"),
    "many fields": ('{"scope":"x","timestamp":1' + "".join(f',"{number}":1' for number in range(MIB)) + "}", "too many fields"),
    "many fields whose names end in a backslash": ('{"scope":"x","timestamp":1' + "".join(f',"{number}\\\\":1' for number in range(MIB)) + "}", "too many fields"),
    "some fields too many": ('{"scope":"x","timestamp":1' + "".join(f',"{number}":1' for number in range(1000)) + "}", "too many fields"),
    "numbers that grow when they are written": ('{"scope":"x","timestamp":1733480873,"a":[' + "1e15," * (MIB // 2) + "1]}", "too large"),
}  # fmt: skip


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_one_dead_letter_and_takes_little_memory(run: Run, name: str) -> None:
    body, reason = GARBAGE[name]
    outputs = run(body)
    assert not outputs["normalise"]
    assert not outputs.get("one_large_event")
    (letter,) = outputs["dead_letter"]
    assert (letter["reason"], letter["original"] == body) == (reason, True), letter["message"]


def test_as_many_fields_as_are_allowed_are_taken(run: Run) -> None:
    extra = {f"n{number}": 1 for number in range(limits.FIELDS - 3)}
    for payload in ("x", json.dumps({"a": "x" * limits.ANY_FORM})):
        outputs = run(json.dumps(PLAIN_EVENT | {"payload": payload} | extra))
        (row,) = [*outputs["normalise"], *outputs.get("one_large_event", [])]
        assert json.loads(row["payload"])["n0"] == 1


flat_texts = st.text(alphabet=st.sampled_from('a":\\{},[] \té€'), max_size=8)
flat_values = st.one_of(flat_texts, st.integers(), st.floats(allow_nan=False), st.booleans(), st.none())
flat_objects = st.dictionaries(flat_texts, flat_values, min_size=1, max_size=4)


@given(st.lists(flat_objects, min_size=1, max_size=4), st.booleans())
@settings(deadline=None)
def test_every_list_of_flat_objects_has_the_form_that_is_looked_for(
    events: list[dict[str, Any]], ascii: bool
) -> None:
    text = json.dumps(events, ensure_ascii=ascii)
    assert re.search(limits.FLAT_OBJECTS, text, re.ASCII)
    # never fewer than there are: it is what memory depends on
    assert len(re.findall(limits.OBJECT_BEGINS, text)) >= len(events)
    for event in events:
        one = json.dumps(event, ensure_ascii=ascii)
        assert re.search(limits.FLAT_OBJECT, one)
        assert len(re.findall(limits.NAME_ENDS, one)) >= len(event)


nested = st.recursive(
    flat_values, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(flat_texts, inner, max_size=3)
)


@given(nested)
@settings(deadline=None)
def test_nothing_nested_has_that_form(value: Any) -> None:
    flat = (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(each, dict) and each and not any(isinstance(v, dict | list) for v in each.values())
            for each in value
        )
    )
    assert bool(re.search(limits.FLAT_OBJECTS, json.dumps(value))) == flat
