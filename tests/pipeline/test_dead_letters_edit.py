"""An event that nobody understood becomes one with other values, and its original stays as it came."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from cvat_analytics.base.errors import InputError
from cvat_analytics.connect.access import Access
from cvat_analytics.connect.http import http_client
from cvat_analytics.embedded import stack
from cvat_analytics.pipeline.dead_letters import Choice, DeadLetters, Letter
from cvat_analytics.pipeline.dead_letters_edit import corrected, value_of
from scripts.cli import main
from tests.waiting import PATIENCE, until

# the stack's processes outlive whoever starts them
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def command(running: stack.Stack, *arguments: object) -> tuple[int, str]:
    options = ["dead-letters", arguments[0], "--dir", running.directory, *arguments[1:]]
    result = CliRunner().invoke(main, [str(option) for option in options])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result.exit_code, result.output


def refused(access: Access, **fields: Any) -> Letter:
    """Send an event that is none, and return its letter."""
    mark = uuid.uuid4().hex
    event = {
        "scope": "draw:object",
        "source": "client",
        "timestamp": "1793000000.5",
        "obj_val": mark,
    } | fields
    with http_client(access.vector.url, timeout=PATIENCE) as sending:
        assert sending.post("/", content=json.dumps(event)).status_code == 200
    source = DeadLetters(access)
    (letter,) = until(lambda: source.letters(Choice(contains=mark), 2), "its letter")
    return letter


def stored(access: Access, mark: str) -> list[dict[str, Any]]:
    query = "SELECT obj_val, duration, user_name, toString(timestamp) AS at FROM cvat.events FINAL WHERE obj_val = {mark:String}"
    return list(access.client().query(query, parameters={"mark": mark}).named_results())


def test_a_duration_below_zero_is_not_lost_for_good(running: stack.Stack, access: Access) -> None:
    letter = refused(access, duration=-1)
    mark = json.loads(letter.original)["obj_val"]
    code, output = command(running, "edit", letter.id, "--set", "duration=0", "--dry-run")
    assert (code, "duration: -1 -> 0" in output, stored(access, mark)) == (0, True, []), output
    code, output = command(running, "edit", letter.id[:6], "--set", "duration=0", "--set", "user_name=5")
    assert code == 0, output
    (event,) = until(lambda: stored(access, mark), "the event")
    assert (event["duration"], event["user_name"], event["at"]) == (0, "5", "2026-10-26 07:33:20.500")
    kept = DeadLetters(access).letter(letter.id)
    assert (kept.original, kept.reason, kept.received_at) == (
        letter.original,
        letter.reason,
        letter.received_at,
    )
    assert json.loads(kept.corrected)["duration"] == 0
    assert "[mended]" in command(running, "list")[1]
    assert "sent as   {" in command(running, "show", letter.id)[1]
    code, output = command(running, "retry", letter.id)
    assert code == 0, output
    assert "0 dead letters about 0 different originals" in output
    assert DeadLetters(access).letter(letter.id).corrected
    code, output = command(running, "edit", letter.id, "--set", "duration=1")
    assert (code, "has been sent with other values already" in output) == (2, True)
    assert len(stored(access, mark)) == 1


def test_what_is_refused_again_changes_nothing(running: stack.Stack, access: Access, tmp_path: Path) -> None:
    letter = refused(access, timestamp="yesterday")
    before = DeadLetters(access).count(Choice())[0]
    fields = tmp_path / "fields.json"
    fields.write_text('{"timestamp": "the day before"}')
    code, output = command(running, "edit", letter.id, "--file", fields)
    assert code == 1, output
    assert "the corrected event is refused: bad timestamp: must be" in output
    assert DeadLetters(access).count(Choice())[0] == before
    assert not DeadLetters(access).letter(letter.id).corrected
    fields.write_text('{"timestamp": "2026-11-28T17:35:02Z"}')
    assert command(running, "edit", letter.id, "--file", fields)[0] == 0
    until(lambda: stored(access, json.loads(letter.original)["obj_val"]), "the event")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "say what is to be corrected"),
        (("--set", "duration"), "write it as FIELD=VALUE"),
        (("--set", "length=3"), "'length' is no field of an event. There are: scope,"),
        (("--set", "duration=-1"), "the original has these values already"),
    ],
    ids=["nothing", "no value", "no field", "the same"],
)
def test_a_correction_that_is_none_is_refused(
    running: stack.Stack, access: Access, options: tuple[str, ...], message: str
) -> None:
    letter = refused(access, duration=-1)
    code, output = command(running, "edit", letter.id, *options)
    assert (code, message in output) == (2, True), output


@pytest.mark.parametrize(
    ("original", "message"),
    [(b"not json", "is no JSON"), (b"\xff\xfe", "is not utf-8"), (b'[{"a": 1}]', "is a request with several events"), (b"5", "is no object .5.")],
    ids=["text", "bytes", "request", "number"],
)  # fmt: skip
def test_an_original_without_fields_cannot_be_edited(original: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        corrected(original, {"duration": 0})


@given(
    st.dictionaries(
        st.sampled_from(["scope", "payload", "job_id", "more"]),
        st.text() | st.integers() | st.none(),
        min_size=1,
    )
)
def test_only_what_is_named_is_another(event: dict[str, Any]) -> None:
    fields = {"user_name": "5\u2028", "duration": value_of("duration", "7")}
    assert json.loads(corrected(json.dumps(event).encode(), fields)) == event | {
        "user_name": "5\u2028",
        "duration": 7,
    }


def test_a_value_is_what_its_field_takes() -> None:
    assert [value_of("payload", '{"a":1}'), value_of("payload", "null"), value_of("user_name", "7")] == [
        '{"a":1}',
        None,
        "7",
    ]
    assert [
        value_of("job_id", "7"),
        value_of("job_id", "null"),
        value_of("timestamp", "2026-11-28T17:35:02Z"),
    ] == [7, None, "2026-11-28T17:35:02Z"]


def test_what_is_not_utf8_is_shown_as_it_came_and_converted(running: stack.Stack, access: Access) -> None:
    marks = [uuid.uuid4().hex for _ in range(3)]
    events = [
        b'{"scope": "draw:object", "timestamp": "1793000000.5", "obj_val": "%s", "user_name": "Ren\xe9"}'
        % mark.encode()
        for mark in marks
    ]
    # the second is wrong in another way, too
    events[1] = events[1].replace(b'"1793000000.5"', b'"tomorrow"')
    with http_client(access.vector.url, timeout=PATIENCE) as sending:
        assert sending.post("/", content=b"[%s]" % b",".join(events)).status_code == 200
    source = DeadLetters(access)
    until(lambda: all(source.letters(Choice(contains=mark), 1) for mark in marks), "their letters")
    letters = [source.letters(Choice(contains=mark), 1)[0] for mark in marks]
    assert {letter.reason for letter in letters} == {"not UTF-8"}
    code, output = command(running, "show", letters[0].id)
    assert (code, r"Ren\xe9" in output, "the byte e9 after" in output) == (0, True, True), output
    code, output = command(running, "edit", letters[0].id, "--set", "count=1")
    assert (code, "say how it is encoded, as in --encoding cp1252" in output) == (2, True), output
    code, output = command(running, "retry", letters[0].id, "--encoding", "shift_jis_2004x")
    assert (code, "is no encoding that Python knows" in output) == (2, True), output
    code, output = command(running, "retry", letters[0].id, "--encoding", "ascii")
    assert (code, "NOT SENT: the original is not ascii (at byte" in output) == (1, True), output
    code, output = command(running, "retry", letters[0].id)
    assert (code, "1 failed again" in output) == (1, True), output
    again = source.letters(Choice(contains=marks[0]), 2)[0].id
    code, output = command(running, "retry", again, letters[1].id, "--encoding", "cp1252")
    assert (code, "1 accepted, 1 failed again" in output) == (1, True), output
    assert [row["user_name"] for row in until(lambda: stored(access, marks[0]), "the event")] == ["René"]
    (left,) = source.letters(Choice(contains=marks[1]), 2)
    assert (left.reason, json.loads(left.original)["user_name"]) == ("bad timestamp", "René")
    code, output = command(running, "edit", letters[2].id, "--set", "count=1", "--encoding", "cp1252")
    assert (code, "count: null -> 1" in output) == (0, True), output
    assert [row["user_name"] for row in until(lambda: stored(access, marks[2]), "the event")] == ["René"]


def test_of_a_large_event_it_is_said_whether_it_is_one_now(running: stack.Stack, access: Access) -> None:
    letter = refused(access, duration=-1, payload="x" * 300_000)
    assert letter.file
    code, output = command(running, "edit", letter.id, "--set", "duration=-2")
    assert (code, "the corrected event is refused" in output) == (1, True), output[:300]
    code, output = command(running, "edit", letter.id, "--set", "duration=0")
    assert code == 0, output[:300]
    assert json.loads(DeadLetters(access).letter(letter.id).corrected)["duration"] == 0


def test_half_of_a_surrogate_pair_is_said_by_its_field() -> None:
    original = rb'{"scope": "x", "timestamp": 1, "obj_name": "\ud800"}'
    with pytest.raises(InputError, match=r'field "obj_name": has half of a surrogate pair.*\\ud800'):
        corrected(original, {"count": 1})
    assert json.loads(corrected(original, {"obj_name": "x"}))["obj_name"] == "x"
