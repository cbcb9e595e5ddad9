"""A client's text that is no UTF-8, or half of a surrogate pair, is refused by its place; what is taken can be stored as it is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvat_analytics.api import ingest
from cvat_analytics.api.idempotency import IdempotencyStore
from cvat_analytics.api.identity_providers import CvatUsers
from cvat_analytics.api.principals import Credentials, Principal
from cvat_analytics.api.problems import Problem
from cvat_analytics.base.errors import InputError
from cvat_analytics.credentials import users
from tests.api.harness import FakeVector

MOMENT = b"2026-01-01T00:00:00Z"
PLACES = {
    "a value": b'"obj_name": "%s"',
    "a name": b'"%s": 1',
    "a payload": b'"payload": "{\\"a\\": \\"%s\\"}"',
    "what is not taken": b'"tomorrow": ["%s"]',
}


def body(field: bytes) -> bytes:
    event = b'{"scope": "draw:object", "timestamp": "%s", %s}' % (MOMENT, field)
    return b'{"timestamp": "%s", "events": [%s]}' % (MOMENT, event)


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
@pytest.mark.parametrize("text", [b"caf\xe9", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf0\x9f\x98"], ids=["latin", "overlong", "surrogate", "cut"])  # fmt: skip
def test_the_byte_and_its_place_are_named(text: bytes, place: bytes) -> None:
    sent = body(place % text)
    start = next(index for index, byte in enumerate(sent) if byte > 127)
    with pytest.raises(Problem) as problem:
        ingest.read(sent)
    assert problem.value.status == 400
    assert problem.value.detail.startswith(
        f"body: is not UTF-8: the byte {sent[start]:02x} at position {start + 1}, after "
    )
    assert problem.value.detail.endswith(sent[start - 20 : start].decode())


@pytest.mark.parametrize("escape", [rb"\ud800", rb"\udc00", rb"\ud83d\u0041"])
def test_half_of_a_surrogate_pair_is_refused(escape: bytes) -> None:
    with pytest.raises(Problem) as problem:
        ingest.read(body(b'"obj_name": "%s"' % escape))
    assert (problem.value.status, "Invalid JSON" in problem.value.detail) == (400, True)


def prepared(sent: bytes) -> list[dict[str, Any]]:
    who = Principal("local:ann", 1, "ann")
    ready = ingest.prepare(ingest.read(sent), who, None, "request", datetime.now(UTC), IdempotencyStore())
    return [ingest.wire(event) for event in (*ready.events, *ready.reports)]


texts = st.lists(
    st.binary(max_size=3) | st.text(max_size=4).map(lambda text: text.encode(errors="surrogatepass"))
    | st.sampled_from([rb"\ud800", rb"\udc00", rb"\ud83d\ude00", rb"\u0000", rb"\\ud800", rb"\\udc00", rb"\\\\ud800"]),
    max_size=4,
).map(b"".join)  # fmt: skip


@given(text=texts, place=st.sampled_from(list(PLACES.values())))
def test_any_bytes_are_refused_or_can_be_stored(text: bytes, place: bytes) -> None:
    refused = ""
    try:
        events = prepared(body(place % text))
    except Problem as problem:
        refused = f"{problem.status} {problem.detail}"
    if refused:
        assert refused.startswith("400 ")
        assert refused.encode()
        return
    # as it is handed to Vector: strict, so that half of a pair would raise
    wired = json.loads(json.dumps(events, ensure_ascii=False).encode().decode())
    assert wired == events
    for event in events:
        json.dumps(json.loads(event["payload"]), ensure_ascii=False).encode()
    assert events[0]["scope"] == "draw:object"


def test_nothing_of_it_reaches_vector(as_: Callable[..., httpx.Client], vector: FakeVector) -> None:
    vector.requests.clear()
    answer = as_("plain").post(
        "/api/events",
        content=body(b'"obj_name": "caf\xe9"'),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "body"
    assert "is not UTF-8: the byte e9" in answer.json()["detail"]
    assert vector.requests == []


@pytest.mark.parametrize("name", [b"ann\xe9", rb"\ud800", rb"\udc00x", b"\xed\xa0\x80"])
def test_a_cvat_whose_names_are_no_text_is_not_believed(name: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = httpx.Response(200, content=b'{"id": 1, "username": "%s"}' % name)

    async def get(*_: Any, **__: Any) -> httpx.Response:
        return answer

    asked = CvatUsers("http://cvat.example.org")
    monkeypatch.setattr(asked._client, "get", get)
    with pytest.raises(Problem, match="its answer is not JSON"):
        asyncio.run(asked._get("/api/users/self", Credentials()))


def test_an_e_mail_of_other_bytes_is_refused() -> None:
    with pytest.raises(InputError, match="the e-mail is not UTF-8"):
        users.add({}, users.User("ann", "hash", email="ren\udce9@example.org"))
