"""What comes of each event form and trap: the cases in `cases/`, taken through the rendered transforms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.vector.conftest import Run

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
    given = [f"{letter['reason']}: {letter['message']}" for letter in letters]
    expected = case.get("refused", [])
    assert [text[: len(want)] for text, want in zip(given, expected, strict=False)] == expected, given
    assert len(given) == len(expected)
    if "originals" in case:
        assert [letter["original"] for letter in letters] == case["originals"]


def test_an_event_that_is_too_large_is_refused_and_kept_whole(run: Run) -> None:
    body = json.dumps(PLAIN_EVENT | {"payload": "x" * 2**23})
    (letter,) = run(body)["dead_letter"]
    assert (letter["reason"], letter["message"]) == ("too large", "an event may have up to 8 MiB")
    assert letter["original"] == body


@pytest.mark.parametrize("body", ["[" + ",".join("1" * 50_001) + "]", '{"a":1}\n' * 50_001])
def test_more_events_than_a_record_of_the_buffer_may_hold_are_kept_together(run: Run, body: str) -> None:
    outputs = run(body)
    assert not outputs["normalise"]
    (letter,) = outputs["dead_letter"]
    assert (letter["reason"], letter["message"]) == ("too many events", "a request may have up to 50000")
    assert letter["original"] == body


def test_as_many_events_as_are_allowed_are_taken(run: Run) -> None:
    body = "[" + ",".join(['{"scope":"x","timestamp":1}'] * 50_000) + "]"
    assert len(run(body)["normalise"]) == 50_000


def test_deep_nesting_is_kept(run: Run) -> None:
    deep = "[" * 5000 + "]" * 5000
    (row,) = run(f'{{"scope":"x","timestamp":1733480873,"payload":{deep},"extra":{deep}}}')["normalise"]
    assert json.loads(row["payload"]) == {"payload": deep, "extra": deep}
