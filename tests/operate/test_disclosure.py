"""What is stored of a person is found wherever it stands, and given out without anybody else."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from cvat_analytics.base.errors import InputError
from cvat_analytics.connect.access import Access
from cvat_analytics.operate import disclosure_files
from cvat_analytics.operate.disclosure import Disclosure, Found, Stored
from cvat_analytics.operate.others import SOMEBODY, TEXT
from cvat_analytics.pipeline import journal
from cvat_analytics.pipeline.originals import Originals, in_directory
from tests.clickhouse import Store, way_to
from tests.serving import QuietServer, served

DAY = datetime.now(UTC).date() - timedelta(days=40)
ANN = {"user_id": 2, "user_name": "anna", "user_email": "Ann@Example.org"}
BOB = {"user_id": 3, "user_name": "bobby", "user_email": "bobby@example.org"}
BOSS = {"user_id": 1, "user_name": "bossy", "user_email": "bossy@example.org"}


def person(id_: int, name: str) -> dict[str, Any]:
    return {"id": id_, "username": name, "first_name": f"{name}first", "last_name": f"{name}last"}


def event(
    second: int, scope: str, who: dict[str, Any], source: str = "server", **fields: Any
) -> dict[str, Any]:
    if isinstance(fields.get("payload"), dict):
        fields["payload"] = json.dumps(fields["payload"])
    return {
        "scope": scope,
        "source": source,
        "timestamp": f"{DAY} 10:00:{second:02}.000",
        "job_id": 7,
        "task_id": 5,
        **who,
        **fields,
    }


OWN = [
    event(1, "draw:object", ANN | {"user_name": "ann"}, "client", duration=900),
    event(2, "draw:object", ANN, "client"),
    # an answer to somebody, whose address is theirs
    event(3, "create:comment", ANN, obj_id=11, obj_name="too large, ask bobby@example.org", payload={"owner": person(2, "anna")}),
    event(4, "update:job", ANN, obj_name="assignee", obj_id=3, obj_val=str(person(3, "bobby")), payload={"old_value": person(2, "anna")}),
    event(5, "update:job", ANN, obj_name="state", obj_val="completed", payload={"old_value": "new"}),
]  # fmt: skip
OF_OTHERS = [
    event(10, "update:job", BOSS, obj_name="assignee", obj_id=2, obj_val=str(person(2, "anna")), payload={"old_value": person(3, "bobby")}),
    event(11, "create:membership", BOSS, payload={"user": person(2, "anna"), "role": "worker", "invitation": {"owner": person(1, "bossy")}}),
    event(12, "create:issue", BOB, payload={"owner": person(3, "bobby"), "assignee": person(2, "anna")}),
    event(13, "delete:comment", BOSS, obj_id=11, obj_name="too large, ask bobby@example.org"),
    event(14, "create:user", BOSS, obj_id=2, obj_name="anna", payload={"first_name": "Ann"}),
    event(15, "send:exception", BOB, payload={"message": "no mail to ann@example.org or bossy@example.org"}),
]  # fmt: skip
ELSEWHERE = [
    event(20, "draw:object", BOB, "client", job_id=2, obj_id=2, task_id=2, project_id=2),
    event(21, "create:comment", BOB, obj_id=12, obj_name="stupid", payload={"owner": person(3, "bobby")}),
    event(22, "delete:comment", BOSS, obj_id=12, obj_name="stupid"),
    event(23, "update:job", BOSS, obj_name="assignee", obj_id=3, obj_val=str(person(3, "bobby")), payload={"old_value": person(22, "zoe")}),
]  # fmt: skip
LETTERS = [
    ("a duration", json.dumps({**OWN[0], "duration": -1})),
    ("a request", json.dumps([OWN[1], ELSEWHERE[0] | {"user_name": "bobby"}])),
    ("no JSON", '{"user_id": 2, "user_email": "ann@example.org", "user_email": "bobby@exa'),
    ("a name and no id", '{"scope": "save:job", "user_name": "anna"}'),
]
FOREIGN = [
    ("another's", json.dumps(ELSEWHERE[0])),
    ("that name, another id", '{"user_id": 22, "user_name": "anna"}'),
]


class _Grafana(BaseHTTPRequestHandler):
    """A substitute for Grafana's API of users (docs: /developers/http_api/user/)."""

    def do_GET(self) -> None:
        answers = {
            "/api/health": {"version": "12.4.0"},
            "/api/users/lookup?loginOrEmail=2%40cvat": {"login": "2@cvat", "name": "anna", "createdAt": "2026-01-02T03:04:05Z"},
        }  # fmt: skip
        found = answers.get(self.path.removeprefix("/analytics"))
        self.send_response(200 if found else 404)
        self.end_headers()
        self.wfile.write(json.dumps(found or {"message": "user not found"}).encode())

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def access(shared_engine: Store) -> Iterator[Access]:
    with shared_engine.another() as store, served(QuietServer(("127.0.0.1", 0), _Grafana)) as grafana:
        for _ in range(2):
            store.insert([*OWN, *OF_OTHERS, *ELSEWHERE])
        for reason, original in (*LETTERS, *FOREIGN):
            row = {
                "received_at": f"{DAY} 11:00:00.000",
                "reason": reason,
                "message": f"it says {original}"[:90],
                "original": original,
            }
            store.post(f"INSERT INTO events_dead_letter FORMAT JSONEachRow\n{json.dumps(row)}")
        store.refresh()
        yield way_to(store.context, grafana=("127.0.0.1", grafana.server_address[1]))


@pytest.fixture
def stored(access: Access, tmp_path: Path) -> Stored:
    directory = tmp_path / "journal"
    directory.mkdir()
    lines = [
        json.dumps(each, sort_keys=True, separators=(",", ":")) for each in (*OWN, *OF_OTHERS, *ELSEWHERE)
    ]
    (directory / f"events-{DAY}T10.jsonl").write_text("\n".join(lines) + "\n")
    large = [
        {"scope": "save:job", "user_id": 2, "payload": "x" * 300},
        {"scope": "save:job", "user_id": 3, "user_name": "bobby"},
    ]
    originals = [json.dumps(large), json.dumps(large[1:]), '{"user_id": 2, "user_name": "bobby']
    kept = [
        {"sha256": sha256(each.encode()).hexdigest(), "reason": "x", "original": each} for each in originals
    ]
    (directory / f"dead-letters-{DAY}T11.jsonl").write_text("".join(json.dumps(each) + "\n" for each in kept))
    exports = [
        {"owner": owner, "created": 1.79e9, "expires": 1.79e9 + 3600, "filename": name}
        for owner, name in (("cvat:2", "mine.csv"), ("cvat:3", "x.csv"))
    ]
    return Stored(access, [("here", journal.find(directory))], Originals([in_directory(directory)]), exports)


def by_place(found: list[Found]) -> dict[str, int]:
    return {each.place: each.rows for each in found}


def test_every_place_is_found_with_its_rows_and_its_time(stored: Stored) -> None:
    disclosure = Disclosure(stored, "ann@example.ORG")
    assert disclosure.person.id == 2
    found = disclosure.found()
    assert by_place(found) == {
        "events": len(OWN),
        "events (of others)": len(OF_OTHERS),
        "events_dead_letter": len(LETTERS),
        "known_names": 2,
        "working_time_by_day": 2,
        "working_time_results": 1,
        "working_time_days": 1,
        "job_changes": 1,
        "journal": len(OWN) + len(OF_OTHERS),
        "journal: large dead letters": 2,
        "events API: their exports": 1,
        "events API: exports of others": 1,
        "Grafana: users": 1,
    }
    (events,) = [each for each in found if each.place == "events"]
    assert f"{events.first:%Y-%m-%d %H:%M:%S} {events.last:%H:%M:%S}" == f"{DAY} 10:00:01 10:00:05"
    (letters,) = [each for each in found if each.place == "events_dead_letter"]
    assert letters.until is not None
    assert letters.until.date() == DAY + timedelta(days=90), "the setting's default"
    assert disclosure.incomplete == []


def test_somebody_of_whom_only_others_tell_is_found_too(stored: Stored) -> None:
    found = by_place(Disclosure(stored, "22").found())
    assert found["events (of others)"] == 1
    assert "events" not in found


def test_nothing_of_anybody_else_is_given_out(stored: Stored, tmp_path: Path) -> None:
    path = tmp_path / "answer"
    files = disclosure_files.write(Disclosure(stored, "anna"), path, "ref", lambda done: None)
    texts = {file.name: file.read_text() for file in path.iterdir()}
    for name, text in texts.items():
        for other in ("bob", "boss", "zoe", "stupid"):
            assert other not in text.lower(), name
    assert files == {
        "events.jsonl": 5, "events_dead_letter.jsonl": 4, "known_names.csv": 2, "working_time_by_day.jsonl": 2, "working_time_results.jsonl": 1,
        "working_time_days.jsonl": 1, "job_changes.csv": 1, "events_of_others.jsonl": 6, "journal.jsonl": 11, "exports.jsonl": 1, "large_dead_letters.jsonl": 2,
        "grafana_user.jsonl": 1,
    }  # fmt: skip
    assert {*files, "README.txt", "person.json", "summary.json"} == set(texts)
    own = [json.loads(line) for line in texts["events.jsonl"].splitlines()]
    assert [each["user_name"] for each in own] == ["ann", "anna", "anna", "anna", "anna"], "as it was stored"
    assert own[2]["obj_name"] == f"too large, ask {SOMEBODY}"
    assert own[3]["obj_val"] == SOMEBODY
    assert json.loads(own[3]["payload"]) == {"old_value": person(2, "anna")}
    others = [json.loads(line) for line in texts["events_of_others.jsonl"].splitlines()]
    assert {each["user_id"] for each in others} == {None}
    assert others[0]["obj_id"] == 2
    assert json.loads(others[0]["payload"])["old_value"]["username"] == SOMEBODY
    assert json.loads(others[1]["payload"])["user"] == person(2, "anna")
    assert others[3]["obj_name"] == f"too large, ask {SOMEBODY}", "their own text, whoever deleted it"
    assert "ann@example.org" in others[5]["payload"]
    letters = {
        each["reason"]: each for each in map(json.loads, texts["events_dead_letter.jsonl"].splitlines())
    }
    assert [each["user_name"] for each in letters["a request"]["original"]] == ["anna"]
    assert letters["no JSON"]["original"] == TEXT
    with (path / "known_names.csv").open(newline="") as file:
        assert {(row["kind"], row["name"]) for row in csv.DictReader(file)} == {
            ("user", "anna"),
            ("email", "Ann@Example.org"),
        }
    assert "id 2" in texts["README.txt"]
    assert "events_of_others.jsonl:" in texts["README.txt"]
    assert (path.stat().st_mode & 0o777, {each.stat().st_mode & 0o777 for each in path.iterdir()}) == (
        0o700,
        {0o600},
    )


def test_a_zip_is_for_its_owner_alone_and_there_when_it_is_whole(stored: Stored, tmp_path: Path) -> None:
    path = tmp_path / "answer.zip"
    disclosure_files.write(Disclosure(stored, "2"), path, "ref", lambda done: None)
    assert path.stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(path) as packed:
        assert packed.testzip() is None
        assert "answer/README.txt" in packed.namelist()
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []
    with pytest.raises(InputError, match="is there already"):
        disclosure_files.refuse_existing(path)


def test_what_cannot_be_looked_at_is_said(access: Access, stored: Stored, tmp_path: Path) -> None:
    away = way_to_nowhere(access)
    disclosure = Disclosure(Stored(away, missing=["journal: host v: is away"]), "2")
    disclosure_files.write(disclosure, tmp_path / "answer", "ref", lambda done: None)
    assert disclosure.incomplete == [
        "journal: host v: is away",
        f"Grafana at {away.grafana.url}: could not be asked for its users (ConnectError)",
    ]
    assert "NOT COMPLETE" in (tmp_path / "answer" / "README.txt").read_text()


def way_to_nowhere(access: Access) -> Access:
    """Return the same way, to a Grafana that is not there."""
    return replace(access, grafana=replace(access.grafana, port=1))
