"""`cvat-analytics person erase`: take a person out of the stack for good."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from cvat_analytics.base.codes import Code, marked
from cvat_analytics.base.errors import UnreachableError
from scripts.person_answer import on_record
from scripts.target import Target, target_options
from scripts.terminal import confirm, echo

if TYPE_CHECKING:
    from cvat_analytics.operate.person import Stored


@click.command()
@click.argument("who")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--keep-sums",
    is_flag=True,
    help="Keep what counts of the person's events, under a number that nobody has: sums per project and task stay as they are.",
)
@target_options
def erase(who: str, yes: bool, keep_sums: bool, target: Target) -> None:
    """Erase a person: from events, names, working time, counts, dead letters, the journal, exports, and others' events.

    Shows how much there is of them, and asks. Events from before this moment leave the person out from then on, however late they
    come: the list of erasures (a user id and an instant, nothing else) is kept beside the inventory, in `erasures.json`, and belongs
    into your backup. What was cut off is completed by the same command; a second run changes nothing.

    Exit code 1 when a file of the journal is damaged: all else is erased, and the file is named.
    """
    from cvat_analytics.operate import person as library

    with _stored(target) as stored:
        one = library.Erasure(stored, who)
        counts = one.found()
        if not any(counts.values()) and one.is_listed and one.under_way is None:
            _forget_visitor(stored, one.person.id)
            echo(f"id {one.person.id}: nothing of them is stored. Nothing was changed.")
            _tell_damaged(one.damaged)
            return
        echo(f"{one.person}:")
        for line in library.summary(counts):
            echo(line)
        if not any(counts.values()):
            echo("Nothing of them is stored; they are put on the list, so that nothing comes in late.")
        if one.under_way is not None:
            echo(
                f"An earlier run was cut off{' (it keeps sums)' if one.under_way else ''}: this one completes it."
            )
        if not yes:
            confirm("Erase it for good?", abort=True, err=True)
        on_record(target, "erase")
        for step in one.run(keep_sums, counts):
            echo(f"erasing: {step}")
        _forget_visitor(stored, one.person.id)
        after = library.Erasure(stored, str(one.person.id))
        left = after.found()
        echo(f"Erased id {one.person.id}. {_list_note(stored)}")
        for line in library.summary(left):
            echo(f"Came since: {line.strip()}. Run the same command again. [{Code.ERASURE_INCOMPLETE}]")
        _tell_damaged(after.damaged)


def _tell_damaged(files: tuple[str, ...]) -> None:
    """Say which files of the journal could not be looked through; that there are some is a failure."""
    from cvat_analytics.operate.person import left_in

    for file in files:
        echo(f"NOT ERASED: {left_in(file)}. [{Code.ERASURE_INCOMPLETE}]")
    if files:
        sys.exit(1)


def _forget_visitor(stored: Stored, user: int) -> None:
    """Remove the account that Grafana has of the person; that it could not be is said, and the same command tries it again."""
    from cvat_analytics.operate import visitors

    try:
        if visitors.forget(stored.access, user):
            echo("Grafana's account of them is removed.")
    except UnreachableError as error:
        echo(marked(f"NOT REMOVED: {error}. Run the same command again.", error.code))


def _list_note(stored: Stored) -> str:
    return f"The list is {stored.list_file}: keep a copy of it with the passwords."


@contextmanager
def _stored(target: Target) -> Iterator[Stored]:
    from cvat_analytics.operate import person as library
    from scripts.target import look_for_room

    if target.inventory:
        with library.reached(target.inventory) as stored:
            look_for_room(stored.access.volumes(), "the erasure")
            yield stored
    else:
        running = target.embedded()
        look_for_room(running.volumes(), "the erasure")
        yield library.of_directory(running.access(), running.directory, running.paths)
