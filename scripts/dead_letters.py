"""`cvat-analytics dead-letters`: what could not be an event."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.connect import remote
from cvat_analytics.pipeline import dead_letters_edit as editing
from cvat_analytics.pipeline import originals
from cvat_analytics.pipeline.dead_letters import Choice, DeadLetters
from cvat_analytics.pipeline.dead_letters_retry import Retry
from cvat_analytics.rendering.files import Paths
from scripts.encoding import codec
from scripts.target import Target, look_for_room, target_options
from scripts.terminal import confirm, echo, one_line, progressbar
from scripts.timestamp_option import Timestamp

_SHOWN = 100
"""How many characters of an original a list shows."""


def choice_options[F: Callable[..., Any]](function: F) -> F:
    """Add the options that choose letters."""
    for option in (
        click.option(
            "--contains",
            metavar="TEXT",
            default="",
            help="Only those whose original or explanation contains this.",
        ),
        click.option(
            "--until", type=Timestamp(end=True), help="Last day, or the moment before which they came."
        ),
        click.option(
            "--since", type=Timestamp(), help="Only those that came since: 2026-01-31, 2026-01-31T14:30; UTC."
        ),
        click.option("--reason", default="", help="Only those with exactly this reason."),
    ):
        function = option(function)
    return function


encoding_option = click.option(
    "--encoding",
    default="utf-8",
    show_default=True,
    help="How an original that is not UTF-8 is encoded, e.g. cp1252: it is converted.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print as one JSON object.")
ids_argument = click.argument("ids", nargs=-1, metavar="[ID]...")


@click.group("dead-letters")
def dead_letters() -> None:
    """Look at what could not be an event, send it again when the cause is gone, or remove it.

    A dead letter has the original as it was sent and the reason. It is kept for the time that the setting
    'dead_letters_retention' says.
    """


@dead_letters.command("list")
@choice_options
@click.option(
    "--limit",
    type=click.IntRange(0, 100_000),
    default=20,
    show_default=True,
    help="How many letters to list, the newest first.",
)
@target_options
@json_option
def list_(
    reason: str, since: datetime | None, until: datetime | None, contains: str, limit: int,
    target: Target, as_json: bool,
) -> None:  # fmt: skip
    """Count dead letters by reason, and list the newest ones."""
    choice = Choice(reason, since, until, contains)
    with target.reach() as access:
        source = DeadLetters(access)
        reasons = source.reasons(choice)
        letters = source.letters(choice, limit, _SHOWN) if limit else []
    if as_json:
        echo(
            _json(
                {"reasons": [asdict(each) for each in reasons], "letters": [asdict(each) for each in letters]}
            )
        )
        return
    if not reasons:
        echo("No dead letters.")
        return
    width = max(len(each.reason) for each in reasons)
    echo(f"{'reason':<{width}}  {'letters':>9}  {'first':<19}  {'last':<19}  the last one says")
    for each in reasons:
        echo(
            f"{each.reason:<{width}}  {each.count:>9,}  {each.first:%Y-%m-%d %H:%M:%S}  {each.last:%Y-%m-%d %H:%M:%S}  {one_line(each.example)}"
        )
    if letters:
        of_senders = max(6, *(len(letter.sender) for letter in letters))
        echo(f"\n{'id':<16}  {'came at (UTC)':<19}  {'sender':<{of_senders}}  {'reason':<{width}}  original")
    for letter in letters:
        more = " ..." if letter.size > len(letter.original.encode()) else ""
        echo(
            f"{letter.id:<16}  {letter.received_at:%Y-%m-%d %H:%M:%S}  {letter.sender:<{of_senders}}  {letter.reason:<{width}}  {'[mended] ' if letter.corrected else ''}{one_line(letter.original)}{more}"
        )


@dead_letters.command()
@click.argument("id")
@target_options
@json_option
def show(id: str, target: Target, as_json: bool) -> None:
    """Show one dead letter with its whole original. The beginning of an id is enough.

    Of a large original the table has the beginning; the whole is read from the file beside Vector's journal that the letter
    names. Exit code 1 when it is not there any more: then the beginning is shown.
    """
    with _opened(target) as source:
        letter = source.letter(id)
        whole, missing = letter.original.encode(), ""
        if letter.file:
            try:
                whole = source.originals.whole(letter.file, letter.sha256)
            except originals.MissingOriginal as error:
                missing = str(error)
    # bytes that are no text are shown as what they are
    text = whole.decode(errors="backslashreplace")
    if as_json:
        echo(_json(asdict(letter) | {"original": text, "missing": missing}))
        sys.exit(1 if missing else 0)
    echo(
        f"id        {letter.id}\ncame at   {letter.received_at:%Y-%m-%d %H:%M:%S.%f} UTC\nsender    {letter.sender or 'not known'}\nreason    {letter.reason}"
    )
    echo(f"message   {one_line(letter.message)}\noriginal  {letter.size} bytes")
    if letter.file:
        echo(f"file      {letter.file}, SHA-256 {letter.sha256}")
    if letter.corrected:
        echo(f"sent as   {one_line(letter.corrected)}")
    echo(f"\n{text}")
    if missing:
        echo(f"\nNOT WHOLE: {missing} [{Code.LETTER_ORIGINAL_GONE}]")
        sys.exit(1)


@dead_letters.command()
@click.argument("id")
@click.option(
    "--set",
    "values",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Another value for a field; `null` for none. May be repeated.",
)
@click.option(
    "--file",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File with a JSON object of fields and their other values.",
)
@encoding_option
@click.option("--dry-run", is_flag=True, help="Only show the event as it would be sent.")
@target_options
def edit(
    id: str, values: tuple[str, ...], file: Path | None, encoding: str, dry_run: bool, target: Target
) -> None:
    """Send a dead letter as an event with other values in some of its fields. The original stays as it came.

    Exit code 1, with nothing changed, where the corrected event is refused as well.
    """
    encoding = codec(encoding)
    fields = _fields(values, file)
    with _opened(target, "" if dry_run else "the correction of a dead letter") as source:
        letter = source.letter(id)
        if letter.corrected:
            raise InputError(
                Code.LETTER_CORRECTION,
                f"dead letter {letter.id}: has been sent with other values already: {letter.corrected}",
            )
        original = (
            source.originals.whole(letter.file, letter.sha256) if letter.file else letter.original.encode()
        )
        text = editing.corrected(original, fields, encoding)
        before = editing.event_of(original, encoding)
        for field, value in fields.items():
            echo(f"{field}: {one_line(_json(before.get(field)))} -> {one_line(_json(value))}")
        if dry_run:
            echo(f"Would be sent: {one_line(text)}")
            return
        editing.edit(source, letter, text)
    echo(f"{letter.id}: is an event now; the original stays, and `retry` does not send it again.")


def _fields(values: tuple[str, ...], file: Path | None) -> dict[str, Any]:
    """Return the fields that the options name, with their values. Raises InputError or UsageError."""
    fields: dict[str, Any] = {}
    if file:
        try:
            fields = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(Code.FILE_UNREADABLE, f"file {file}: is no JSON ({error})") from None
        if not isinstance(fields, dict):
            raise InputError(
                Code.FILE_UNREADABLE, f'file {file}: must be a JSON object, as in {{"duration": 0}}'
            )
    for each in values:
        field, equals, value = each.partition("=")
        if not equals:
            raise click.UsageError(f"--set {each}: write it as FIELD=VALUE, as in duration=0")
        fields[field] = editing.value_of(field, value)
    if not fields:
        raise click.UsageError("say what is to be corrected: --set FIELD=VALUE, or --file")
    return fields


@dead_letters.command()
@ids_argument
@choice_options
@encoding_option
@target_options
@json_option
def retry(
    ids: tuple[str, ...], reason: str, since: datetime | None, until: datetime | None, contains: str, encoding: str,
    target: Target, as_json: bool,
) -> None:  # fmt: skip
    """Send dead letters through Vector again, after what was wrong has been mended: all, or those chosen.

    What becomes an event is removed from the dead letters; what fails again stays one. An interrupted retry is continued by
    running the same command again. Of large originals the whole is read from the files beside Vector's journal. Exit code 1
    when some have failed again, or the whole of some is not there any more: those stay as they are. What is not UTF-8 is
    converted with --encoding.
    """
    encoding = codec(encoding)
    choice = Choice(reason, since, until, contains, ids, open=True)
    with _opened(target, "the retry of dead letters") as source:
        total, _ = _chosen(source, choice)
        with progressbar(length=total, label="Sending again", file=sys.stderr if as_json else None) as bar:
            retried = Retry(source, encoding).run(choice, bar.update)
    if as_json:
        echo(
            _json(
                {
                    "letters": total,
                    "sent": retried.sent,
                    "accepted": retried.accepted,
                    "failed": retried.failed,
                    "missing": len(retried.missing),
                }
            )
        )
    else:
        again = f" [{Code.LETTER_REFUSED_AGAIN}]" if retried.failed else ""
        echo(
            f"{total:,} dead letters about {retried.sent:,} different originals: {retried.accepted:,} accepted, {retried.failed:,} failed again.{again}"
        )
        for each in retried.missing[:_SHOWN]:
            echo(f"NOT SENT: {each} [{Code.LETTER_NOT_SENT}]")
    sys.exit(1 if retried.failed or retried.missing else 0)


@dead_letters.command()
@ids_argument
@choice_options
@click.option("--all", "everything", is_flag=True, help="All of them.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@target_options
@json_option
def purge(
    ids: tuple[str, ...], reason: str, since: datetime | None, until: datetime | None, contains: str, everything: bool, yes: bool,
    target: Target, as_json: bool,
) -> None:  # fmt: skip
    """Remove dead letters for good: those of a reason, of a range of time, with a text, or with these ids."""
    choice = Choice(reason, since, until, contains, ids)
    if everything == (choice != Choice()):
        raise click.UsageError("say which: --reason, --since, --until, --contains, or ids; or --all")
    with target.reach(begin="the removal of dead letters") as access:
        source = DeadLetters(access)
        total, last = _chosen(source, choice)
        if last is not None:
            if not yes:
                confirm(f"Remove {total:,} dead letters for good?", abort=True, err=as_json)
            source.purge(choice, last)
    echo(_json({"removed": total}) if as_json else f"{total:,} dead letters removed.")


@contextmanager
def _opened(target: Target, begin: str = "") -> Iterator[DeadLetters]:
    """Yield the dead letters of the stack that the options name, with what has the whole of large ones.

    `begin`: as `look_for_room` has it.
    """
    if target.inventory:
        with remote.reach_hosts(target.inventory) as (described, access, hosts):
            look_for_room(access.volumes(), begin)
            place = f"{Paths().vector_data}/journal"
            places = [
                originals.on_host(hosts[host].shell, place) for host in described.topology.groups["vector"]
            ]
            yield DeadLetters(access, originals.Originals(places))
    else:
        running = target.embedded()
        look_for_room(running.volumes(), begin)
        beside = originals.in_directory(Path(running.paths.vector_data) / "journal")
        yield DeadLetters(running.access(), originals.Originals([beside]))


def _chosen(source: DeadLetters, choice: Choice) -> tuple[int, datetime | None]:
    """Return how many letters are chosen and when the last of them came. Raises InputError for an id that is not there."""
    for id in choice.ids:
        source.letter(id)
    return source.count(choice)


def _json(value: Any) -> str:
    return json.dumps(value, default=_plain, ensure_ascii=False)


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    raise TypeError(type(value).__name__)
