"""`cvat-analytics explain`: say more about a code that a message ended with."""

from __future__ import annotations

import json
import textwrap

import click

from cvat_analytics.base import explanations
from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.base.explanations import Explanation
from scripts import hints
from scripts.terminal import echo


@click.command()
@click.argument("code", required=False)
@click.option(
    "--json", "as_json", is_flag=True, help="Print as JSON: one object, or without a code an array."
)
def explain(code: str | None, as_json: bool) -> None:
    """Say what a code means that a message ended with: the usual reasons, and what to do. Without a code it lists them all.

    CODE as in CVA3103, or 3103. It needs no stack, no inventory and no network.
    """
    known = explanations.every()
    if code is None:
        _list(list(known.values()), as_json)
        return
    asked = explanations.named(code)
    if asked is None:
        near = "; ".join(f"{each.code} ({each.title})" for each in explanations.near(code))
        meant = f"did you mean {near}?" if near else "`cvat-analytics explain` lists all there are"
        raise InputError(Code.OPTION_VALUE, f"{code!r}: there is no such code: {meant}")
    found = known[asked]
    if as_json:
        echo(json.dumps(_plain(found)))
        return
    echo(f"{found.code}: {found.title}\n")
    echo(hints.pasteable(found.text))
    if f"`{hints.NAME} " in found.text:
        echo("\nCommands take the --inventory or --dir of the one that failed.")


def _list(every: list[Explanation], as_json: bool) -> None:
    if as_json:
        echo(json.dumps([_plain(each) for each in every]))
        return
    block = ""
    for each in every:
        if each.block != block:
            echo(f"{chr(10) if block else ''}{each.block}")
            block = each.block
        echo(textwrap.indent(f"{each.code}  {each.title}", "  "))


def _plain(each: Explanation) -> dict[str, str]:
    return {"code": str(each.code), "block": each.block, "title": each.title, "text": each.text}
