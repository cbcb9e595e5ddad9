"""What a shorter retention takes away for good: found before a deploy sets it, so that somebody can be asked."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from pyinfra.api import FactBase

from cvat_analytics.config.settings import Settings
from cvat_analytics.store import names

_TABLES = {
    "events_retention": ("events", "timestamp", "events"),
    "dead_letters_retention": ("events_dead_letter", "received_at", "dead letters"),
    "names_retention": ("known_names", "told_at", "names and addresses of people"),
}
"""By the setting: its table, the column of time, and what is in the table. The counts of events go with them; ClickHouse's own
logs nobody is asked about."""


@dataclass(frozen=True)
class Shorter:
    """A retention that is to become shorter than the one that a table has."""

    setting: str
    rows: str
    """What the rows are selected from."""
    column: str
    what: str
    before: timedelta | None
    """None: for ever, or what is no retention of ours."""
    after: timedelta

    @property
    def question(self) -> str:
        """Return the query that says how many rows go, and the first and the last time of them."""
        first, last = (f"toString(toDateTime({end}({self.column}), 'UTC'))" for end in ("min", "max"))
        return (
            f"SELECT count(), {first}, {last} FROM {self.rows} WHERE {self.column} < now() - toIntervalSecond({_seconds(self.after)}) "
            "SETTINGS do_not_merge_across_partitions_select_final = 1"
        )

    def loss(self, answer: Sequence[Sequence[str]]) -> str:
        """Return what is lost, given what was answered to the question; empty for nothing."""
        ((rows, first, last),) = answer
        if not int(rows):
            return ""
        before = _period(self.before) if self.before else "forever"
        what = self.what.removesuffix("s") if int(rows) == 1 else self.what
        return f"{self.setting} {before} -> {_period(self.after)}: {int(rows):,} {what} from {first} to {last} UTC will be deleted"


def shorter(settings: Settings, engines: Mapping[str, str]) -> list[Shorter]:
    """Return which retentions of tables are to become shorter; `engines` is what `migrations.engines_query` has found."""
    found = []
    for setting, (table, column, what) in _TABLES.items():
        after = settings.names_kept if table == "known_names" else getattr(settings, setting)
        engine = engines.get(table)
        if after is None or engine is None:
            continue
        seconds = re.search(r" TTL .*?toIntervalSecond\((\d+)\)", engine)
        before = timedelta(seconds=int(seconds[1])) if seconds else None
        if before is None or after < before:
            rows = (
                names.ends(settings.database)
                if table == "known_names"
                else f"{settings.database}.{table} FINAL"
            )
            found.append(Shorter(setting, rows, column, what, before, after))
    return found


@dataclass(frozen=True)
class JournalFile:
    """A file of the journal: when it was last written to, in seconds since 1970, its bytes and its name."""

    written: float
    size: int
    name: str

    @property
    def hour(self) -> str:
        """Return the hour whose events are in it, or the day in a journal of before."""
        return self.name.partition(".")[0].removeprefix("events-").removeprefix("dead-letters-")


@dataclass(frozen=True)
class JournalState:
    """The journal of a host: how long and how much it keeps at present, as far as known, and its files."""

    now: float = 0
    kept: timedelta | None = None
    size: int | None = None
    files: Sequence[JournalFile] = field(default=())


class Journal(FactBase[JournalState]):
    """Return the state of the journal in `directory`, of which the files `age` (tmpfiles.d) and `keeping` say how much is kept.

    .. code:: python

        JournalState(now=1793000000.0, kept=timedelta(days=30), size=21474836480, files=[JournalFile(1792999000.0, 9000, "events-…")])
    """

    default = JournalState

    def command(self, directory: str, age: str, keeping: str) -> str:
        return f"""date +now=%s
sed -nE 's/^d .* ([0-9]+)s$/kept=\\1/p' {shlex.quote(age)} 2>/dev/null
sed -nE 's/^max=([0-9]+)$/size=\\1/p' {shlex.quote(keeping)} 2>/dev/null
find {shlex.quote(directory)} -maxdepth 1 -type f -name '[ed]*.jsonl*' -printf 'file=%T@ %s %f\\n' 2>/dev/null
true"""

    def process(self, output: Iterable[str]) -> JournalState:
        single: dict[str, str] = {}
        files = []
        for line in output:
            key, _, value = line.partition("=")
            if key == "file":
                written, size, name = value.split(" ", 2)
                files.append(JournalFile(float(written), int(size), name))
            else:
                single[key] = value
        return JournalState(
            float(single["now"]),
            timedelta(seconds=int(single["kept"])) if "kept" in single else None,
            int(single["size"]) if "size" in single else None,
            sorted(files, key=lambda file: (file.hour, file.name)),
        )


def of_journal(settings: Settings, journal: JournalState) -> Iterator[str]:
    """Yield what a journal loses that is to be kept for a shorter time, or to take less space."""
    files = list(journal.files)
    if journal.kept and settings.journal_retention < journal.kept:
        limit = journal.now - _seconds(settings.journal_retention)
        gone = [file for file in files if file.written < limit]
        files = [file for file in files if file.written >= limit]
        if gone:
            before, after = _period(journal.kept), _period(settings.journal_retention)
            yield f"journal_retention {before} -> {after}: {_files(gone)}"
    if journal.size and settings.journal_max_size < journal.size:
        over = sum(file.size for file in files) - settings.journal_max_size
        gone = []
        while over > 0 and files:
            gone.append(files.pop(0))
            over -= gone[-1].size
        if gone:
            yield f"journal_max_size {journal.size:,} -> {settings.journal_max_size:,} bytes: {_files(gone)}"


def _files(gone: Sequence[JournalFile]) -> str:
    return (
        f"{len(gone):,} file{'s' if len(gone) > 1 else ''} of the journal with events of {gone[0].hour} to {gone[-1].hour}, {sum(file.size for file in gone):,} bytes, will "
        "be deleted; a replay reaches back no further"
    )


def _seconds(duration: timedelta) -> int:
    return int(duration.total_seconds())


def _period(duration: timedelta) -> str:
    """Return a duration as a setting has it, such as `90d`."""
    seconds = _seconds(duration)
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
