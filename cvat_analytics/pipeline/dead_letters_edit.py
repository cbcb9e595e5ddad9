"""Mend a dead letter: send the event with corrected fields, and keep the original as it came.

The letter is marked only when the corrected event has become one. What is refused again changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError, InputError
from cvat_analytics.base.texts import HALF_OF_A_PAIR, UTF_8
from cvat_analytics.connect.clickhouse_errors import STORE, explained
from cvat_analytics.pipeline.dead_letters import HASH, ID, MARK, DeadLetters, Letter, attached
from cvat_analytics.pipeline.dead_letters_retry import Retry, not_in
from cvat_analytics.store.event_columns import COLUMNS


def value_of(field: str, text: str) -> Any:
    """Return the value that `text` means for an event's field: text fields take it as it is, others as JSON (`null` is none).

    Raises InputError for a field that events do not have.
    """
    if field not in COLUMNS:
        raise InputError(
            Code.LETTER_CORRECTION, f"{field!r} is no field of an event. There are: {', '.join(COLUMNS)}"
        )
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if value is None or "String" not in COLUMNS[field] else text


def event_of(original: bytes, encoding: str = UTF_8) -> dict[str, Any]:
    """Return the event that `original` is. Raises InputError where it is not one event, or is not in this encoding."""
    try:
        event = json.loads(original.decode(encoding))
    except UnicodeError as error:
        raise InputError(Code.LETTER_NOT_EDITABLE, not_in(encoding, error)) from None
    except ValueError as error:
        raise InputError(
            Code.LETTER_NOT_EDITABLE, f"the original is no JSON ({error}), so it has no fields to correct"
        ) from None
    if isinstance(event, list):
        raise InputError(
            Code.LETTER_NOT_EDITABLE,
            "the original is a request with several events, not one: `cvat-analytics dead-letters retry` sends them one by one",
        )
    if not isinstance(event, dict):
        raise InputError(
            Code.LETTER_NOT_EDITABLE,
            f"the original is no object ({json.dumps(event)[:40]}), so it has no fields to correct",
        )
    return event


def corrected(original: bytes, fields: Mapping[str, Any], encoding: str = UTF_8) -> str:
    """Return the event `original` with other values in `fields`. Raises InputError where it is not one event, or nothing changes."""
    for field in fields:
        value_of(field, "null")
    event = event_of(original, encoding)
    mended = event | dict(fields)
    if mended == event and encoding == UTF_8:
        raise InputError(Code.LETTER_CORRECTION, "the original has these values already")
    for field, value in mended.items():
        if HALF_OF_A_PAIR.search(field + json.dumps(value, ensure_ascii=False)):
            raise InputError(
                Code.LETTER_CORRECTION,
                f"field {json.dumps(field)}: has half of a surrogate pair, which is no character: {json.dumps(value)[:200]}. "
                "Give it another value, as in --set obj_name=TEXT",
            )
    return json.dumps(mended, ensure_ascii=False, separators=(",", ":"))


def edit(source: DeadLetters, letter: Letter, text: str) -> None:
    """Send `text` in place of `letter`, and mark the letter when it has become an event.

    Raises CvatAnalyticsError, with nothing changed, where it is refused, UnreachableError where Vector or ClickHouse is away.
    """
    before = _like(source, text)
    Retry(source).send([text.encode()])
    refused = {id: why for id, why in _like(source, text).items() if id not in before}
    if refused:
        _remove(source, list(refused))
        raise CvatAnalyticsError(
            Code.LETTER_REFUSED_AGAIN,
            f"the corrected event is refused: {next(iter(refused.values()))}. Nothing has been changed",
        )
    _mark(source, letter, text)


@explained(STORE)
def _like(source: DeadLetters, text: str) -> dict[str, str]:
    """Return the letters whose original is the same JSON as `text`: why each was refused, by id."""
    query = (
        f"SELECT {ID}, concat(reason, ': ', message), original, {HASH} = {{hash:String}} FROM {source.table} FINAL "
        f"WHERE NOT startsWith(original, '{MARK}') AND received_at > now() - INTERVAL 1 DAY AND original_size BETWEEN {{least:UInt64}} AND {{most:UInt64}}"
    )
    size = len(text.encode())
    # escapes may be written in another way; of a large one the table has the beginning only
    values = {"least": size // 8, "most": size * 8, "hash": sha256(text.encode()).hexdigest()}
    wanted = json.loads(text)
    return {
        str(id): str(why)
        for id, why, original, same in source.client.query(query, parameters=values).result_rows
        if same or _json(original) == wanted
    }


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


@explained(STORE)
def _remove(source: DeadLetters, ids: list[str]) -> None:
    source.client.command(
        f"DELETE FROM {source.table} WHERE {ID} IN {{ids:Array(String)}}", parameters={"ids": ids}
    )


@explained(STORE)
def _mark(source: DeadLetters, letter: Letter, text: str) -> None:
    # of two rows with the same original the later one is read
    source.client.command(
        f"INSERT INTO {source.table} (received_at, reason, message, original, original_size, original_sha256, original_file, sender, corrected) "
        "SELECT received_at, reason, message, original, original_size, original_sha256, original_file, sender, (SELECT text FROM sent) "
        f"FROM {source.table} FINAL WHERE {ID} = {{id:String}}",
        parameters={"id": letter.id},
        external_data=attached("sent", "RawBLOB", "text String", text),
        settings={"insert_deduplicate": 0},
    )
