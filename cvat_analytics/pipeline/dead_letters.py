"""What could not be an event: look at it, and remove what is not wanted any more.

Sending it again: dead_letters_retry; sending it with other values: dead_letters_edit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.base.timestamps import refuse_backwards, text
from cvat_analytics.connect.access import Access
from cvat_analytics.connect.clickhouse_errors import STORE, explained
from cvat_analytics.pipeline.originals import Originals

if TYPE_CHECKING:
    from clickhouse_connect.driver.external import ExternalData

ID = "lower(hex(sipHash64(received_at, reason, message, original, original_sha256)))"
"""A letter's id, as SQL."""
SAME = "if(original_sha256 = '', original, original_sha256)"
"""What tells one original from another, as SQL: of a large one the table has the beginning only."""
HASH = "if(original_sha256 = '', lower(hex(SHA256(original))), original_sha256)"
"""The original's SHA-256, as SQL."""
OUR_OWN = "cvat-analytics "
"""How letters begin that are nobody's event: the next one, and that of a smoke test (store/smoke_events.py). No list has them."""
MARK = f"{OUR_OWN}dead-letters retry "
"""How the letter begins with which a retry finds out that all letters before it have arrived."""


def attached(table: str, form: str, columns: str, text: str) -> ExternalData:
    """Return what goes with a query as a table, of any size: a parameter may have 128 KiB (http_max_field_value_size)."""
    from clickhouse_connect.driver.external import ExternalData

    return ExternalData(file_name=table, data=text.encode(), fmt=form, structure=columns)


@dataclass(frozen=True)
class Choice:
    """Which letters: all conditions that are given must hold. `ids` are ids or the beginnings of some."""

    reason: str = ""
    since: datetime | None = None
    until: datetime | None = None
    contains: str = ""
    ids: Sequence[str] = ()
    open: bool = False
    """Only letters in whose place no corrected event has been sent."""

    def __post_init__(self) -> None:
        refuse_backwards(self.since, self.until)
        for each in self.ids:
            if not 4 <= len(each) <= 16 or set(each.lower()) - set("0123456789abcdef"):
                raise InputError(
                    Code.LETTER_UNKNOWN,
                    f"{each!r} is not the id of a dead letter: `cvat-analytics dead-letters list` shows them",
                )

    def condition(self) -> tuple[str, dict[str, Any]]:
        """Return the choice as an SQL condition and its parameters."""
        parts, values = [f"NOT startsWith(original, '{OUR_OWN}')"], dict[str, Any]()
        for name, sql, value in (
            ("reason", "reason = {reason:String}", self.reason),
            ("since", "received_at >= {since:DateTime64(3, 'UTC')}", self.since and text(self.since)),
            ("until", "received_at < {until:DateTime64(3, 'UTC')}", self.until and text(self.until)),
            ("contains", "(position(original, {contains:String}) > 0 OR position(message, {contains:String}) > 0)", self.contains),
            ("ids", f"arrayExists(id -> startsWith({ID}, id), {{ids:Array(String)}})", [each.lower() for each in self.ids]),
        ):  # fmt: skip
            if value:
                parts.append(sql)
                values[name] = value
        if self.open:
            parts.append("corrected = ''")
        return " AND ".join(parts), values


@dataclass(frozen=True)
class Letter:
    """A dead letter. `size`: the original's bytes, of which `original` may be the beginning only.

    `file` and `sha256` say where the whole is if the table has the beginning only; else they are empty.
    """

    id: str
    received_at: datetime
    reason: str
    message: str
    original: str
    size: int
    file: str = ""
    sha256: str = ""
    corrected: str = ""
    """The event that was sent in its place, if one was."""
    sender: str = ""
    """From which address it came; empty where nobody knows any more."""


@dataclass(frozen=True)
class Reason:
    """The letters of one reason."""

    reason: str
    count: int
    first: datetime
    last: datetime
    example: str


class DeadLetters:
    """The dead letters of the stack that `access` leads to, as the administrator sees them: nobody else may delete."""

    def __init__(self, access: Access, originals: Originals | None = None) -> None:
        self.access = access
        self.originals = originals or Originals()
        self.client = access.client()
        self.table = f"{access.database}.events_dead_letter"

    @explained(STORE)
    def reasons(self, choice: Choice) -> list[Reason]:
        """Return what there is by reason, the most frequent first."""
        condition, values = choice.condition()
        query = (
            "SELECT reason, count(), min(received_at), max(received_at), argMax(message, received_at) "
            f"FROM {self.table} FINAL WHERE {condition} GROUP BY reason ORDER BY count() DESC, reason"
        )
        return [Reason(*row) for row in self.client.query(query, parameters=values).result_rows]

    @explained(STORE)
    def letters(self, choice: Choice, limit: int, length: int = 0) -> list[Letter]:
        """Return the newest `limit` letters; of originals the first `length` characters, or all of them."""
        condition, values = choice.condition()
        original = f"substringUTF8(original, 1, {length})" if length else "original"
        query = (
            f"SELECT {ID}, received_at, reason, message, {original}, original_size, original_file, original_sha256, corrected, sender FROM {self.table} FINAL "
            f"WHERE {condition} ORDER BY received_at DESC LIMIT {limit}"
        )
        return [Letter(*row) for row in self.client.query(query, parameters=values).result_rows]

    def letter(self, id: str) -> Letter:
        """Return one letter. Raises InputError when none, or more than one, has an id that begins so."""
        matching = self.letters(Choice(ids=[id]), 2)
        if not matching:
            raise InputError(
                Code.LETTER_UNKNOWN,
                f"there is no dead letter {id}: `cvat-analytics dead-letters list` shows them",
            )
        if len(matching) > 1:
            raise InputError(
                Code.LETTER_UNKNOWN, f"more than one dead letter's id begins with {id}: give more of it"
            )
        return matching[0]

    def count(self, choice: Choice) -> tuple[int, datetime | None]:
        """Return how many letters there are, and when the last of them came."""
        reasons = self.reasons(choice)
        return sum(each.count for each in reasons), max((each.last for each in reasons), default=None)

    @explained(STORE)
    def purge(self, choice: Choice, until: datetime) -> None:
        """Remove the letters that came until then: what `count` has told, and nothing that has come since."""
        condition, values = choice.condition()
        self.client.command(
            f"DELETE FROM {self.table} WHERE {condition} AND received_at <= {{last:DateTime64(3, 'UTC')}}",
            parameters=values | {"last": text(until)},
        )
