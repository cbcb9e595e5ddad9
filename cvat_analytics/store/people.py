r"""Who is meant by an id, a name or an e-mail address, and where events say something of a person.

A person is a CVAT user id and nothing else: a name may have been somebody else's before, and an address too. What others' events say
of somebody stands in three forms, each with the id:

- JSON in the payload, `{"id": 2, "username": "ann", …}`, wherever it is in there (owner, assignee, user, old_value);
- text that Python has made of the same (`obj_val` of an update of assignee or owner);
- who was registered or deleted (`obj_id` and `obj_name` of create:user and delete:user).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.connect.clickhouse_errors import STORE, explained

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_STRING = r'"(?:[^"\\]|\\.)*"'
_FIELD = rf'{_STRING}\s*:\s*(?:{_STRING}|[^"{{}}\[\],]+)'
PERSON_OBJECT = rf'\{{\s*(?:{_FIELD}\s*,\s*)*"username"\s*:\s*{_STRING}(?:\s*,\s*{_FIELD})*\s*\}}'
"""A person in JSON, as a regular expression (RE2): a flat object with a username. A text in it may have any character."""
_PYTHON_STRING = r"'(?:[^'\\]|\\.)*'|\x22(?:[^\x22\\]|\\.)*\x22"


def quoted(pattern: str) -> str:
    """Return `pattern` as a text in SQL."""
    return "'" + pattern.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _in_python(key: str, value: str) -> str:
    return f"extract(ifNull(obj_val, ''), {quoted(rf"'{key}'(?:: |, )({value})")})"


OBJECTS = f"extractAll(ifNull(payload, ''), {quoted(PERSON_OBJECT)})"
"""The people in an event's payload, as SQL: an array of JSON texts."""
IS_ACCOUNT = "scope IN ('create:user', 'delete:user')"
"""True of an event whose obj_id and obj_name are a person, as SQL."""
IS_GIVEN = "startsWith(scope, 'update:') AND obj_name IN ('assignee', 'owner')"
"""True of an event whose obj_id and obj_val are a person, as SQL."""
GIVEN_ID = f"ifNull(obj_id, toUInt64OrZero({_in_python('id', r'\d+')}))"
"""That person's id, as SQL: CVAT writes it into obj_id; its older versions into the text only."""
GIVEN_BEFORE_ID = (
    "toUInt64OrZero(extract(JSONExtractString(ifNull(payload, ''), 'old_value'), "
    + quoted(r"'id'(?:: |, )(\d+)")
    + "))"
)
"""The id of the person who had it before, where older versions of CVAT have written them into the payload as text, too."""
MENTIONED = (
    f"arrayConcat(arrayMap(each -> JSONExtractUInt(each, 'id'), {OBJECTS}), "
    f"if({IS_ACCOUNT}, [ifNull(obj_id, 0)], []), if({IS_GIVEN}, [{GIVEN_ID}, {GIVEN_BEFORE_ID}], []))"
)
"""The ids of the people of whom an event speaks beside its own user, as SQL."""

UNDER_WAY = "erasures_under_way"
"""The table with a row for each erasure that has not come to its end: user_id, alias, keep_sums, and what the person is called: by the
next run nothing else may tell it any more."""

_WORDS = ("username", "email", "first_name", "last_name")


@dataclass(frozen=True)
class Person:
    """Somebody with all that they were ever called, as far as the stored events tell, the oldest first."""

    id: int
    names: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    other_names: tuple[str, ...] = ()
    """First and last names, of which only others' events tell."""
    first: datetime | None = None
    """When the person was first called so, and last."""
    last: datetime | None = None

    @property
    def words(self) -> list[tuple[str, str]]:
        """Return all that they were ever called, each with what it is."""
        return [
            *(("username", name) for name in self.names),
            *(("email", email) for email in self.emails),
            *(("first_name", name) for name in self.other_names),
        ]

    def __str__(self) -> str:
        """Return the person as one line of a list."""
        called = ", ".join((*self.names, *self.emails)) or "no name is stored"
        seen = f", {self.first:%Y-%m-%d} to {self.last:%Y-%m-%d}" if self.first and self.last else ""
        return f"id {self.id} ({called}{seen})"


def resolve(client: Client, database: str, who: str) -> Person:
    """Return the one person who is `who`: a CVAT user id, or a name or e-mail address that they have or once had.

    A number is always an id, known or not; upper and lower case are the same in names and addresses. Raises InputError, with all
    candidates and their ids, when more than one person has or had that name, and when none has.
    """
    found = find(client, database, who)
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(
            Code.PERSON_UNKNOWN,
            f"{who!r}: nobody is called so in the stored events, by user name or e-mail address. If you know the person's id in CVAT, give that",
        )
    listed = "\n".join(f"  {person}" for person in found)
    raise InputError(
        Code.PERSON_AMBIGUOUS,
        f"{who!r}: is or was the name of {len(found)} people. Give the id of the one that you mean:\n{listed}",
    )


@explained(STORE)
def find(client: Client, database: str, who: str) -> list[Person]:
    """Return everybody who is `who`, by id."""
    who = who.strip()
    if who.isascii() and who.isdigit():
        ids = [int(who)]
        if ids[0] >= 2**64:
            raise InputError(Code.PERSON_UNKNOWN, f"{who}: is no id of CVAT's, which has 64 bits")
    else:
        # as a parameter, as every text of a person: the log of queries shall not have it
        query = f"SELECT DISTINCT id FROM ({_called(client, database)}) WHERE kind IN ('username', 'email') AND lowerUTF8(text) = lowerUTF8({{who:String}}) ORDER BY id"
        ids = [int(row[0]) for row in client.query(query, parameters={"who": who}).result_rows]
    return _people(client, database, ids)


def _people(client: Client, database: str, ids: Sequence[int]) -> list[Person]:
    """Return what these people were called."""
    query = (
        f"SELECT id, kind, text, minIf(since, toYear(since) > 1970) AS begin, max(until) FROM ({_called(client, database)}) WHERE has({{ids:Array(UInt64)}}, id) "
        "GROUP BY id, kind, text ORDER BY begin, text"
    )
    rows = client.query(query, parameters={"ids": list(ids)}).result_rows if ids else []
    people = []
    for id in ids:
        of_kind: dict[str, list[str]] = {kind: [] for kind in _WORDS}
        times: list[datetime] = []
        for each, kind, text, since, until in rows:
            if each == id:
                of_kind[kind].append(text)
                times += [moment for moment in (since, until) if moment.year > 1970]
        people.append(
            Person(
                id, tuple(of_kind["username"]), tuple(of_kind["email"]), tuple(dict.fromkeys(of_kind["first_name"] + of_kind["last_name"])),
                min(times, default=None), max(times, default=None),
            )
        )  # fmt: skip
    return people


def _called(client: Client, database: str) -> str:
    """Return the query for what people were called: id, kind, text, and from when until when."""
    under_way = (
        "UNION ALL SELECT user_id AS id, word.1 AS kind, word.2 AS text, toDateTime64(0, 3, 'Etc/UTC') AS since, since AS until "
        f"FROM {database}.{UNDER_WAY} ARRAY JOIN words AS word"
        if int(client.command(f"EXISTS TABLE {database}.{UNDER_WAY}"))  # type: ignore[arg-type]
        else ""
    )
    own = "\nUNION ALL\n".join(
        f"SELECT assumeNotNull(user_id) AS id, '{kind}' AS kind, toString(assumeNotNull({column})) AS text, min(timestamp) AS since, max(timestamp) AS until "
        f"FROM {database}.events WHERE user_id IS NOT NULL AND {column} != '' GROUP BY user_id, {column}"
        for kind, column in (("username", "user_name"), ("email", "user_email"))
    )
    in_objects = ", ".join(
        f"arrayMap(each -> (JSONExtractUInt(each, 'id'), '{word}', JSONExtractString(each, '{word}')), objects)"
        for word in _WORDS
    )
    # of a text in Python's form, whatever its quotes; escapes stay as they are
    in_text = ", ".join(
        f"({GIVEN_ID}, '{word}', substring({_in_python(word, _PYTHON_STRING)} AS {word}_literal, 2, length({word}_literal) - 2))"
        for word in _WORDS
    )
    return f"""{own}
UNION ALL
SELECT said.1 AS id, said.2 AS kind, said.3 AS text, min(timestamp) AS since, max(timestamp) AS until
FROM
(
    WITH {OBJECTS} AS objects
    SELECT timestamp, arrayJoin(arrayConcat({in_objects},
        if({IS_ACCOUNT}, [(ifNull(obj_id, 0), 'username', toString(ifNull(obj_name, '')))], []),
        if({IS_GIVEN}, [{in_text}], []))) AS said
    FROM {database}.events
    WHERE source = 'server' AND (startsWith(scope, 'create:') OR startsWith(scope, 'update:') OR startsWith(scope, 'delete:'))
        AND (position(ifNull(payload, ''), '"username"') > 0 OR {IS_ACCOUNT} OR {IS_GIVEN})
)
WHERE said.1 != 0 AND said.3 != ''
GROUP BY said
UNION ALL
-- what is known of events that retention has dropped
SELECT id, if(kind = 'user', 'username', kind) AS kind, argMaxMerge(name) AS text, toDateTime64(0, 3, 'Etc/UTC') AS since, since AS until
FROM {database}.known_names
WHERE kind IN ('user', 'email')
GROUP BY id, kind
{under_way}"""
