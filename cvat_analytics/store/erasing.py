"""Take a person out of what is stored, so that it can be cut off anywhere and is completed by the next run.

Names, addresses and payload are part of the sort key of `events`, so nothing there can be updated. Instead, month by month:

1. which of others' events say something of the person is written down (by hash, in a table of our own);
2. each is inserted once more without it;
3. exactly what was written down is deleted by rewriting the parts that have it.

Only when others' events of all months are done, the person's own go (or, where sums are kept, are inserted under a number that nobody has
first): that a comment which somebody else deleted was theirs, nothing but their own events tells.

A run that is cut off finds what is still there, and does these steps with that: an event that was inserted already is the same row. What
the person is called is kept until the end, for the steps and for whoever gives a name to complete it. What is made of events goes after
them, in an order in which no background work can bring it back.
"""

from __future__ import annotations

import json
import secrets
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.base.timestamps import text
from cvat_analytics.connect.clickhouse_errors import STORE, explained, only_row
from cvat_analytics.store import erasures
from cvat_analytics.store.erasures import LIST, RUNS
from cvat_analytics.store.event_columns import COLUMNS
from cvat_analytics.store.people import UNDER_WAY, Person

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_ROWS = "erasure_rows"
ALIASES = 9_000_000_000_000_000
"""From here on a user id is the number of nobody: sums that were kept. JavaScript's numbers are exact to 9.007e15."""
_PATIENCE = 600.0

_PLAIN = ", ".join(
    f"CAST({name}, '{kind}') AS {name}" if "String" in kind else name for name, kind in COLUMNS.items()
)
"""An event's columns without dictionaries: of a LowCardinality column the words of other rows would be written into a part, too."""
_KEPT = (
    "rectangle", "polygon", "polyline", "points", "ellipse", "cuboid", "mask", "skeleton", "state", "stage", "status",
)  # fmt: skip
_VALUES = ("new", "in progress", "completed", "rejected", "annotation", "validation", "acceptance")
_UUID = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"


def _among(values: tuple[str, ...]) -> str:
    return "(" + ", ".join(f"'{value}'" for value in values) + ")"


def _member(name: str, value: str, condition: str) -> str:
    """Return a member of a JSON object as SQL, empty where `condition` is not so."""
    return f"if({condition}, concat('\"{name}\":', {value}), '')"


_STAGE, _OLD, _ID = (
    "JSONExtractString(ifNull(payload, ''), 'stage')",
    "JSONExtractString(ifNull(payload, ''), 'old_value')",
    "request_id",
)
_SUMS: dict[str, str] = {
    # only what is one of a few words is kept of texts; numbers that count stay, and what they belong to
    "obj_name": f"if(obj_name IN {_among(_KEPT)}, obj_name, {erasures.NO_TEXT})",
    "obj_id": "if(scope IN ('create:job', 'create:task', 'create:project'), obj_id, NULL)",
    "obj_val": f"if(scope = 'update:job' AND obj_val IN {_among(_VALUES)}, obj_val, {erasures.NO_TEXT})",
    "user_name": "NULL",
    "user_email": "NULL",
    "org_slug": "NULL",
    "access_token_id": "NULL",
    "payload": "concat('{', arrayStringConcat(arrayFilter(each -> each != '', ["
    + ", ".join(
        (
            _member("working_time", "toString(JSONExtractUInt(ifNull(payload, ''), 'working_time'))", "JSONHas(ifNull(payload, ''), 'working_time')"),
            _member("stage", f"concat('\"', {_STAGE}, '\"')", f"{_STAGE} IN {_among(_VALUES)}"),
            _member("old_value", f"concat('\"', {_OLD}, '\"')", f"{_OLD} IN {_among(_VALUES)}"),
            _member("request", f"concat('{{\"id\":\"', {_ID}, '\"}}')", f"match({_ID}, '{_UUID}')"),
        )
    )
    + "]), ','), '}')",
}  # fmt: skip


class Erasing:
    """A person who is taken out of the stack's ClickHouse, whose `client` is the administrator's."""

    def __init__(self, client: Client, database: str, person: Person, before: datetime) -> None:
        self.client, self.database, self.person = client, database, person
        self.before = before
        at = f"toDateTime64('{text(before)}', 3, 'Etc/UTC')"
        self._own = f"(user_id = {person.id} AND timestamp < {at})"
        self._at = at
        self._erased = erasures.literal({person.id: before})
        # as parameters: texts of the person shall stand in no log and in no file of a mutation
        self._words = {
            "words": list({*person.names, *person.emails, *person.other_names}),
            "quoted": [
                f"{quote}{word}{quote}"
                for word in {*person.names, *person.emails}
                for quote in ('"', "'", '\\"')
            ],
        }

    # what there is

    @explained(STORE)
    def found(self) -> dict[str, int]:
        """Return how much there is of the person, by place."""
        counts = {
            "events of their own": self._number(f"SELECT count() FROM {self._t('events')} FINAL WHERE {self._own}"),
            "events of others that speak of them": self._number(f"SELECT uniqExact(hash) FROM ({self._touched()})"),
            "names and addresses": self._number(f"SELECT uniqExact(kind) FROM {self._t('known_names')} WHERE {self._name}"),
            "days of working time": self._number(
                f"SELECT uniqExact(day) FROM (SELECT day FROM {self._t('working_time_days')} WHERE {self._worked} UNION ALL "
                f"SELECT day FROM {self._t('working_time_results')} WHERE {self._worked} UNION ALL SELECT source_day FROM {self._t('working_time_by_day')} WHERE {self._worked_by_day})"
            ),
            # each once, and those that only a former count has as well: all of their rows go
            "hourly counts": self._number(
                f"SELECT uniqExact((hour, scope, source, org_id, project_id, task_id, job_id)) FROM {self._t('event_counts_settled')} WHERE {self._counted}"
            ),
            "changes of jobs": self._number(f"SELECT count() FROM {self._t('job_changes')} FINAL WHERE {self._own}"),
            "dead letters": self._number(f"SELECT count() FROM {self._t('events_dead_letter')} FINAL WHERE {self._letter}"),
        }  # fmt: skip
        for table, condition in self._copies():
            counts[f"rows of the table {table}"] = self._number(
                f"SELECT count() FROM {self._t(table)} WHERE {condition}"
            )
        return counts

    @explained(STORE)
    def letters(self) -> list[str]:
        """Return the SHA-256 of the originals of dead letters to go whose whole is in a file beside the journal."""
        query = f"SELECT DISTINCT original_sha256 FROM {self._t('events_dead_letter')} WHERE original_sha256 != '' AND {self._letter}"
        return [str(row[0]) for row in self._rows(query)]

    # what is done

    @explained(STORE)
    def run(self, keep_sums: bool) -> Iterator[str]:
        """Take the person out, yielding what comes next. Raises CvatAnalyticsError."""
        yield "the list of erasures"
        remember(self.client, self.database, {self.person.id: self.before})
        self._begin(keep_sums)
        self._wait_for_inserts()
        # again until none is left: an INSERT that was running may have had a reason to store one as it was (erasures.let_in)
        while months := self._months(f"({self._touched()})"):
            for month in months:
                yield f"events of others of {_year_and(month)}"
                self._clean(month)
            self._wait_for_inserts()
        for month in self._months(f"{self._t('events')} WHERE {self._own}"):
            yield f"events of {_year_and(month)}"
            self._take_out(month, keep_sums)
        yield "changes of jobs"
        self._job_changes(keep_sums)
        yield "working time"
        self._working_time(keep_sums)
        yield "hourly counts"
        self._counts()
        yield "names"
        self._delete("known_names", self._name)
        yield "dead letters"
        self._letters()
        for table, condition in self._copies():
            yield f"the table {table}"
            self._delete(table, condition)
        self._return_later()
        self._end()

    @explained(STORE)
    def under_way(self) -> bool | None:
        """Return whether a run that was cut off keeps sums; None when there was none."""
        if not self._number(f"EXISTS TABLE {self._t(UNDER_WAY)}"):
            return None
        rows = self._rows(f"SELECT keep_sums FROM {self._t(UNDER_WAY)} WHERE user_id = {self.person.id}")
        return bool(rows[0][0]) if rows else None

    def _begin(self, keep_sums: bool) -> None:
        """Have the tables of what is under way, and in them the number that stands for the person, the same until it is done."""
        self._do(
            f"CREATE TABLE IF NOT EXISTS {self._t(UNDER_WAY)} (user_id UInt64, alias UInt64, keep_sums Bool, words Array(Tuple(String, String))) ENGINE = MergeTree ORDER BY user_id"
        )
        # an inner part of the work: of no use to the next run, which looks for itself
        self._do(f"DROP TABLE IF EXISTS {self._rows_table} SYNC")
        self._do(f"CREATE TABLE {self._rows_table} (hash FixedString(16)) ENGINE = MergeTree ORDER BY hash")
        if not self._number(f"SELECT count() FROM {self._t(UNDER_WAY)} WHERE user_id = {self.person.id}"):
            alias = ALIASES + secrets.randbelow(7_000_000_000_000)
            self.client.insert(
                self._t(UNDER_WAY),
                [(self.person.id, alias, keep_sums, self.person.words)],
                column_names=["user_id", "alias", "keep_sums", "words"],
            )

    def _end(self) -> None:
        """Forget which number stood for whom, and what they were called."""
        self._do(f"DROP TABLE IF EXISTS {self._rows_table} SYNC")
        self._delete(UNDER_WAY, f"user_id = {self.person.id}")
        if not self._number(f"SELECT count() FROM {self._t(UNDER_WAY)}"):
            self._do(f"DROP TABLE {self._t(UNDER_WAY)} SYNC")

    def _months(self, of: str) -> list[int]:
        return [
            int(row[0])
            for row in self._rows(f"SELECT DISTINCT toYYYYMM(timestamp) AS month FROM {of} ORDER BY month")
        ]

    def _clean(self, month: int) -> None:
        """Take the person out of others' events."""
        within = f"toYYYYMM(timestamp) = {month}"
        names = ", ".join((*COLUMNS, "received_at"))
        written = f"IN (SELECT hash FROM {self._rows_table})"
        self._do(f"TRUNCATE TABLE {self._rows_table}")
        self._do(
            f"INSERT INTO {self._rows_table} SELECT DISTINCT hash FROM ({self._cleaned(within)})", self._words
        )
        self._insert(
            f"events ({names})",
            f"SELECT {names} FROM ({self._cleaned(within)}) WHERE hash {written}",
            self._words,
        )
        self._delete("events", f"{within} AND {erasures.HASH} {written}", f"IN PARTITION {month}")

    def _take_out(self, month: int, keep_sums: bool) -> None:
        """Take the person's own events out."""
        if keep_sums:
            names = ", ".join((*COLUMNS, "received_at"))
            self._insert(f"events ({names})", self._without_name(f"toYYYYMM(timestamp) = {month}"))
        self._delete("events", self._own, f"IN PARTITION {month}")

    def _without_name(self, within: str) -> str:
        """Return the person's own events as they are kept for their sums: of nobody, and with no text of theirs.

        Two that differ in nothing that is left stay two by a number in the payload.
        """
        columns = ", ".join(
            f"{_SUMS.get(name, name)} AS kept_{name}" for name in COLUMNS if name != "user_id"
        )
        again = ", ".join(f"kept_{name}" for name in COLUMNS if name != "user_id")
        chosen = ", ".join(
            {
                "user_id": f"(SELECT any(alias) FROM {self._t(UNDER_WAY)} WHERE user_id = {self.person.id})",
                "payload": "if(nth = 1, kept_payload, concat(substring(kept_payload, 1, length(kept_payload) - 1), if(length(kept_payload) > 2, ',', ''), '\"nth\":', toString(nth), '}'))",
            }.get(name, f"kept_{name}")
            for name in COLUMNS
        )
        return (
            f"SELECT {chosen}, received_at FROM (SELECT *, row_number() OVER (PARTITION BY {again} ORDER BY hash) AS nth "
            f"FROM (SELECT {columns}, received_at, hash FROM (SELECT {_PLAIN}, received_at, request_id, {erasures.HASH} AS hash FROM {self._t('events')} FINAL WHERE {self._own} AND {within})))"
        )

    def _job_changes(self, keep_sums: bool) -> None:
        """Leave which stage a job was in: the histories of jobs are others', too. Whoever changed it is nobody."""
        who = (
            f"(SELECT any(alias) FROM {self._t(UNDER_WAY)} WHERE user_id = {self.person.id})"
            if keep_sums
            else "NULL"
        )
        self._insert(
            "job_changes (timestamp, job_id, change, value, before, request_id, user_id, org_id, project_id, task_id)",
            "SELECT timestamp, job_id, change, value, "
            f"if(before IN {_among(_VALUES)}, before, ''), if(match(request_id, '{_UUID}'), request_id, ''), {who}, org_id, project_id, task_id "
            f"FROM {self._t('job_changes')} FINAL WHERE {self._own} AND value IN {_among(_VALUES)}",
        )
        self._delete("job_changes", self._own)

    def _working_time(self, keep_sums: bool) -> None:
        if keep_sums:
            alias = f"(SELECT any(alias) FROM {self._t(UNDER_WAY)} WHERE user_id = {self.person.id})"
            # days whose events retention has dropped, too; the others are computed again
            for table in ("working_time_days", "working_time_results"):
                self._insert(
                    table, f"SELECT * REPLACE ({alias} AS user_id) FROM {self._t(table)} WHERE {self._worked}"
                )
        # what the background work computes from goes first, then what it may just have computed
        self._delete("working_time_days", self._worked)
        self._settle("working_time_refresh")
        self._delete("working_time_results", self._worked)
        self._delete("working_time_by_day", self._worked_by_day)

    def _counts(self) -> None:
        # until they are counted again, these days are read from the events
        self._insert(
            "event_days (day, touched_at)",
            f"SELECT DISTINCT toDate(hour) AS day, now64(3) FROM {self._t('event_counts_settled')} WHERE {self._counted}",
        )
        self._settle("event_counts_refresh")
        self._delete("event_counts_settled", self._counted)

    def _letters(self) -> None:
        query = f"SELECT lower(hex(sipHash128(tuple(reason, message, original, original_sha256)))) FROM {self._t('events_dead_letter')} WHERE {self._letter}"
        ids = [str(row[0]) for row in self._rows(query)]
        for begin in range(0, len(ids), 1000):
            listed = ", ".join(f"'{id}'" for id in ids[begin : begin + 1000])
            self._delete(
                "events_dead_letter",
                f"lower(hex(sipHash128(tuple(reason, message, original, original_sha256)))) IN ({listed})",
            )

    def _return_later(self) -> None:
        """Note once more what the person has done since: it was deleted together with what was made of the day's earlier events."""
        names = ", ".join((*COLUMNS, "received_at"))
        later = f"user_id = {self.person.id} AND timestamp >= {self._at}"
        if self._number(f"SELECT count() FROM {self._t('events')} WHERE {later}"):
            self._insert(f"events ({names})", f"SELECT {names} FROM {self._t('events')} FINAL WHERE {later}")

    # the pieces

    @property
    def _name(self) -> str:
        return f"(kind IN ('user', 'email') AND id = {self.person.id})"

    @property
    def _worked(self) -> str:
        return f"(user_id = {self.person.id} AND day <= toDate({self._at}))"

    @property
    def _worked_by_day(self) -> str:
        return f"(user_id = {self.person.id} AND source_day <= toDate({self._at}))"

    @property
    def _counted(self) -> str:
        return f"(user_id = {self.person.id} AND hour < {self._at})"

    @property
    def _letter(self) -> str:
        """A letter of or about the person, or one that names nobody by id and has their name or address in quotes."""
        condition = erasures.letter_is_gone().replace("erased.", f"{self._erased}.")
        nobody = 'NOT match(original, \'"user_id"\\\\s*:\\\\s*"?[0-9]\')'
        named = "arrayExists(word -> position(concat(original, message, corrected), word) > 0, {quoted:Array(String)})"
        return f"({condition} OR received_at < {self._at} AND {nobody} AND {named})"

    def _forgotten(self) -> str:
        """The condition on an event with a text of the person's of which it does not say that it is theirs: known by what they wrote."""
        own = f"FROM {self._t('events')} WHERE user_id = {self.person.id}"
        comments = f"SELECT assumeNotNull(obj_id) {own} AND scope = 'create:comment' AND obj_id IS NOT NULL"
        texts = (
            f"SELECT toString(obj_name) {own} AND scope = 'create:comment' AND obj_name != '' UNION ALL "
            f"SELECT toString(obj_val) {own} AND scope = 'update:comment' AND obj_val != ''"
        )
        old = "JSONExtractString(ifNull(payload, ''), 'old_value')"
        return (
            f"({erasures.TEXT_OF_WHOM} AND multiIf(scope = 'delete:comment', obj_id IN ({comments}), "
            f"scope = 'update:comment', {old} IN ({texts}), "
            f"has({{words:Array(String)}}, ifNull(obj_val, '')) OR has({{words:Array(String)}}, {old})))"
        )

    def _cleaned(self, within: str = "1") -> str:
        """Return the SELECT of others' events that speak of the person, without that; `hash` is of the row as it is stored."""
        table = (
            f"(SELECT {_PLAIN}, {erasures.HASH} AS hash, received_at FROM {self._t('events')} WHERE {within})"
        )
        return f"{erasures.cleaned(self._erased, table, self._forgotten(), 'hash', 'received_at')} WHERE is_touched AND NOT is_gone"

    def _touched(self) -> str:
        return f"SELECT hash, timestamp FROM ({self._cleaned()})"

    def _copies(self) -> list[tuple[str, str]]:
        """Return other tables with events (of an import or a conversion that has not ended), and the condition on what is to go."""
        query = (
            "SELECT table, groupArray(name) FROM system.columns WHERE database = {database:String} AND table IN "
            "(SELECT name FROM system.tables WHERE database = {database:String} AND engine LIKE '%MergeTree') "
            "AND table NOT IN ('events') GROUP BY table HAVING hasAll(groupArray(name), ['scope', 'timestamp', 'user_id', 'user_name', 'obj_id', 'obj_name', 'obj_val', 'payload']) ORDER BY table"
        )
        rows = self.client.query(query, parameters={"database": self.database}).result_rows
        mentioned = erasures.people.MENTIONED
        return [
            (str(table), f"(timestamp < {self._at} AND (ifNull(user_id, 0) = {self.person.id} OR has({mentioned}, {self.person.id})))")
            for table, _ in rows
        ]  # fmt: skip

    @cached_property
    def _rows_table(self) -> str:
        return self._t(f"{_ROWS}_{self.person.id}")

    def _t(self, table: str) -> str:
        return f"{self.database}.{table}"

    def _rows(self, query: str) -> Any:
        used = {name: value for name, value in self._words.items() if f"{{{name}:" in query}
        return self.client.query(query, parameters=used).result_rows

    def _number(self, query: str) -> int:
        return int(only_row(self._rows(query))[0])

    def _do(self, statement: str, parameters: dict[str, list[str]] | None = None) -> None:
        used = {name: value for name, value in (parameters or {}).items() if f"{{{name}:" in statement}
        self.client.command(statement, parameters=used)

    def _insert(self, into: str, select: str, parameters: dict[str, list[str]] | None = None) -> None:
        # what was deleted before must not be taken for a repetition
        settings = "insert_allow_materialized_columns = 1, insert_deduplicate = 0, async_insert = 0, max_partitions_per_insert_block = 0"
        self._do(f"INSERT INTO {self.database}.{into} {select} SETTINGS {settings}", parameters)

    def _delete(self, table: str, condition: str, partition: str = "") -> None:
        """Rewrite the parts that have such rows: when it returns, they are in no active part."""
        if self._number(f"SELECT count() FROM {self._t(table)} WHERE {condition} SETTINGS final = 0"):
            self._do(
                f"ALTER TABLE {self._t(table)} DELETE {partition} WHERE {condition} SETTINGS mutations_sync = 1, allow_nondeterministic_mutations = 1"
            )

    def _settle(self, view: str) -> None:
        """Return when the background work that may be under way has ended. What begins from now on knows of what was done before."""
        where = f"FROM system.view_refreshes WHERE database = '{self.database}' AND view = '{view}' AND status IN ('Running', 'RunningOnAnotherReplica')"
        self._wait_while(f"SELECT count() {where}", f"{view} is at work")

    def _wait_for_inserts(self) -> None:
        """Return when no INSERT is running any more that may not know of the list yet."""
        begin = time.monotonic()
        while True:
            older = f"elapsed >= {time.monotonic() - begin:.3f}"
            if not self._number(
                f"SELECT count() FROM system.processes WHERE query_kind = 'Insert' AND {older}"
            ):
                return
            self._pause(begin, "an INSERT is running")

    def _wait_while(self, query: str, what: str) -> None:
        begin = time.monotonic()
        while self._number(query):
            self._pause(begin, what)

    def _pause(self, begin: float, what: str) -> None:
        if time.monotonic() - begin > _PATIENCE:
            raise CvatAnalyticsError(
                Code.INSERT_RUNNING,
                f"{STORE}: {what} for more than {_PATIENCE / 60:.0f} min. Run the same command again when it has ended",
            )
        time.sleep(0.2)


def _year_and(month: int) -> str:
    return f"{month // 100}-{month % 100:02}"


def remember(client: Client, database: str, listed: erasures.Erasures) -> None:
    """Have the database know these erasures; of one that it knows with another instant the later one counts."""
    known = erasures.read(client, database)
    rows = [
        (id, before)
        for id, before in listed.items()
        if known.get(id, datetime.min.replace(tzinfo=UTC)) < before
    ]
    if rows:
        client.insert(f"{database}.{LIST}", rows, column_names=["user_id", "before"])


def now(client: Client) -> datetime:
    """Return the server's time, to the millisecond: by its clock late events are told from others."""
    (moment,) = only_row(client.query("SELECT toUnixTimestamp64Milli(now64(3))").result_rows)
    return datetime.fromtimestamp(int(moment) / 1000, UTC)


@explained(STORE)
def record(
    client: Client,
    database: str,
    run: uuid.UUID,
    begun: datetime,
    operator: str,
    keep_sums: bool,
    counts: dict[str, int],
    ended: bool,
) -> None:
    """Write down who has run an erasure and how much it took, without whose it was: of the time the day, as the list has the moment."""
    days = [
        moment and moment.replace(hour=0, minute=0, second=0, microsecond=0)
        for moment in (begun, datetime.now(UTC) if ended else None)
    ]
    client.insert(
        f"{database}.{RUNS}",
        [(run, *days, operator, keep_sums, json.dumps(counts))],
        column_names=["id", "begun_at", "ended_at", "operator", "keep_sums", "counts"],
    )  # fmt: skip
