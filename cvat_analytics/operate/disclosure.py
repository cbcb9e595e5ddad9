"""What is stored of a person, where, from when to when, and until when: for the person who asks, and for whoever has to answer.

Every place is searched of which docs/privacy.md says that it holds something of people and that can be searched: the tables, the journal,
the events API's exports, Grafana's users.
"""

from __future__ import annotations

import calendar
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import httpx

from cvat_analytics.connect.clickhouse_errors import STORE, explained
from cvat_analytics.dashboards.grafana import VIEWER
from cvat_analytics.operate.others import TEXT, Others
from cvat_analytics.pipeline.journal import File
from cvat_analytics.pipeline.originals import Originals
from cvat_analytics.store import people, personal
from cvat_analytics.store.personal import PLACES, Place

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from cvat_analytics.config.settings import Settings
    from cvat_analytics.connect.access import Access

NOT_SEARCHED = (
    "Vector's buffer: events on their way into ClickHouse, for as long as it is away",
    "logs of the services (journald, ClickHouse's log and query_log): days, by their own retention",
    "backups and copies of exports, which are where you have put them",
)
"""Where else something of a person may be, and nobody can look for it in a useful way."""
OTHERS_EVENTS = "events_of_others"
Rows = Iterator[dict[str, Any]]
Progress = Callable[[int], object]


@dataclass(frozen=True)
class Found:
    """What is stored in one place."""

    place: str
    says: str
    rows: int
    first: datetime | None = None
    last: datetime | None = None
    kept: str = ""
    """By which setting it goes; empty: nothing removes it."""
    until: datetime | None = None
    """When the last of it is gone, as far as that is known beforehand."""


@dataclass(frozen=True)
class Stored:
    """What a stack stores: the way to it, the journals beside its Vectors, the originals of large dead letters there, and the notes of the exports that its events API keeps.

    `missing`: which of these could not be had, each as a line that says why.
    """

    access: Access
    journals: Sequence[tuple[str, Sequence[File]]] = ()
    originals: Originals = field(default_factory=Originals)
    exports: Sequence[Mapping[str, Any]] = ()
    missing: Sequence[str] = ()


@dataclass
class Disclosure:
    """All that `stored` has of the person who is `who`. Raises InputError when nobody, or more than one, is called so."""

    stored: Stored
    who: str
    incomplete: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        # every text of every event is looked at: of years of them that takes minutes
        self.client: Client = self.stored.access.client(timeout=3600)
        self.database = self.stored.access.database
        self.settings: Settings = self.stored.access.clickhouse.settings
        self.person = people.resolve(self.client, self.database, self.who)
        self.incomplete += self.stored.missing
        self.others = Others(self.person, self._comments())
        mails = "".join(f"|{re.escape(mail)}" for mail in self.person.emails)
        # a line of JSON, whatever is nested in it as text
        self._mark = re.compile(
            rf"""(?:(?:user|obj)_|[^_a-z])id\\*["']\s*[:,]\s*{self.person.id}(?!\d){mails}""".encode(),
            re.IGNORECASE,
        )
        self._tables = self._tables_there()
        for name in personal.unlisted(self._tables):
            if name.endswith(("user_id", "user_name", "user_email")):
                self.incomplete.append(
                    f"table {self.database}.{name.partition('.')[0]}: is none of this version's; look at it yourself"
                )

    def found(self, progress: Progress = lambda done: None) -> list[Found]:
        """Return what there is by place; places with nothing are left out. `progress` is told the bytes of the journal that are read."""
        events, *others = map(self._in_table, self.places())
        found = [events, self._in_others_events(), *others]
        found += self._in_journal(progress)
        found += self._in_large_letters()
        found += self._in_exports()
        if user := self.grafana_user():
            seen = _moment(user.get("lastSeenAt") or user.get("updatedAt"))
            created = _moment(user.get("createdAt"))
            found.append(
                Found(
                    "Grafana: users",
                    "login, name, e-mail address and last visit to the dashboards",
                    1,
                    created,
                    seen,
                )
            )
        return [each for each in found if each.rows]

    def places(self) -> list[Place]:
        """Return the tables with people in them that are there."""
        return [place for place in PLACES if place.table in self._tables]

    def _in_table(self, place: Place) -> Found:
        first, last, rows = self._extent(place, place.condition)
        kept, until = self._end(place, last)
        return Found(place.table, place.says, rows, first, last, kept, until)

    def _in_others_events(self) -> Found:
        events = PLACES[0]
        first, last, rows = self._extent(events, personal.OF_OTHERS)
        kept, until = self._end(events, last)
        return Found(
            "events (of others)",
            "what others' events say of them: jobs given, invitations, comments, ownership",
            rows,
            first,
            last,
            kept,
            until,
        )

    @explained(STORE)
    def _extent(self, place: Place, condition: str) -> tuple[datetime | None, datetime | None, int]:
        query = (
            f"SELECT toUnixTimestamp(toDateTime(min(moment), 'UTC')), toUnixTimestamp(toDateTime(max(moment), 'UTC')), count() FROM "
            f"(SELECT {place.moment} AS moment FROM {self.database}.{place.table}{place.final} WHERE {self._where(condition)}) SETTINGS do_not_merge_across_partitions_select_final = 1"
        )
        ((first, last, rows),) = self.client.query(query, parameters=self._parameters()).result_rows
        if not rows:
            return None, None, 0
        return datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(last, UTC), int(rows)

    def _where(self, condition: str) -> str:
        return condition.replace("{database}", self.database)

    def _parameters(self) -> dict[str, Any]:
        return {"id": self.person.id, "emails": list(self.person.emails), "names": list(self.person.names)}

    def _end(self, place: Place, last: datetime | None) -> tuple[str, datetime | None]:
        """Return the setting by which rows go, and when the last is gone. Events go a month at a time."""
        keep = (
            self.settings.names_kept
            if place.kept == "names_retention"
            else getattr(self.settings, place.kept, None)
        )
        if not keep or not last:
            return place.kept, None
        monthly = place.kept == "events_retention"
        return place.kept, (_end_of_month(last) if monthly else last) + keep

    def rows(self, place: Place) -> Rows:
        """Yield the person's rows of a table, without others; the oldest first."""
        query = (
            f"SELECT {place.select()} FROM {self.database}.{place.table}{place.final} WHERE {self._where(place.condition)} "
            f"ORDER BY {place.moment} SETTINGS do_not_merge_across_partitions_select_final = 1"
        )
        for row in self._read(query):
            if place.table.startswith("events_dead"):
                yield self._letter(row)
            elif place.table.startswith("events") and "payload" in row:
                yield self.others.leave_out(row)
            else:
                yield row

    def rows_of_others(self) -> Rows:
        """Yield others' events that say something of the person: only that, and when and where."""
        query = (
            f"SELECT {PLACES[0].select()} FROM {self.database}.events FINAL WHERE {self._where(personal.OF_OTHERS)} "
            "ORDER BY timestamp SETTINGS do_not_merge_across_partitions_select_final = 1"
        )
        yield from map(self.others.leave_out, self._read(query))

    def _read(self, query: str) -> Rows:
        with (
            explained(STORE),
            self.client.query_row_block_stream(query, parameters=self._parameters()) as blocks,
        ):
            names = blocks.source.column_names
            for block in blocks:
                yield from (dict(zip(names, row, strict=True)) for row in block)

    def _letter(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return a dead letter without others. In what is no JSON nobody can be told apart, and explanations quote what they explain."""
        own = False
        for name in ("original", "corrected"):
            try:
                decoded = json.loads(row[name]) if row[name] else None
            except ValueError:
                decoded = TEXT
            if isinstance(decoded, list):
                decoded = [each for each in decoded if isinstance(each, dict) and self.others.concerns(each)]
                row[name] = [self.others.leave_out(each) for each in decoded]
            else:
                own |= isinstance(decoded, dict) and decoded.get("user_id") == self.person.id
                row[name] = self.others.leave_out(decoded) if isinstance(decoded, dict) else decoded
        row["message"] = self.others.without(row["message"]) if own else TEXT
        return row

    def journal(self, progress: Progress = lambda done: None) -> Iterator[tuple[File, dict[str, Any]]]:
        """Yield the person's events, and what others' say of them, out of the journals, without others; with the file of each."""
        comments = re.compile(rb'"scope": ?"delete:comment"')
        done = 0
        for _, files in self.stored.journals:
            for file in files:
                damages: list[Any] = []
                for block in file.blocks(damages.append):
                    for line in block.lines:
                        if not self._mark.search(line) and not (
                            self.others.comments and comments.search(line)
                        ):
                            continue
                        try:
                            event = json.loads(line)
                        except ValueError:
                            continue
                        if isinstance(event, dict) and self.others.concerns(event):
                            yield file, self.others.leave_out(event)
                    progress(done + block.offset)
                done += file.size
                self.incomplete += [f"journal {each}" for each in damages if not each.expected]

    def _in_journal(self, progress: Progress) -> list[Found]:
        rows, files = 0, list[File]()
        for file, _ in self.journal(progress):
            rows += 1
            if not files or files[-1] is not file:
                files.append(file)
        if not rows:
            return []
        begin, end = min(each.begin for each in files), max(each.end for each in files)
        says = "what Vector has accepted, to be replayed after a loss: their events, and others' about them"
        return [
            Found(
                "journal", says, rows, begin, end, "journal_retention", end + self.settings.journal_retention
            )
        ]

    def large_letters(self) -> Rows:
        """Yield the large dead letters with the person in them, without others: of what is no JSON only which file it is in."""
        for file, original in self.stored.originals.every():
            text = original.decode(errors="replace")
            try:
                decoded = json.loads(text)
            except ValueError:
                if self._mark.search(original):
                    yield {"file": file, "original": TEXT}
                continue
            several = decoded if isinstance(decoded, list) else [decoded]
            mine = [each for each in several if isinstance(each, dict) and self.others.concerns(each)]
            if mine:
                yield {"file": file, "original": [self.others.leave_out(each) for each in mine]}

    def _in_large_letters(self) -> list[Found]:
        hours = [
            datetime.fromisoformat(f"{each['file'][13:26]}:00:00+00:00") for each in self.large_letters()
        ]
        if not hours:
            return []
        says = "the whole of large events that could not be stored, or of requests with them"
        end = max(hours) + self.settings.journal_retention
        return [
            Found(
                "journal: large dead letters",
                says,
                len(hours),
                min(hours),
                max(hours),
                "journal_retention",
                end,
            )
        ]

    def own_exports(self) -> list[dict[str, Any]]:
        """Return the notes of the exports that the person has asked the events API for."""
        return [dict(each) for each in self.stored.exports if each.get("owner") == f"cvat:{self.person.id}"]

    def _in_exports(self) -> list[Found]:
        own, found = self.own_exports(), []
        others = [each for each in self.stored.exports if each not in own]
        for place, says, notes in (
            ("events API: their exports", "what they asked the events API for, as files", own),
            ("events API: exports of others", "files that may have their events in them", others),
        ):
            if notes:
                created = [datetime.fromtimestamp(each["created"], UTC) for each in notes]
                ends = [datetime.fromtimestamp(each["expires"], UTC) for each in notes if each.get("expires")]
                found.append(
                    Found(
                        place,
                        says,
                        len(notes),
                        min(created),
                        max(created),
                        "events_api_export_retention",
                        max(ends, default=None),
                    )
                )
        return found

    def grafana_user(self) -> dict[str, Any] | None:
        """Return the account that the gateway has made of the person in Grafana, as Grafana tells it; None where there is none."""
        access = self.stored.access
        try:
            with access.grafana_client(15) as client:
                if str(client.get("/api/health").raise_for_status().json().get("version", "")).endswith(
                    VIEWER
                ):
                    return None
                answer = client.get("/api/users/lookup", params={"loginOrEmail": f"{self.person.id}@cvat"})
                return None if answer.status_code == 404 else dict(answer.raise_for_status().json())
        except (httpx.HTTPError, ValueError) as error:
            line = (
                f"Grafana at {access.grafana.url}: could not be asked for its users ({type(error).__name__})"
            )
            self.incomplete += [line] if line not in self.incomplete else []
            return None

    @explained(STORE)
    def _comments(self) -> frozenset[int]:
        query = f"SELECT DISTINCT obj_id FROM {self.database}.events WHERE scope = 'create:comment' AND user_id = {personal.PERSON} AND obj_id IS NOT NULL"
        return frozenset(
            int(row[0]) for row in self.client.query(query, parameters={"id": self.person.id}).result_rows
        )

    @explained(STORE)
    def _tables_there(self) -> dict[str, list[str]]:
        tables: dict[str, list[str]] = {}
        for table, column in self.client.query(personal.tables_query(self.database)).result_rows:
            tables.setdefault(table, []).append(column)
        return tables


def _moment(text: Any) -> datetime | None:
    """Return a time of Grafana's; None for none, and for what it writes of somebody who never came."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.year > 1970 else None


def _end_of_month(moment: datetime) -> datetime:
    day = date(moment.year, moment.month, calendar.monthrange(moment.year, moment.month)[1])
    return datetime.combine(day, time(), UTC) + timedelta(days=1)
