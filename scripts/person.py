"""`cvat-analytics person`: what is stored about one person."""

from __future__ import annotations

import click

from scripts.person_answer import expire, export, show
from scripts.person_erase import erase


@click.group()
def person() -> None:
    """Answer a person's request: what is stored about them.

    WHO is a CVAT user id, or a user name or e-mail address that the person has or once had. Names change hands: where one was more than
    one person's, all are listed with their ids.
    """


person.add_command(show)
person.add_command(export)
person.add_command(expire)
person.add_command(erase)
