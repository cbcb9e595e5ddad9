"""Erase a person from a stack: from its ClickHouse and from the files of its hosts, and keep them out from then on."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError, InputError
from cvat_analytics.connect.clickhouse_errors import STORE, explained
from cvat_analytics.connect.shell import Shell
from cvat_analytics.operate import erasing_files, erasure_list, person_record
from cvat_analytics.rendering.files import Paths
from cvat_analytics.store import erasing, erasures
from cvat_analytics.store.people import Person, resolve

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from cvat_analytics.connect.access import Access
    from cvat_analytics.connect.remote import ReachedHost

JOURNAL, EXPORTS = "lines of the journal", "exports of the events API"


@dataclass(frozen=True)
class Stored:
    """A stack with all places in which something of a person may be, and the file with the list of erasures."""

    access: Access
    places: Sequence[erasing_files.Place]
    list_file: Path


def of_hosts(
    access: Access, groups: Mapping[str, Sequence[str]], hosts: Mapping[str, ReachedHost], secrets_file: Path
) -> Stored:
    """Return a deployed stack; the list is beside its passwords."""
    paths = Paths()
    places = [
        erasing_files.Place(
            host.shell,
            f"{paths.vector_data}/journal" if name in groups["vector"] else "",
            f"{paths.events_api_data}/exports" if name in groups["events_api"] else "",
        )
        for name, host in hosts.items()
    ]
    return Stored(access, places, secrets_file.with_name(erasure_list.FILE_NAME))


def of_directory(access: Access, directory: Path, paths: Paths) -> Stored:
    """Return the stack of this machine below `directory`, where the list is."""
    shell = Shell("this machine", {}, None)
    place = erasing_files.Place(shell, f"{paths.vector_data}/journal", f"{paths.events_api_data}/exports")
    return Stored(access, [place], directory / erasure_list.FILE_NAME)


class Erasure:
    """One person to be erased: what there is of them, and how it is taken out."""

    def __init__(self, stored: Stored, who: str) -> None:
        self._stored = stored
        self._client = stored.access.client()
        self._database = stored.access.database
        with explained(STORE):
            if not int(self._client.command(f"EXISTS TABLE {self._database}.{erasures.LIST}")):  # type: ignore[arg-type]
                raise InputError(
                    Code.SCHEMA_BEHIND,
                    "the stack's database is of a version that keeps no list of erasures: run `cvat-analytics deploy` first",
                )
            self.person: Person = resolve(self._client, self._database, who)
            self.before = erasing.now(self._client)
            self.known = erasures.read(self._client, self._database).get(self.person.id)
            self._erasing = erasing.Erasing(self._client, self._database, self.person, self.before)
            self.under_way = self._erasing.under_way()
        """Whether sums are kept by a run that was cut off; None when none was."""
        self.damaged: tuple[str, ...] = ()
        """The journal's files that cannot be unpacked, as `found` has seen them: what they hold of the person stays."""

    def found(self) -> dict[str, int]:
        """Return how much there is of the person, by place."""
        counts = self._erasing.found()
        letters = self._erasing.letters()
        journal = erasing_files.Found()
        for place in self._stored.places:
            journal += erasing_files.lines(place, self.person.id, self.before, letters, erase=False)
        counts[JOURNAL], self.damaged = journal.lines, journal.damaged
        # one person's export may hold everybody's events
        counts[EXPORTS] = (
            sum(erasing_files.exports(place, remove=False) for place in self._stored.places)
            if any(counts.values())
            else 0
        )
        return counts

    @property
    def is_listed(self) -> bool:
        """Return whether the person is on the list beside the inventory and in the database's."""
        return self.known is not None and self.person.id in erasure_list.load(self._stored.list_file)

    def run(self, keep_sums: bool, counts: Mapping[str, int]) -> Iterator[str]:
        """Erase, yielding what comes next. What was cut off is completed by the next run. Raises CvatAnalyticsError."""
        run, begun = uuid.uuid4(), datetime.now(UTC)
        keep_sums = keep_sums if self.under_way is None else self.under_way
        # first of all what lasts: from here on nothing more comes in
        listed = erasure_list.add(self._stored.list_file, {self.person.id: self.before})
        erasing.remember(self._client, self._database, listed)
        taken = {place: count for place, count in counts.items() if count}
        operator = person_record.operator()
        erasing.record(self._client, self._database, run, begun, operator, keep_sums, taken, ended=False)
        if taken or self.under_way is not None:
            yield JOURNAL
            _clear_journals(self._stored, self._client, self._erasing)
        yield from self._erasing.run(keep_sums)
        # last: what was asked for while events were being taken out is gone, too
        yield EXPORTS
        for place in self._stored.places:
            erasing_files.exports(place, remove=True)
        erasing.record(self._client, self._database, run, begun, operator, keep_sums, taken, ended=True)


def apply(stored: Stored, tell: Callable[[str], object], unfinished: Mapping[int, bool] | None = None) -> int:
    """Take out whoever is on the list and is there again, and return how many people that were: after a restore, or a direct INSERT.

    `unfinished`: who is to be taken out in any case, as that had only begun, and whether their sums are kept.
    Brings the list beside the inventory and the database's together. Raises CvatAnalyticsError for files that are damaged, at the end.
    """
    client, database = stored.access.client(), stored.access.database
    with explained(STORE):
        known = erasures.read(client, database)
    written = erasure_list.load(stored.list_file)
    listed = erasure_list.add(stored.list_file, known)
    if not listed:
        return 0
    if listed != written:
        tell(
            f"{stored.list_file} has {len(listed)} erasures now, as the database knew of more than the file: keep a copy of it with the passwords"
        )
    with explained(STORE):
        erasing.remember(client, database, listed)
        back = {int(row[0]) for row in client.query(_back(database, listed)).result_rows}
    begun = {id: kept for id, kept in (unfinished or {}).items() if id in listed}
    due = back | begun.keys() | {id for id, before in listed.items() if known.get(id) != before}
    damaged: dict[str, None] = {}
    for number, id in enumerate(sorted(due), 1):
        tell(f"erasure {number} of {len(due)} is applied")
        one = erasing.Erasing(client, database, resolve(client, database, str(id)), listed[id])
        damaged |= dict.fromkeys(_clear_journals(stored, client, one))
        for _ in one.run(bool(one.under_way()) or begun.get(id, False)):
            pass
    if damaged:
        raise CvatAnalyticsError(Code.ERASURE_INCOMPLETE, "\n".join(map(left_in, damaged)))
    return len(due)


def _clear_journals(stored: Stored, client: Client, one: erasing.Erasing) -> tuple[str, ...]:
    """Take a person out of the journals. A replay that was cut off counts their lines: there is none to go on with then.

    Returns the files that are damaged: they stop nothing else.
    """
    letters, found = one.letters(), erasing_files.Found()
    for place in stored.places:
        found += erasing_files.erase(place, one.person.id, one.before, letters)
    with explained(STORE):
        client.command(f"TRUNCATE TABLE IF EXISTS {stored.access.database}.replay_progress")
    return found.damaged


def left_in(file: str) -> str:
    """Return what is to be said of a file that is damaged."""
    return (
        f"{file}: cannot be unpacked to its end, so that nothing of it was changed, and it may hold lines of the person. "
        "Remove it, or put a whole copy there and run the same command again"
    )


def _back(database: str, listed: erasures.Erasures) -> str:
    return f"SELECT DISTINCT user_id FROM {database}.events WHERE {erasures.left_out(listed)}"


@contextmanager
def reached(inventory: Path) -> Iterator[Stored]:
    """Yield a deployed stack, all of whose hosts are reached. Raises as `remote.reach_hosts` does."""
    from cvat_analytics.connect import remote

    with remote.reach_hosts(inventory) as (described, access, hosts):
        yield of_hosts(access, described.topology.groups, hosts, described.secrets_file)


def summary(counts: Mapping[str, int]) -> Iterable[str]:
    """Return what was found as lines of a table."""
    return [f"{count:>12,}  {place}" for place, count in counts.items() if count]
