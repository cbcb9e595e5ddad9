"""Any bytes through each way in: every text of every table is UTF-8, and what was accepted is there."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cvat_analytics.connect.access import Access
from cvat_analytics.connect.http import http_client
from cvat_analytics.embedded import stack
from cvat_analytics.pipeline.dead_letters import Choice, DeadLetters
from cvat_analytics.store.event_columns import COLUMNS
from scripts.cli import main
from tests.waiting import PATIENCE, until

# the stack's processes outlive whoever starts them
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
FEW = settings(
    max_examples=3,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
# what may stand between quotes, in JSON and CSV alike
texts = st.lists(
    st.binary(min_size=1, max_size=4).map(lambda data: bytes(byte | 128 for byte in data))
    | st.text("aé車😀\ufffd\uf7e9", min_size=1, max_size=4).map(str.encode),
    min_size=1,
    max_size=3,
).map(b"".join)
HARD = [
    b"caf\xe9",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x98",
    "車".encode("cp932"),
    "é\ufffd😀".encode(),
    b"a good one",
]
several = st.lists(texts, min_size=6, max_size=6, unique=True).map(lambda sent: [*sent, b"a good one"])


def is_utf8(data: bytes) -> bool:
    return data.decode(errors="replace").encode() == data


def event(mark: str, text: bytes, moment: str = "1793000000.5") -> bytes:
    return b'{"scope": "draw:object", "timestamp": "%s", "obj_val": "%s", "user_name": "%s"}' % (
        moment.encode(), mark.encode(), text,
    )  # fmt: skip


def stored(access: Access, mark: str) -> list[str]:
    query = "SELECT user_name FROM cvat.events FINAL WHERE obj_val = {mark:String} ORDER BY user_name"
    return [str(name) for (name,) in access.client().query(query, parameters={"mark": mark}).result_rows]


def expected(sent: Sequence[bytes]) -> list[str]:
    """Return what must be there of texts each of which was sent on its own: the same event once."""
    return sorted({text.decode() for text in sent if is_utf8(text)}, key=str.encode)


def assert_all_is_text(access: Access) -> None:
    """Check every text of every table, and of the names that are made of them."""
    client = access.client()
    client.database = "cvat"
    query = (
        "SELECT table, name, type FROM system.columns WHERE database = 'cvat' AND match(type, 'String') "
        "AND table IN (SELECT name FROM system.tables WHERE database = 'cvat' AND (engine LIKE '%MergeTree' OR name LIKE '%\\\\_names')) "
        "AND NOT startsWith(type, 'Aggregate')"
    )
    looked = 0
    for table, name, kind in client.query(query).result_rows:
        each = f"[ifNull(`{name}`, '')]"
        if kind.startswith(("Array", "Map")):
            each = f"mapValues(`{name}`)" if kind.startswith("Map") else f"`{name}`"
        bad = f"SELECT count() FROM `{table}` WHERE NOT arrayAll(text -> isValidUTF8(text), {each})"
        assert client.query(bad).result_rows == [(0,)], (table, name)
        looked += 1
    assert looked > 20


def run(running: stack.Stack, *arguments: object) -> tuple[int, str]:
    options = [arguments[0], *arguments[1:], "--dir", running.directory]
    result = CliRunner().invoke(main, [str(option) for option in options])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result.exit_code, result.output


@FEW
@example(sent=HARD)
@given(sent=several)
def test_by_the_pipeline_and_out_of_its_dead_letters(
    running: stack.Stack, access: Access, sent: list[bytes]
) -> None:
    mark = uuid.uuid4().hex
    body = b"[%s]" % b",".join(event(mark, text) for text in sent)
    with http_client(access.vector.url, timeout=PATIENCE) as sending:
        assert sending.post("/", content=body).status_code == 200
    source = DeadLetters(access)
    refused = {text for text in sent if not is_utf8(text)}
    until(
        lambda: (len(source.letters(Choice(contains=mark), 100)), stored(access, mark)),
        "each is an event or a letter",
        lambda seen: seen[0] == len(refused) and seen[1] == expected(sent),
    )
    for letter in source.letters(Choice(contains=mark), 100):
        assert letter.reason == "not UTF-8"
    assert_all_is_text(access)
    if refused:
        code, output = run(running, "dead-letters", "retry", "--contains", mark, "--encoding", "latin-1")
        assert code == 0, output
    meant = {text.decode() if is_utf8(text) else text.decode("latin-1") for text in sent}
    until(lambda: stored(access, mark), "all are events", lambda names: set(names) == meant)
    assert_all_is_text(access)


@FEW
@example(sent=HARD)
@given(sent=several)
def test_by_the_events_api(access: Access, sent: list[bytes]) -> None:
    mark = uuid.uuid4().hex
    assert access.events_api
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    login = ("admin", access.secrets["events_api_admin"])
    with http_client(access.events_api.url, timeout=PATIENCE, login=login) as sending:
        for number, text in enumerate(sent):
            payload = json.dumps({"n": number})
            one = event(mark, text, now)[:-1] + b', "obj_name": "%s", "payload": %s}' % (
                text,
                json.dumps(payload).encode(),
            )
            answer = sending.post(
                "/api/events",
                content=b'{"timestamp": "%s", "events": [%s]}' % (now.encode(), one),
                headers={"Content-Type": "application/json"},
            )
            assert answer.status_code == (201 if is_utf8(text) else 400), (text, answer.text)
    query = "SELECT obj_name FROM cvat.events FINAL WHERE obj_val = {mark:String} ORDER BY obj_name"
    until(
        lambda: [name for (name,) in access.client().query(query, parameters={"mark": mark}).result_rows],
        "what was accepted",
        lambda names: sorted(names) == sorted(text.decode() for text in sent if is_utf8(text)),
    )
    assert_all_is_text(access)


@FEW
@example(sent=HARD)
@given(sent=several)
def test_by_an_import(running: stack.Stack, access: Access, tmp_path: Path, sent: list[bytes]) -> None:
    mark = uuid.uuid4().hex
    header = ",".join(COLUMNS).encode()

    def row(text: bytes) -> bytes:
        values = dict.fromkeys(COLUMNS, b"") | {
            "scope": b"a", "source": b"client", "timestamp": b"2026-01-31 10:00:00.000", "duration": b"0",
            "obj_val": mark.encode(), "user_name": b'"%s"' % text,
        }  # fmt: skip
        return b",".join(values.values())

    file = tmp_path / f"{mark}.csv"
    file.write_bytes(b"\n".join([header, *map(row, sent), b""]))
    code, output = run(running, "import", "--file", file)
    assert code == (0 if all(map(is_utf8, sent)) else 2), output
    assert stored(access, mark) == (expected(sent) if code == 0 else [])
    file.write_bytes(b"\n".join([header, *map(row, filter(is_utf8, sent)), b""]))
    if expected(sent):
        code, output = run(running, "import", "--file", file)
        assert code == 0, output
        assert stored(access, mark) == expected(sent)
    assert_all_is_text(access)


@FEW
@example(sent=HARD)
@given(sent=several)
def test_by_a_replay(running: stack.Stack, access: Access, tmp_path: Path, sent: list[bytes]) -> None:
    mark = uuid.uuid4().hex
    directory = tmp_path / mark
    directory.mkdir()
    day = "2026-02-01"
    lines = [
        b'{"scope":"a","source":"b","duration":0,"timestamp":"%s 10:00:00.000","obj_val":"%s","user_name":"%s"}'
        % (day.encode(), mark.encode(), text)
        for text in sent
    ]
    (directory / f"events-{day}T10.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    code, output = run(running, "replay", "--from-journal", directory, "--since", day, "--until", day)
    assert code == (0 if all(map(is_utf8, sent)) else 1), output
    assert stored(access, mark) == expected(sent)
    assert_all_is_text(access)
