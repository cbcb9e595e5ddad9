"""Set a sink's buffer on disk aside when ClickHouse refuses its first batch for good, so that what comes after it flows.

The buffer is moved away as it is and kept, below `buffer-set-aside` of Vector's data directory. What waited in it is in the
journal too, if they are events: they are inserted again from there, in small steps, and a row that ClickHouse refuses by
itself becomes a dead letter. Dead letters are in no journal: their buffer is kept until it is put back. What is done stands
beside the buffer, so that a command that was cut off is completed by running it again.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.checks import flow
from cvat_analytics.checks.flow import Refusal
from cvat_analytics.connect.access import Access
from cvat_analytics.connect.clickhouse_errors import STORE, explained, only_row
from cvat_analytics.connect.shell import Shell
from cvat_analytics.pipeline import journal
from cvat_analytics.pipeline.replay import Range, Replay

SINKS = ("events", "dead_letters")
"""The sinks with a buffer on disk. What the others have in memory waits for nothing."""
KEPT = "buffer-set-aside"
_LAYOUTS = {"v2": "buffer/v2", "substitute": "substitute"}
"""Where buffers are below the data directory, by what they are called when they are kept: Vector's, and its substitute's."""
_MARGIN = timedelta(minutes=2)
"""An event may have been on its way into the buffer when Vector was asked how much is in it."""


@dataclass(frozen=True)
class Kept:
    """A buffer that was set aside. `size`: bytes on disk."""

    name: str
    sink: str
    at: datetime
    since: datetime | None
    """From when on what waited in it has arrived; None where nobody knows, so that it may be all that the journal has."""
    state: str
    """`begun` (it may not be moved yet), `moved` (its events are still to be inserted), `kept`, or `inserted`: all of it."""
    size: int

    @property
    def unfinished(self) -> bool:
        """Return whether `set-aside` has something left to do."""
        return self.state in ("begun", "moved")


@dataclass(frozen=True)
class Place:
    """Where a Vector is: its data directory on a host, and how to stop and start it. Both may be repeated."""

    host: str
    shell: Shell
    data: str
    stop: Callable[[], object]
    start: Callable[[], object]

    @property
    def journal(self) -> str:
        """Return where its journal is."""
        return f"{self.data}/journal"


class Buffers:
    """The buffers of the Vector at `place`, in the stack that `access` leads to."""

    def __init__(self, access: Access, place: Place) -> None:
        self._access, self._place = access, place
        self._kept = f"{place.data}/{KEPT}"

    def kept(self) -> list[Kept]:
        """Return what was set aside, the oldest first."""
        listing = self._place.shell.run(
            f"cd {shlex.quote(self._kept)} 2>/dev/null || exit 0\n"
            'for each in */; do [ -f "$each/note" ] || continue\n'
            'echo "$(du -sb "$each" | cut -f 1) ${each%/} $(cat "$each/note")"; done'
        )
        buffers = []
        for line in listing.splitlines():
            size, name, note = line.split(" ", 2)
            values = json.loads(note)
            since = values["since"] and datetime.fromisoformat(values["since"])
            buffers.append(
                Kept(
                    name,
                    values["sink"],
                    datetime.fromisoformat(values["at"]),
                    since,
                    values["state"],
                    int(size),
                )
            )
        return sorted(buffers, key=lambda each: (each.at, each.name))

    def refusal(self, sink: str) -> Refusal | None:
        """Return what ClickHouse refuses of `sink` now. Raises CvatAnalyticsError when it cannot be asked."""
        here = self._place.shell.run("hostname").strip()
        matching = [each for each in flow.refusals(self._access) if each.sink == sink and each.host == here]
        return matching[0] if matching else None

    def plan(self, sink: str) -> tuple[Kept, Refusal | None]:
        """Return what `set_aside` would begin or complete, and what is refused. Raises InputError when there is nothing to do."""
        refused = self.refusal(sink)
        begun = [each for each in self.kept() if each.sink == sink and each.unfinished]
        if begun:
            return begun[0], refused
        if refused is None:
            raise InputError(
                Code.BUFFER_NOT_REFUSED,
                f"ClickHouse does not refuse what the sink {sink!r} on {self._place.host} inserts, so there is nothing to set aside. "
                "`cvat-analytics status` says what waits; a refusal is known half a minute after it began",
            )
        now = datetime.now(UTC).replace(microsecond=0)
        return Kept(f"{sink}-{now:%Y%m%dT%H%M%SZ}", sink, now, self._since(refused), "begun", 0), refused

    @explained(STORE)
    def _since(self, refused: Refusal) -> datetime | None:
        """Return from when on everything that waits has arrived: since the buffer was last empty, before the last delivery.

        Empty alone would not do: the batch that is being sent may not be counted.
        """
        if refused.delivered is None:
            return None
        client = self._access.client()
        client.database = self._access.database
        query = (
            "SELECT max(time) FROM pipeline_metrics WHERE name = 'buffer_size_events' AND component = {sink:String} "
            "AND host = {host:String} AND value = 0 AND time <= {delivered:DateTime('UTC')}"
        )
        values = {"sink": refused.sink, "host": refused.host, "delivered": refused.delivered}
        empty = only_row(client.query(query, parameters=values, tz_mode="aware").result_rows)[0]
        if empty.year <= 1970:
            return None
        begin: datetime = empty.astimezone(UTC) - _MARGIN
        return begin.replace(minute=0, second=0, microsecond=0)

    def set_aside(self, buffer: Kept) -> Kept:
        """Move the buffer away while Vector stands still, and let Vector go on. What was done before is not done again."""
        if buffer.state == "begun":
            self._note(buffer)
            self._place.stop()
            self._swap(buffer, out=buffer)
            buffer = replace(buffer, state="moved" if buffer.sink == "events" else "kept")
            self._note(buffer)
        self._place.start()
        return buffer

    def replay(self, moved: Kept) -> tuple[Replay, bool]:
        """Return the replay that inserts again what waited in `moved`, and whether the journal has all of it."""
        files = journal.find_on_host(self._place.shell, self._place.journal)
        since = moved.since or files[0].begin
        range_ = Range(since, None, "arrival")
        source = f"{self._place.host}:{self._place.journal} {moved.name}"
        return Replay(self._access, source, range_.files(files), range_), files[0].begin <= since

    def inserted(self, moved: Kept, *, everything: bool) -> None:
        """Remember that the replay is done. What the journal did not have is in the kept buffer only."""
        self._note(replace(moved, state="inserted" if everything else "kept"))

    def put_back(self, name: str) -> Kept | None:
        """Give a kept buffer back to Vector; the one that was there is kept instead, and returned."""
        buffer = self.named(name)
        if buffer.unfinished:
            raise InputError(
                Code.BUFFER_HALF_DONE,
                f"{name}: is being set aside. Complete that first: `cvat-analytics buffer set-aside {buffer.sink}`",
            )
        directory = shlex.quote(f"{self._kept}/{name}")
        moved = [f"[ -e {directory}/{kept} ]" for kept in _LAYOUTS]
        there = self._place.shell.run(f"if {' || '.join(moved)}; then echo yes; fi").strip() == "yes"
        present = None
        if there:
            now = datetime.now(UTC).replace(microsecond=0)
            present = Kept(f"{buffer.sink}-{now:%Y%m%dT%H%M%SZ}", buffer.sink, now, None, "kept", 0)
            self._note(present)
            self._place.stop()
            self._swap(buffer, out=present, into=buffer)
        # cut off after the buffer had been moved, it has a note and nothing else
        self._place.shell.run(f"rm -f {directory}/note {directory}/note.new && rmdir {directory}")
        self._place.start()
        return present

    def named(self, name: str) -> Kept:
        """Return the kept buffer of that name. Raises InputError when there is none."""
        buffers = {each.name: each for each in self.kept()}
        if name not in buffers:
            there = ", ".join(buffers) or "none"
            raise InputError(
                Code.BUFFER_UNKNOWN,
                f"there is no buffer {name!r} set aside on {self._place.host}; there is {there}",
            )
        return buffers[name]

    def purge(self, name: str) -> None:
        """Remove a kept buffer for good."""
        self._place.shell.run(f"rm -rf -- {shlex.quote(f'{self._kept}/{self.named(name).name}')}")

    def _swap(self, buffer: Kept, *, out: Kept, into: Kept | None = None) -> None:
        """Move the present buffer to `out` where that is not done, then, if given, `into` to its place."""
        data = self._place.data
        lines = ["set -e"]
        for kept, place in _LAYOUTS.items():
            present = shlex.quote(f"{data}/{place}/{buffer.sink}")
            away = shlex.quote(f"{self._kept}/{out.name}/{kept}")
            lines.append(f"if [ -e {present} ] && ! [ -e {away} ]; then mv {present} {away}; fi")
            if into:
                back = shlex.quote(f"{self._kept}/{into.name}/{kept}")
                lines.append(f"if [ -e {back} ] && ! [ -e {present} ]; then mv {back} {present}; fi")
        self._place.shell.run("\n".join(lines))

    def _note(self, kept: Kept) -> None:
        """Write down what is to be done and what is."""
        directory = shlex.quote(f"{self._kept}/{kept.name}")
        values = {
            "sink": kept.sink,
            "at": kept.at.isoformat(),
            "since": kept.since and kept.since.isoformat(),
            "state": kept.state,
        }
        self._place.shell.run(
            f"umask 077; mkdir -p {directory} && echo {shlex.quote(json.dumps(values))} > {directory}/note.new && mv {directory}/note.new {directory}/note"
        )
