"""Who sends: browsers that a web page makes do it are refused, and everybody's address is kept. Of the substitute and of Vector itself."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from logstash_async.transport import HttpTransport

from cvat_analytics.config import limits
from tests.vector.fake_clickhouse import FakeClickHouse
from tests.vector.running import Substitute
from tests.waiting import until

FORGED = '[{"scope": "save:job", "timestamp": 1733480873, "obj_name": "forged"}]'
PAGES: Mapping[str, Mapping[str, str]] = {
    "fetch of a text": {"Origin": "https://evil.example.org", "Content-Type": "text/plain;charset=UTF-8"},
    "from a file": {"Origin": "null"},
    "as JSON": {"Origin": "http://127.0.0.1:8080", "Content-Type": "application/json"},
    "that hides its origin": {"Sec-Fetch-Site": "cross-site", "Content-Type": "application/json"},
    "form of an old browser": {"Content-Type": "text/plain"},
    "another form of it": {"Content-Type": "Multipart/Form-Data; boundary=x"},
}
PROGRAMS_OF_OTHERS: Mapping[str, Mapping[str, str]] = {
    "nothing said": {},
    "JSON": {"Content-Type": "application/json"},
    "lines": {"Content-Type": "application/x-ndjson"},
    "as curl sends it": {"Content-Type": "application/x-www-form-urlencoded"},
}


def event(name: str, **fields: object) -> dict[str, object]:
    return {"scope": "load:cvat", "timestamp": "1733480873.184401", "obj_name": name} | fields


@pytest.mark.parametrize("headers", PAGES.values(), ids=PAGES.keys())
def test_a_browser_is_refused(
    vector: Substitute, clickhouse: FakeClickHouse, headers: Mapping[str, str]
) -> None:
    assert vector.request("POST", body=FORGED, headers=headers)[0] == 401
    marker = f"after it, {sorted(headers.items())}"
    assert vector.request("POST", body=json.dumps(event(marker)))[0] == 200
    until(lambda: _names(clickhouse), "what came after it", lambda seen: marker in seen)
    assert "forged" not in _names(clickhouse)


@pytest.mark.parametrize("headers", PAGES.values(), ids=PAGES.keys())
def test_so_it_is_at_the_port_at_which_large_requests_come_back(
    vector: Substitute, headers: Mapping[str, str]
) -> None:
    outside, vector.port = vector.port, int((vector.root / "large_port").read_text())
    try:
        assert vector.request("POST", body=FORGED, headers=headers)[0] == 401
    finally:
        vector.port = outside


@pytest.mark.parametrize(
    "token", [{}, {"X-CVAT-Analytics-Token": "guessed"}], ids=["no token", "another token"]
)
def test_nobody_else_on_the_host_says_there_who_has_sent_it(
    vector: Substitute, clickhouse: FakeClickHouse, token: Mapping[str, str]
) -> None:
    outside, vector.port = vector.port, int((vector.root / "large_port").read_text())
    try:
        headers = {"X-CVAT-Analytics-Sender": "from 10.9.9.9", **token}
        assert vector.request("POST", body=FORGED, headers=headers)[0] == 401
    finally:
        vector.port = outside


@pytest.mark.parametrize("headers", PROGRAMS_OF_OTHERS.values(), ids=PROGRAMS_OF_OTHERS.keys())
def test_programs_are_taken(vector: Substitute, headers: Mapping[str, str]) -> None:
    assert vector.request("POST", body=json.dumps(event("by a program")), headers=headers)[0] == 200


def test_cvats_own_client_is_taken(vector: Substitute, clickhouse: FakeClickHouse) -> None:
    transport = HttpTransport("127.0.0.1", vector.port, timeout=60, ssl_enable=False)
    transport.send([json.dumps(event("by CVAT itself"))])  # raises for every answer but 200
    until(lambda: _names(clickhouse), "the row", lambda seen: "by CVAT itself" in seen)


@pytest.mark.parametrize("size", [10, limits.DIRECT_BODY + 1], ids=["small", "large"])
def test_the_address_of_the_sender_is_in_the_journal_and_in_the_dead_letter(
    vector: Substitute, clickhouse: FakeClickHouse, size: int
) -> None:
    name, original = f"kept {size}", json.dumps({"no event": size})
    # neither an event nor a header of the sender's own says where it comes from
    body = f"[{json.dumps(event(name, obj_val='x' * size, sender='10.9.9.9', path='10.9.9.9'))}, {original}]"
    headers = {"X-CVAT-Analytics-Sender": "from 10.9.9.9", "X-Forwarded-For": "10.9.9.9"}
    assert vector.request("POST", body=body, headers=headers, sender="127.0.0.7")[0] == 200
    until(lambda: _names(clickhouse), "the event", lambda seen: name in seen)
    letters = until(
        lambda: [row for row in clickhouse.rows("events_dead_letter") if row["original"] == original],
        "the letter",
    )
    assert letters[0]["sender"] == "127.0.0.7"

    def journal() -> list[str]:
        files = (vector.root / "var/lib/vector/journal").glob("events-*.jsonl")
        rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
        return [row["sender"] for row in rows if row["obj_name"] == name]

    until(journal, "the line", lambda senders: senders == ["127.0.0.7"])
    assert all("sender" not in row for row in clickhouse.rows()), "it is no column of the events"


def _names(clickhouse: FakeClickHouse) -> list[str]:
    return [row["obj_name"] for row in clickhouse.rows()]
