"""`cvat-analytics replay`: put events from the journal back into the event table."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import click

from cvat_analytics.base.codes import Code
from cvat_analytics.connect import remote
from cvat_analytics.connect.access import Access
from cvat_analytics.pipeline import journal, refused_rows
from cvat_analytics.pipeline import replay as library
from cvat_analytics.pipeline.replay_store import Outcome
from cvat_analytics.rendering.files import Paths
from cvat_analytics.store import event_dates
from scripts.target import Target, look_for_room, target_options
from scripts.terminal import echo, progressbar
from scripts.timestamp_option import Timestamp

_DAMAGES_SHOWN = 20
Journal = tuple[str, Sequence[journal.File]]
"""What names it, and its files."""


@click.command()
@click.option(
    "--since",
    type=Timestamp(),
    required=True,
    help="First moment: 2026-01-31, 2026-01-31T14:30, UTC unless it names a zone.",
)
@click.option(
    "--until",
    type=Timestamp(end=True),
    help="Last day, or the moment before which to end.  [default: no end]",
)
@click.option(
    "--by",
    type=click.Choice(["event", "arrival"]),
    default="event",
    show_default=True,
    help="Whether --since and --until mean when events happened, or in which hours they arrived.",
)
@click.option(
    "--from-journal",
    "copied",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="A directory on this machine with journal files.  [default: the journal beside the stack's Vector]",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Insert nothing; show by day what the journal has and what of it is missing.",
)
@target_options
def replay(
    since: datetime,
    until: datetime | None,
    by: library.Kind,
    copied: Path | None,
    dry_run: bool,
    target: Target,
) -> None:
    """Put events from the journal back into ClickHouse: those of a range of time that are missing there.

    What is there stays once, however often this runs; the stack may receive events meanwhile. An interrupted replay is
    continued by running the same command again.

    By default the range is about when events happened, as the dashboards show it: a gap from 10:00 to 12:00 is filled with
    --since ...T10:00 --until ...T12:00. CVAT may deliver an event days late, so every file from --since on is searched. With
    --by arrival the range is about the hours in which events arrived, whenever they happened: after a backup of January 31
    was restored, --by arrival --since 2026-01-31 brings all that came since.

    Exit code 1 when something of the journal could not be read (everything else is inserted), 2 with nothing changed for a
    wrong range or a journal that is none.
    """
    period = library.Range(since, until, by)
    with _opened(target, copied, "" if dry_run else "the replay") as (access, journals):
        sources = [(source, files_there, period.files(files_there)) for source, files_there in journals]
        for _, _, files in sources:
            for file in files:
                journal.refuse_foreign(file)
        damaged = False
        for source, files_there, files in sources:
            if not files:
                echo(
                    f"{source}: has nothing of that range; its files are of {files_there[0].begin:%Y-%m-%d %H:%M} to {files_there[-1].end:%Y-%m-%d %H:%M}."
                )
                continue
            outcome = run(library.Replay(access, source, files, period), target, dry_run)
            damaged = damaged or bool(outcome.unreadable)
    sys.exit(1 if damaged else 0)


@contextmanager
def _opened(target: Target, copied: Path | None, begin: str) -> Iterator[tuple[Access, list[Journal]]]:
    """Yield the way to the stack, and the journals to read: the copy, or one beside each Vector. `begin`: as `look_for_room` has it."""
    with contextlib.ExitStack() as opened:
        journals: list[Journal]
        if copied:
            journals = [(str(copied.absolute()), journal.find(copied))]
            access = opened.enter_context(target.reach(begin=begin))
        elif target.inventory:
            described, access, hosts = opened.enter_context(remote.reach_hosts(target.inventory))
            look_for_room(access.volumes(), begin)
            place = f"{Paths().vector_data}/journal"
            journals = [
                (f"{host}:{place}", journal.find_on_host(hosts[host].shell, place))
                for host in described.topology.groups["vector"]
            ]
        else:
            access = opened.enter_context(target.reach(begin=begin))
            place = f"{target.embedded().paths.vector_data}/journal"
            journals = [(place, journal.find(Path(place)))]
        yield access, journals


def run(replay: library.Replay, target: Target, dry: bool) -> Outcome:
    """Run a replay and show how far it is and what has come of it."""
    verb = "Reading" if dry else "Replaying"
    with progressbar(length=replay.size, label=f"{verb} {len(replay.files)} files") as bar:
        done = 0

        def progress(offset: int) -> None:
            nonlocal done
            bar.update(offset - done)
            done = offset

        outcome = replay.run(progress, dry)
    for damage in sorted(outcome.damages, key=lambda damage: damage.expected)[:_DAMAGES_SHOWN]:
        echo(f"Note: {damage}" if damage.expected else f"NOT READ: {damage} [{Code.JOURNAL_FILE}]")
    if len(outcome.damages) > _DAMAGES_SHOWN:
        echo(f"... and {len(outcome.damages) - _DAMAGES_SHOWN} more places")
    if outcome.days:
        echo(f"{'day':<12}{'in the journal':>16}{'missing':>16}")
    for day, (count, missing) in sorted(outcome.days.items()):
        echo(f"{day!s:<12}{count:>16,}{missing:>16,}")
    if outcome.done_before:
        echo(f"{outcome.done_before:,} lines had been done by an interrupted run.")
    if outcome.refused:
        echo(
            f"{outcome.refused:,} that ClickHouse refuses are dead letters now, each with its words "
            f"({target.hint('dead-letters', 'list', '--reason', refused_rows.REASON)})."
        )
    if outcome.misdated:
        echo(
            f"{outcome.misdated:,} whose date cannot be {'would become' if dry else 'are'} dead letters "
            f"({target.hint('dead-letters', 'list', '--reason', event_dates.REASON)})."
        )
    echo(
        f"{outcome.read:,} events read, {outcome.inserted:,} {'would be inserted' if dry else 'inserted'}, {outcome.there:,} "
        f"already there; {outcome.strange:,} lines and {len(outcome.unreadable):,} places unreadable."
    )
    return outcome
