"""`person show` and `person export` of a running stack: from what CVAT sends to the files that somebody gets."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from cvat_analytics.connect.access import Access
from cvat_analytics.connect.http import http_client
from cvat_analytics.embedded import stack
from scripts.cli import main
from tests.pipeline.conftest import Day
from tests.waiting import until


def command(running: stack.Stack, *arguments: object) -> Result:
    return CliRunner().invoke(main, ["person", *map(str, arguments), "--dir", str(running.directory)])


def send(access: Access, events: list[dict[str, Any]]) -> None:
    with http_client(access.vector.url, access.vector.tls(), timeout=60) as client:
        client.post("/", json=events).raise_for_status()


def test_a_request_is_answered(running: stack.Stack, access: Access, day: Day, tmp_path: Path) -> None:
    noon = day.at("12:00:00").timestamp()
    mine = {"user_id": 4711, "user_name": "Änne", "user_email": "aenne@example.org", "source": "client"}
    job = {"job_id": 3, "task_id": 2, "project_id": 1}
    given = "{'id': 4711, 'username': 'Änne', 'first_name': '', 'last_name': ''}"
    events = [{"scope": "draw:object", "timestamp": str(noon + second), **job, **mine} for second in range(5)]
    events += [
        {"scope": "update:job", "timestamp": str(noon), "source": "server", "obj_name": "assignee", "obj_id": 4711, "obj_val": given,
         "user_id": 4712, "user_name": "quentin", "user_email": "quentin@example.org", "payload": '{"old_value": null}', **job},
        {"scope": "draw:object", "timestamp": "never", **mine},
    ]  # fmt: skip
    record = running.directory / "person-requests.jsonl"
    # others have asked on this stack before
    others = len(record.read_text().splitlines()) if record.exists() else 0
    send(access, events)

    def shown() -> dict[str, int]:
        answer = json.loads(command(running, "show", "änne", "--json").stdout)
        return {each["place"]: each["rows"] for each in answer["found"]}

    until(
        shown,
        "everything has arrived",
        lambda found: (
            {"events": 5, "journal": 6, "events_dead_letter": 1}.items() <= found.items()
            and "working_time_by_day" in found
        ),
        despite=ValueError,
    )
    result = command(running, "show", "AENNE@example.org")
    assert result.exit_code == 0, result.output
    assert "id 4711 (Änne, aenne@example.org" in result.output
    for place in (
        "events ",
        "events (of others)",
        "events_dead_letter",
        "known_names",
        "working_time_by_day",
        "journal",
    ):
        assert f"\n{place}" in result.output, result.output
    assert "Not searched: Vector's buffer" in result.output

    answer = tmp_path / "for-aenne.zip"
    result = command(running, "export", "4711", "--output", answer)
    assert result.exit_code == 0, result.output
    assert answer.stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(answer) as packed:
        texts = {name.partition("/")[2]: packed.read(name).decode() for name in packed.namelist()}
    assert not [name for name, text in texts.items() if "quentin" in text or "4712" in text]
    assert len(texts["events.jsonl"].splitlines()) == 5
    assert "Änne" in json.loads(texts["events_of_others.jsonl"])["obj_val"]

    again = command(running, "export", "4711", "--output", answer)
    assert (again.exit_code, "is there already" in again.output) == (2, True)
    nobody = command(running, "show", "nobody-of-that-name")
    assert (nobody.exit_code, "nobody is called so" in nobody.output) == (2, True)

    kept = command(running, "expire")
    assert (kept.exit_code, "Names are kept for good" in kept.output) == (0, True)

    written = record.read_text().splitlines()[others:]
    entries = [json.loads(line) for line in written]
    assert {each["command"] for each in entries} == {"show", "export"}
    assert entries[-1]["reference"] in texts["README.txt"]
    assert not [word for word in ("4711", "nne") if word in "\n".join(written)], "nothing about the person"
    assert record.stat().st_mode & 0o777 == 0o600
