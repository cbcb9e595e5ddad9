"""What is left out of an event, and which events are left out whole, because a person was erased.

An erasure is a CVAT user id and an instant, and nothing else. What happened before that instant leaves the person out: their own
events are not stored, and in others' events what is said of them is empty. It is one SELECT, in front of the table of events
(`clickhouse/views/incoming.sql`), through which every way in passes, and the same is made of what is stored already.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cvat_analytics.base.timestamps import text
from cvat_analytics.store import people
from cvat_analytics.store.event_columns import COLUMNS

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

LIST = "erasures"
"""The table that mirrors the list: user_id, before."""
RUNS = "erasure_runs"
"""The table with who has run an erasure when."""
INCOMING, INCOMING_LETTERS = "incoming_events", "incoming_dead_letters"
"""What is inserted into to have an event, or a dead letter, stored: it keeps nothing itself."""

NO_TEXT = "materialize(CAST(NULL, 'Nullable(String)'))"
"""NULL, as SQL. Of a plain NULL in `if` ClickHouse makes a mask: the text would stay beneath it, in the file too."""

_REQUEST_ONLY = "if(JSONHas(ifNull(payload, ''), 'request'), concat('{\"request\":', JSONExtractRaw(ifNull(payload, ''), 'request'), '}'), '{}')"
_OLD_VALUE = (
    "JSONHas(ifNull(payload, ''), 'old_value') AND JSONType(ifNull(payload, ''), 'old_value') != 'Null'"
)
_NAME_CHANGED = "scope = 'update:user' AND obj_name IN ('username', 'email', 'first_name', 'last_name')"
TEXT_OF_WHOM = (
    "(scope = 'delete:comment' AND obj_name IS NOT NULL"
    f" OR (scope = 'update:comment' OR {_NAME_CHANGED}) AND (obj_val IS NOT NULL OR {_OLD_VALUE}))"
)
"""True of an event with a text of which it does not say whose it is, as SQL: a comment that somebody else may have written, somebody's
name. Of late events it is left out, whosever it was: by then nobody can tell any more. Only the very event that is stored with its text
keeps it: whoever was erased is out of what is stored, and without its text it would be a second one."""

HASH = f"sipHash128(tuple({', '.join(COLUMNS)}))"
"""What tells an event from every other, as SQL, whatever types its columns have."""

_ALL = f"(SELECT (groupArray(user_id), groupArray(before)) FROM (SELECT user_id, max(before) AS before FROM {LIST} GROUP BY user_id))"

Erasures = Mapping[int, datetime]
"""Of each person who was erased, the instant before which events leave them out."""


def literal(erasures: Erasures) -> str:
    """Return erasures as SQL: a tuple of ids and instants."""
    ids = ", ".join(map(str, erasures))
    instants = ", ".join(f"'{text(each)}'" for each in erasures.values())
    return (
        f"(CAST([{ids}], 'Array(UInt64)'), "
        f"arrayMap(each -> toDateTime64(each, 3, 'Etc/UTC'), CAST([{instants}], 'Array(String)')))"
    )


def judge(table: str) -> str:
    """Return the SELECT of the events of `table` and whether they are older than the last erasure, so that they need `let_in`."""
    # all that comes later has happened after it; and what cannot be compared is looked at
    return f"SELECT {', '.join(COLUMNS)}, ifNull(timestamp < (SELECT max(before) FROM {LIST}), 1) AS is_late FROM {table}"


def judged(table: str, condition: str) -> str:
    """Return the SELECT of the events of `table` for which the condition on `is_late` holds."""
    return f"SELECT {', '.join(COLUMNS)} FROM {table} WHERE {condition}"


def let_in(table: str) -> str:
    """Return the SELECT of those events of `table` that are let in, each without what is to be left out."""
    # of `table` ClickHouse sees what is being inserted, here too; mostly that is none, and nothing of events is read
    late = (
        f"SELECT timestamp FROM {table} WHERE {TEXT_OF_WHOM} AND timestamp < (SELECT max(before) FROM {LIST})"
    )
    stored = f"SELECT {HASH} FROM events WHERE {TEXT_OF_WHOM} AND timestamp IN ({late})"
    return f"{cleaned(_ALL, table, f'{TEXT_OF_WHOM} AND {HASH} NOT IN ({stored})')}\nWHERE NOT is_gone"


def letters_let_in(table: str) -> str:
    """Return the SELECT of those dead letters of `table` that are let in.

    A letter of an erased person, or about one, is left out whole, as is one whose time cannot be read.
    """
    columns = "received_at, reason, message, original, original_size, original_sha256, original_file, sender"
    return f"""SELECT {columns}
FROM (SELECT {columns}, {_ALL} AS erased FROM {table})
WHERE NOT (notEmpty(erased.1) AND {letter_is_gone()})"""


def letter_is_gone() -> str:
    """Return the condition on a dead letter, as SQL, that it is of or about somebody of `erased`, from before the erasure.

    A letter may have events of many people and times: each is judged by its own time, and what cannot be told apart by the earliest.
    """
    event = people.quoted(_EVENT)
    pieces = f"arrayPushBack(extractAll(original, {event}), replaceRegexpAll(original, {event}, ''))"
    numbers = "arrayMap(each -> toUInt64OrZero(each), extractAll(piece, {}))"
    own = numbers.format(people.quoted(r'"user_id"\s*:\s*"?(\d+)'))
    about = numbers.format(people.quoted(r'"obj_id"\s*:\s*"?(\d+)'))
    python = numbers.format(people.quoted(r"'id'(?:: |, )(\d+)"))
    speaks = f"match(piece, {people.quoted(_SPEAKS)})"
    # a payload is a text in JSON in JSON, or an object
    text = f"replaceRegexpAll(piece, {people.quoted(r'\\(["\\])')}, {people.quoted(chr(92) + '1')})"
    person = people.quoted(people.PERSON_OBJECT)
    objects = f"arrayConcat(extractAll(piece, {person}), extractAll({text}, {person}))"
    ids = f"arrayConcat({own}, if({speaks}, arrayConcat({about}, {python}), []), arrayMap(each -> JSONExtractUInt(each, 'id'), {objects}))"
    written = f"extractAll(piece, {people.quoted(r'"timestamp"\s*:\s*"?([^",}}\s][^",}}]*)')})"
    times = (
        "arrayMap(each -> ifNull(if(match(each, '^[0-9]{9,11}([.][0-9]+)?$'), toDateTime64(toFloat64OrZero(each), 3, 'Etc/UTC'), "
        f"parseDateTime64BestEffortOrNull(each, 3, 'Etc/UTC')), toDateTime64(0, 3, 'Etc/UTC')), {written})"
    )
    # without any time: 1970
    at = f"arrayMin(if(empty({times}), [toDateTime64(0, 3, 'Etc/UTC')], {times}))"
    return f"arrayExists(piece -> arrayExists(each -> has(erased.1, each) AND {at} < erased.2[indexOf(erased.1, each)], {ids}), {pieces})"


_TOKENS = r'(?:[^{}"]|"(?:[^"\\]|\\.)*")*'
_EVENT = rf'\{{{_TOKENS}"timestamp"\s*:{_TOKENS}\}}'
"""An event in JSON, as a regular expression (RE2): a flat object, whose payload is a text. What is around it may be broken."""
_SPEAKS = r'"scope"\s*:\s*"(?:create|delete):user"|"obj_name"\s*:\s*"(?:assignee|owner)"'


def cleaned(erased: str, table: str, forgotten: str, *more: str) -> str:
    """Return the SELECT of the events of `table` without what is to be left out, and is_gone and is_touched for its conditions.

    `erased`: a tuple of ids and instants, as SQL. `forgotten`: which texts are to be left out. `more`: other columns. In layers, because ClickHouse writes out each
    alias where it is used; and what is dear is done for late events only: all others have happened after the last erasure.
    """
    names = ", ".join((*COLUMNS, *more))
    changes = {
        "obj_name": f"if(of_account OR is_forgotten AND scope = 'delete:comment', {NO_TEXT}, obj_name)",
        "obj_id": "if(of_account OR of_given, NULL, obj_id)",
        "obj_val": f"if(of_given OR is_forgotten AND startsWith(scope, 'update:'), {NO_TEXT}, obj_val)",
        "payload": (
            f"multiIf(of_account OR is_forgotten OR of_given_before, {_REQUEST_ONLY}, notEmpty(of_objects), "
            "arrayFold((text, each) -> replaceAll(text, each, 'null'), of_objects, ifNull(payload, '')), payload)"
        ),
    }
    columns = ",\n    ".join(
        f"if(is_touched, {changes[name]}, {name}) AS {name}" if name in changes else name for name in COLUMNS
    )
    speaks = "(position(ifNull(payload, ''), '\"username\"') > 0)"
    return f"""SELECT
    {", ".join((columns, *more))}
FROM
(
    SELECT
        {names}, is_gone,
        is_late AND {forgotten} AS is_forgotten,
        is_late AND {people.IS_ACCOUNT} AND {_is_erased("ifNull(obj_id, 0)")} AS of_account,
        is_late AND {people.IS_GIVEN} AND {_is_erased(people.GIVEN_ID)} AS of_given,
        is_late AND {people.IS_GIVEN} AND {_is_erased(people.GIVEN_BEFORE_ID)} AS of_given_before,
        if(is_late AND {speaks}, arrayFilter(each -> {_is_erased("JSONExtractUInt(each, 'id')")}, {people.OBJECTS}), []) AS of_objects,
        is_forgotten OR of_account OR of_given OR of_given_before OR notEmpty(of_objects) AS is_touched
    FROM
    (
        SELECT
            {names}, erased,
            notEmpty(erased.1) AND timestamp < arrayMax(erased.2) AS is_late,
            is_late AND {_is_erased("ifNull(user_id, 0)")} AS is_gone
        FROM (SELECT {names}, {erased} AS erased FROM {table})
    )
)"""


def _is_erased(id: str) -> str:
    """Return whether the event is from before the erasure of the person with this id, as SQL."""
    return f"(has(erased.1, {id}) AND timestamp < erased.2[indexOf(erased.1, {id})])"


def left_out(erasures: Erasures, user_id: str = "user_id", timestamp: str = "timestamp") -> str:
    """Return the condition that an event is one that an erasure leaves out whole, as SQL; the columns may have other names."""
    if not erasures or not user_id:
        return "0"
    erased, id = literal(erasures), f"ifNull(toUInt64(`{user_id}`), 0)"
    return f"(has(({erased}).1, {id}) AND `{timestamp}` < ({erased}).2[indexOf(({erased}).1, {id})])"


def read(client: Client, database: str) -> dict[int, datetime]:
    """Return the erasures that the database knows; none where it is too old to know any."""
    if not int(client.command(f"EXISTS TABLE {database}.{LIST}")):  # type: ignore[arg-type]
        return {}
    rows = client.query(
        f"SELECT user_id, max(before) FROM {database}.{LIST} GROUP BY user_id ORDER BY user_id"
    ).result_rows
    return {int(id): before.replace(tzinfo=before.tzinfo or UTC) for id, before in rows}
