"""Which lines of a journal an erasure takes out, and what it leaves as it is: the real program in Perl, on files."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

from cvat_analytics.connect.shell import Shell
from cvat_analytics.operate import erasing_files
from tests.locks import held, waited_for
from tests.pipeline.conftest import line, row
from tests.waiting import until

ID, OTHER = 5, 7
BEFORE = datetime(2026, 2, 1, tzinfo=UTC)
ANN = {"url": "http://cvat/api/users/5", "id": ID, "username": "ann", "first_name": 'F "x" }'}


def event(scope: str = "save:job", payload: Any = None, **fields: Any) -> dict[str, Any]:
    text = json.dumps(payload) if payload else None
    return row("2026-01-31 10:00:00.000", user_id=OTHER, scope=scope, payload=text, **fields)


THEIRS = [
    event("create:task", {"id": ID, "name": "t", "owner": {"id": 9, "username": "zed"}}),
    event("create:task", {"owner": {"id": 9, "username": "zed"}, "name": "t", "id": ID}),
    event("create:task", {"shapes": [{"id": ID}], "owner": {"id": 50, "username": "zed"}}),
    event("update:job", obj_name="assignee", obj_id=9, obj_val=str({"id": 9, "username": "zed"})),
    event("update:job", obj_name="state", obj_id=ID, obj_val="completed"),
    row("2026-02-01 00:00:00.000", user_id=ID),
]
"""Lines that say nothing of the person, or of later."""
WHOSEEVER = [
    event("update:comment", obj_name="message", obj_val="two"),
    event("delete:comment", obj_name="text"),
    event("update:user", obj_name="email", obj_id=9, obj_val="z@example.com"),
]
OF_THEM = [
    row("2026-01-31 10:00:00.000", user_id=ID),
    event("create:task", {"owner": ANN}),
    event("create:task", {"text": 'a " b', "assignee": {"username": "ann", "id": ID}}),
    event("create:task", {"owner": ANN | {"first_name": "x" * 70_000}}),
    event("update:job", obj_name="assignee", obj_id=ID),
    event("update:job", obj_name="assignee", obj_val=str({"id": ID, "username": "ann"})),
    event(
        "update:task", {"old_value": f"OrderedDict([('id', {ID}), ('username', 'ann')])"}, obj_name="owner"
    ),
    event("create:user", obj_id=ID, obj_name="ann"),
]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Return a plain hour and a packed one, with the same lines."""
    text = b"".join(line(each) + b"\n" for each in (*THEIRS, *WHOSEEVER, *OF_THEM))
    (tmp_path / "events-2026-01-31T10.jsonl").write_bytes(text)
    (tmp_path / "events-2026-01-31T11.jsonl.zst").write_bytes(zstd.compress(text))
    return tmp_path


def erase(journal: Path, id: int = ID) -> erasing_files.Found:
    return erasing_files.erase(erasing_files.Place(Shell("here", {}, None), str(journal)), id, BEFORE, [])


def look(journal: Path, id: int = ID) -> int:
    place = erasing_files.Place(Shell("here", {}, None), str(journal))
    return erasing_files.lines(place, id, BEFORE, [], erase=False).lines


def content(journal: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in journal.iterdir()}


def test_what_is_said_of_others_is_neither_counted_nor_taken_out(journal: Path) -> None:
    assert look(journal, 999999) == 0
    assert look(journal) == 2 * len(OF_THEM)
    assert erase(journal) == erasing_files.Found(2 * len(OF_THEM))
    left = content(journal)
    for name, data in left.items():
        text = zstd.decompress(data) if name.endswith(".zst") else data
        assert [json.loads(each) for each in text.splitlines() if each.strip()] == THEIRS, name
    assert look(journal) == 0
    assert erase(journal) == erasing_files.Found()
    assert content(journal) == left


def test_a_damaged_file_is_named_and_stops_nothing(journal: Path) -> None:
    damaged = journal / "events-2026-01-30T09.jsonl.zst"
    damaged.write_bytes(zstd.compress(line(OF_THEM[0]) * 1000)[:-5])
    before = damaged.read_bytes()
    (journal / ".events-2026-01-31T11.jsonl.zst.erase").write_bytes(b"what a kill has left")
    assert erase(journal) == erasing_files.Found(2 * len(OF_THEM), (f"{damaged} on here",))
    assert damaged.read_bytes() == before
    assert len(content(journal)) == 3
    assert look(journal) == 0


def test_it_waits_while_the_journal_is_packed(journal: Path) -> None:
    before = content(journal)
    with ThreadPoolExecutor(1) as pool:
        with held(journal):
            erasing = pool.submit(erase, journal)
            until(lambda: waited_for(journal), "the erasure waits for the lock")
            assert content(journal) == before
        assert erasing.result().lines == 2 * len(OF_THEM)
