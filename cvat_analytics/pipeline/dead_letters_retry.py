"""Send dead letters to Vector again.

A retry sends originals and then removes every letter about them that was there before. What fails again comes back as a
new letter, so that there is one, with the reason of today. An interruption in between leaves both, and the next retry
takes them together; an event that arrives twice is stored once.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from itertools import batched

import httpx

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError, UnreachableError
from cvat_analytics.base.texts import UTF_8, is_utf8
from cvat_analytics.base.timestamps import text
from cvat_analytics.config import limits
from cvat_analytics.connect.clickhouse_errors import STORE, explained, only_row
from cvat_analytics.connect.http import http_client
from cvat_analytics.pipeline.dead_letters import HASH, ID, MARK, SAME, Choice, DeadLetters, attached
from cvat_analytics.pipeline.originals import MissingOriginal

CHUNK_LETTERS, CHUNK_BYTES = 2000, 32 * 2**20
"""How many letters, and how much of originals, are under way at a time. So many ids, and hashes, make a parameter that
ClickHouse takes: 128 KiB (http_max_field_value_size)."""
_CONNECTIONS = 8
_ATTEMPTS = 6
_PATIENCE = 120.0
"""Seconds for a letter to become readable: a batch takes one, a ClickHouse that has just started some more."""
_PART_EVENTS, _PART_BYTES = limits.DIRECT_EVENTS, limits.ANY_FORM // 2
_MARK_LENGTH = len(MARK) + len(str(uuid.UUID(int=0)))
Progress = Callable[[int], object]


def not_in(encoding: str, error: UnicodeError) -> str:
    """Say that an original is not in this encoding, where, and what to do."""
    where = f" (at byte {error.start + 1})" if isinstance(error, UnicodeDecodeError) else ""
    return f"the original is not {encoding}{where}: say how it is encoded, as in --encoding cp1252 or --encoding cp932"


@dataclass(frozen=True)
class _Original:
    """What is sent again: its text or its beginning, its hash in ClickHouse, and whether it was a request and goes in parts.

    `file` and `sha256` tell where the whole is, if this is the beginning.
    """

    text: str
    hash: str
    in_parts: bool
    file: str
    sha256: str


@dataclass
class Retried:
    """What a retry has done, in originals: each is one, however many letters there were about it."""

    sent: int = 0
    failed: int = 0
    missing: list[str] = field(default_factory=list)
    """Why some could not be sent: the whole of them is gone, or is in another encoding. Their letters stay."""

    @property
    def accepted(self) -> int:
        """Return how many are no dead letters any more."""
        return self.sent - self.failed


class Retry:
    """Sends dead letters of the stack that `letters` are from."""

    def __init__(self, letters: DeadLetters, encoding: str = UTF_8) -> None:
        """Prepare; originals that are not UTF-8 are converted from `encoding`, if it is another."""
        self._letters, self._encoding = letters, encoding

    def run(self, choice: Choice, progress: Progress) -> Retried:
        """Send the originals again, but for those of which a corrected event is there; `progress` is told the letters that are done.

        Can be interrupted and repeated.

        Raises UnreachableError when Vector does not take them or nothing becomes readable: then no letter is removed.
        """
        choice = replace(choice, open=True)
        self._remove_marks("AND received_at < now() - 3600")
        retried = Retried()
        for originals, letters in self._chunks(choice):
            originals, requests, converted = self._requests(originals, retried)
            if not originals:
                progress(letters)
                continue
            before, alike = self._about(originals), self._like(converted)
            self.send(requests)
            after = self._about(originals)
            retried.sent += len(originals)
            retried.failed += len({original for id, original in after.items() if id not in before})
            # what was converted comes back as the letter of another text
            retried.failed += len(self._like(converted) - alike)
            self._remove(list(before))
            progress(letters)
        return retried

    def send(self, requests: Sequence[bytes]) -> None:
        """Send requests, and return when what comes of them can be read. Raises UnreachableError."""
        self._send(requests)
        self._await_what_was_sent(any(map(_is_large, requests)))

    def _requests(
        self, originals: Sequence[_Original], retried: Retried
    ) -> tuple[list[_Original], list[bytes], list[str]]:
        """Return the originals that are there as a whole, the request bodies by which they are sent, and which of these are converted."""
        there, requests, converted = list[_Original](), list[bytes](), list[str]()
        for each in originals:
            whole = each.text.encode()
            if each.file:
                try:
                    whole = self._letters.originals.whole(each.file, each.sha256)
                except MissingOriginal as error:
                    retried.missing.append(str(error))
                    continue
            in_parts = each.in_parts
            if self._encoding != UTF_8 and not is_utf8(whole):
                try:
                    text = whole.decode(self._encoding)
                except UnicodeError as error:
                    retried.missing.append(not_in(self._encoding, error))
                    continue
                # an event, or a request in which Vector could not tell one event from the other
                whole, in_parts = text.encode(), True
                converted += _elements(text) or [text]
            there.append(each)
            requests += bodies(whole, in_parts)
        return there, requests, converted

    def _chunks(self, choice: Choice) -> Iterator[tuple[list[_Original], int]]:
        """Yield originals that are to be sent, each once, and how many letters they have been chosen by, the oldest first.

        Only of letters that are there now: what comes back is not sent again.
        """
        _, last = self._letters.count(choice)
        condition, values = choice.condition()
        begin: tuple[datetime, str] | None = None
        while last is not None:
            bounds = {"last": text(last)} | ({"begin": text(begin[0]), "begin_id": begin[1]} if begin else {})
            with explained(STORE):
                query = (
                    f"SELECT received_at, {ID} AS id, original_size FROM {self._letters.table} FINAL WHERE {condition} "
                    "AND received_at <= {last:DateTime64(3, 'UTC')}"
                    + (
                        " AND (received_at, id) > ({begin:DateTime64(3, 'UTC')}, {begin_id:String})"
                        if begin
                        else ""
                    )
                    + f" ORDER BY received_at, id LIMIT {CHUNK_LETTERS}"
                )
                keys = self._letters.client.query(query, parameters=values | bounds).result_rows
                ids, size = list[str](), 0
                for moment, id, length in keys:
                    size += length
                    if ids and size > CHUNK_BYTES:
                        break
                    ids.append(id)
                    begin = (moment, id)
                if not ids:
                    return
                query = (
                    f"SELECT any(original), toString(sipHash64({SAME})) AS hash, max(reason IN ('too many events', 'not plain')), "
                    "argMax(original_file, received_at), any(original_sha256) "
                    f"FROM {self._letters.table} WHERE {ID} IN {{ids:Array(String)}} GROUP BY {SAME}"
                )
                rows = self._letters.client.query(query, parameters={"ids": ids}).result_rows
            yield (
                [
                    _Original(begin, hash, bool(in_parts), file, sha256)
                    for begin, hash, in_parts, file, sha256 in rows
                ],
                len(ids),
            )

    @explained(STORE)
    def _about(self, originals: Sequence[_Original]) -> dict[str, str]:
        """Return the letters about `originals`, chosen or not: id to the original's hash."""
        query = f"SELECT {ID}, toString(sipHash64({SAME})) AS hash FROM {self._letters.table} WHERE hash IN {{hashes:Array(String)}}"
        rows = self._letters.client.query(
            query, parameters={"hashes": [each.hash for each in originals]}
        ).result_rows
        return {str(id): str(hash) for id, hash in rows}

    @explained(STORE)
    def _like(self, texts: Sequence[str]) -> set[str]:
        """Return the ids of the letters with one of these originals."""
        if not texts:
            return set()
        # a request may have become any number of texts
        hashes = "\n".join(sha256(each.encode()).hexdigest() for each in texts)
        query = f"SELECT {ID} FROM {self._letters.table} WHERE {HASH} IN wanted"
        rows = self._letters.client.query(
            query, external_data=attached("wanted", "TSV", "hash String", hashes)
        ).result_rows
        return {str(id) for (id,) in rows}

    @explained(STORE)
    def _remove(self, ids: Sequence[str]) -> None:
        # there may be any number of letters about an original
        for some in batched(ids, CHUNK_LETTERS):
            self._letters.client.command(
                f"DELETE FROM {self._letters.table} WHERE {ID} IN {{ids:Array(String)}}",
                parameters={"ids": list(some)},
            )

    @explained(STORE)
    def _remove_marks(self, condition: str) -> None:
        self._letters.client.command(
            f"DELETE FROM {self._letters.table} WHERE startsWith(original, '{MARK}') {condition}"
        )

    def _await_what_was_sent(self, large: bool) -> None:
        """Return when every letter that has been answered is readable: those of a sink arrive in order.

        What is `large` goes to the sink by another way, where another mark comes after it.
        """
        if large:
            self._await_mark(f"{MARK}{uuid.uuid4()}".ljust(limits.DIRECT_BODY + 1, "."))
        self._await_mark(f"{MARK}{uuid.uuid4()}")

    def _await_mark(self, text: str) -> None:
        self._send([text.encode()])
        mark = text[:_MARK_LENGTH]
        deadline = time.monotonic() + _PATIENCE
        query = f"SELECT count() FROM {self._letters.table} WHERE startsWith(original, {{mark:String}})"
        while True:
            with explained(STORE):
                if only_row(self._letters.client.query(query, parameters={"mark": mark}).result_rows)[0]:
                    break
            if time.monotonic() > deadline:
                raise UnreachableError(
                    Code.NOT_DELIVERED,
                    f"what Vector has accepted did not reach ClickHouse within {_PATIENCE:.0f} s; no letter is removed. See Vector's "
                    "log, then run the same command again",
                )
            time.sleep(0.2)
        self._remove_marks(f"AND startsWith(original, '{mark}')")

    def _send(self, bodies: Sequence[bytes]) -> None:
        """Send each body as a request of its own, so that a bad one spoils no other."""
        groups = [list(bodies[start::_CONNECTIONS]) for start in range(min(_CONNECTIONS, len(bodies)))]
        with ThreadPoolExecutor(_CONNECTIONS) as pool:
            list(pool.map(self._send_in_turn, groups))

    def _send_in_turn(self, bodies: Sequence[bytes]) -> None:
        vector, login = self._letters.access.vector, self._letters.access.vector_login
        try:
            with http_client(vector.url, vector.tls(), timeout=60, login=login) as sending:
                for body in bodies:
                    status = _post(sending, body)
                    if not 200 <= status < 300:
                        raise CvatAnalyticsError(
                            Code.VECTOR_REFUSES,
                            f"Vector at {vector.url} answered HTTP {status} to a dead letter of {len(body)} bytes. Nothing of this part is "
                            "removed; see Vector's log, then run the same command again",
                        )
        except httpx.HTTPError as error:
            raise UnreachableError(
                Code.VECTOR_AWAY,
                f"Vector at {vector.url} cannot be reached ({error}). Nothing of this part is removed; run the same command again",
            ) from None


def _post(sending: httpx.Client, body: bytes) -> int:
    """Return the status of the answer, after some attempts when Vector has no room for now (429, 503)."""
    for attempt in range(_ATTEMPTS):
        response = sending.post("/", content=body, headers={"Content-Type": "application/json"})
        if response.status_code not in (429, 503):
            break
        if attempt < _ATTEMPTS - 1:
            time.sleep(0.25 * 2**attempt)
    return response.status_code


def _is_large(body: bytes) -> bool:
    """Return whether Vector may take another way with a request: it has too many bytes, or perhaps too many events."""
    return len(body) > limits.DIRECT_BODY or body.count(b"{") > limits.DIRECT_EVENTS


def bodies(whole: bytes, in_parts: bool) -> list[bytes]:
    """Return the request bodies by which an original is sent again: one, or `in_parts` as many as its events need."""
    try:
        original = whole.decode()
    except UnicodeDecodeError:
        return [whole]  # which is no JSON, and no event
    if not in_parts:
        # an event that was an array is put into one, or it would be taken for a request
        return [(f"[{original}]" if _elements(original) else original).encode()]
    elements = _elements(original)
    texts = elements or [line for line in original.split("\n") if line.strip()]
    groups, size = list[list[str]](), 0
    for each in texts:
        size += len(each) + 1
        if not groups or len(groups[-1]) == _PART_EVENTS or size > _PART_BYTES:
            groups.append([])
            size = len(each) + 1
        groups[-1].append(each)
    return [(f"[{','.join(group)}]" if elements else "\n".join(group)).encode() for group in groups]


def _elements(text: str) -> list[str]:
    """Return the texts of the elements of a JSON array; none when it is another text, or no JSON to Vector."""
    text = text.strip()
    if not text.startswith("["):
        return []
    decoder = json.JSONDecoder(parse_constant=_refused)
    elements, position = [], 1
    try:
        while True:
            begin = _after_space(text, position)
            _, end = decoder.raw_decode(text, begin)
            elements.append(text[begin:end])
            position = _after_space(text, end)
            if text[position] == "]":
                return elements if position == len(text) - 1 else []
            if text[position] != ",":
                return []
            position += 1
    except (ValueError, IndexError, RecursionError):
        return []


def _after_space(text: str, position: int) -> int:
    while text[position].isspace():
        position += 1
    return position


def _refused(constant: str) -> None:
    raise ValueError(constant)
