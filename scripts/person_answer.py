"""`cvat-analytics person show` and `export`: the answer to somebody who asks what is stored about them."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError, UnreachableError
from scripts.target import Target, target_options
from scripts.terminal import echo, one_line, progressbar

if TYPE_CHECKING:
    from cvat_analytics.operate.disclosure import Disclosure, Found, Stored
    from cvat_analytics.pipeline.journal import File

quick_option = click.option(
    "--without-journal",
    is_flag=True,
    help="Do not read the journal, which takes minutes where it is large; the answer is not complete then.",
)


@click.command()
@click.argument("who")
@quick_option
@click.option("--json", "as_json", is_flag=True, help="Print as one JSON object.")
@target_options
def show(who: str, without_journal: bool, as_json: bool, target: Target) -> None:
    """Show what is stored of a person: where, how much, from when to when, and until when it is kept.

    Tables, dead letters, the journal, the events API's exports, Grafana's users, and what others' events say of the person. Exit code 1
    when some of these could not be looked at. Who has asked, and when, goes on record beside the inventory, without about whom.
    """
    with _asked(target, who, without_journal) as disclosure:
        entry = on_record(target, "show")
        with _progress(disclosure) as progress:
            found = disclosure.found(progress)
        incomplete = list(disclosure.incomplete)
    if as_json:
        answer = {
            "person": asdict(disclosure.person), "found": [asdict(each) for each in found], "incomplete": incomplete,
            "not_searched": list(_not_searched()), "reference": entry,
        }  # fmt: skip
        echo(json.dumps(answer, default=_plain, ensure_ascii=False))
    else:
        _print(disclosure, found)
        echo(f"\nNot searched: {'; '.join(_not_searched())}.")
        for each in incomplete:
            echo(f"NOT COMPLETE: {one_line(each)} [{Code.ANSWER_INCOMPLETE}]")
    sys.exit(1 if incomplete else 0)


@click.command()
@click.argument("who")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="A new directory, or a new file that ends in .zip.  [default: person-ID.zip]"
)  # fmt: skip
@quick_option
@target_options
def export(who: str, output: Path | None, without_journal: bool, target: Target) -> None:
    """Write all that is stored of a person into a directory or a zip, for the person: the answer to a request (GDPR Art. 15, 20).

    JSON and CSV with a README in plain words, for the owner of the files alone. Other people are left out: their names, addresses, ids and
    texts are replaced. Exit code 1 when something could not be looked at; the README says what. Who has made it, and when, goes on record.
    """
    with _asked(target, who, without_journal) as disclosure:
        from cvat_analytics.operate import disclosure_files

        path = output or Path(f"person-{disclosure.person.id}.zip")
        disclosure_files.refuse_existing(path)
        entry = on_record(target, "export")
        with _progress(disclosure) as progress:
            files = disclosure_files.write(disclosure, path, entry, progress)
        incomplete = list(disclosure.incomplete)
    for name, rows in files.items():
        echo(f"{name:<28}{rows:>8,} {'entry' if rows == 1 else 'entries'}")
    for each in incomplete:
        echo(f"NOT COMPLETE: {one_line(each)} [{Code.ANSWER_INCOMPLETE}]")
    echo(
        f"{path}: all that is stored of the person, without other people. Reference {entry}. Read it before you hand it over."
    )
    sys.exit(1 if incomplete else 0)


@click.command()
@target_options
def expire(target: Target) -> None:
    """Remove Grafana's accounts of visitors who have not been there for as long as names are kept ('names_retention').

    Each deploy does the same. In the database names end by themselves. Where somebody comes again, they get a new account.
    """
    from cvat_analytics.operate import visitors

    with target.reach() as access:
        keep = access.clickhouse.settings.names_kept
        if keep is None:
            echo("Names are kept for good ('names_retention', 'events_retention'): nothing is removed.")
            return
        gone = visitors.expire(access, keep)
    echo(f"{gone:,} {'account' if gone == 1 else 'accounts'} of visitors removed from Grafana.")


def _not_searched() -> tuple[str, ...]:
    from cvat_analytics.operate.disclosure import NOT_SEARCHED

    return NOT_SEARCHED


def on_record(target: Target, command: Any) -> str:
    """Put it on record who runs this, and return the reference."""
    from cvat_analytics.operate import person_record

    directory = target.inventory.parent if target.inventory else target.embedded().directory
    entry = person_record.Entry(command)
    person_record.write(directory, entry)
    return entry.reference


@contextmanager
def _asked(target: Target, who: str, without_journal: bool) -> Iterator[Disclosure]:
    from cvat_analytics.operate.disclosure import Disclosure

    with _stored(target, without_journal) as stored:
        yield Disclosure(stored, who)


@contextmanager
def _stored(target: Target, without_journal: bool) -> Iterator[Stored]:
    """Yield what the stack stores, as far as it can be reached: who answers a request says what could not be looked at."""
    from cvat_analytics.connect import remote
    from cvat_analytics.operate.disclosure import Stored
    from cvat_analytics.pipeline import journal, originals
    from cvat_analytics.rendering.files import Paths

    missing = ["journal: was not read (--without-journal)"] if without_journal else []
    journals: list[tuple[str, list[File]]] = []
    beside: list[originals.Place] = []
    notes = ""

    def large() -> originals.Originals:
        return originals.Originals([] if without_journal else beside)

    def add(name: str, find: Callable[[], list[File]]) -> None:
        if not without_journal:
            try:
                journals.append((name, find()))
            except InputError:  # nothing has arrived there yet
                pass
            except UnreachableError as error:
                missing.append(f"journal: {error}")

    if target.inventory:
        with remote.reach_hosts(target.inventory) as (described, access, hosts):
            place = f"{Paths().vector_data}/journal"
            for host in described.topology.groups["vector"]:
                shell = hosts[host].shell
                add(f"{host}:{place}", lambda shell=shell: journal.find_on_host(shell, place))  # type: ignore[misc]
                beside.append(originals.on_host(shell, place))
            for host in described.topology.groups["events_api"]:
                try:
                    notes += hosts[host].shell.run(
                        f"for note in {Paths().events_api_data}/exports/*/job.json; do [ ! -f $note ] || {{ cat $note; echo; }}; done"
                    )
                except UnreachableError as error:
                    missing.append(f"events API: {error}")
            yield Stored(access, journals, large(), _notes(notes), missing)
    else:
        running = target.embedded()
        place = f"{running.paths.vector_data}/journal"
        add(place, lambda: journal.find(Path(place)))
        beside.append(originals.in_directory(Path(place)))
        for note in Path(running.paths.events_api_data).glob("exports/*/job.json"):
            with contextlib.suppress(FileNotFoundError):  # it has just expired
                notes += note.read_text() + "\n"
        with target.reach() as access:
            yield Stored(access, journals, large(), _notes(notes), missing)


def _notes(lines: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.splitlines() if line]


@contextmanager
def _progress(disclosure: Disclosure) -> Iterator[Callable[[int], object]]:
    """Show how far the journal is read."""
    size = sum(file.size for _, files in disclosure.stored.journals for file in files)
    with progressbar(length=size, label="Reading the journal", file=sys.stderr) as bar:
        yield lambda done: bar.update(max(0, done - bar.pos))


def _print(disclosure: Disclosure, found: list[Found]) -> None:
    echo(one_line(disclosure.person))
    if not found:
        echo("Nothing is stored of this person where this can be searched.")
        return
    width = max(len(each.place) for each in found)
    echo(f"{'where':<{width}}  {'rows':>9}  {'from (UTC)':<10}  {'to':<10}  kept until")
    for each in found:
        kept = f"{each.until:%Y-%m-%d}" if each.until else "for good"
        by = f" ({each.kept})" if each.kept else ""
        echo(
            f"{each.place:<{width}}  {each.rows:>9,}  {_day(each.first):<10}  {_day(each.last):<10}  {kept}{by}"
        )


def _day(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d}" if moment else "-"


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    raise TypeError(type(value).__name__)
