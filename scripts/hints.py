"""Commands as they are named in what is printed: so that they can be pasted into the shell where this one was typed."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

import click

from cvat_analytics.base.codes import Code
from scripts.terminal import echo

NAME = "cvat-analytics"
_HINT = re.compile(rf"`{NAME} ([a-z][^`]*)`")


def program() -> str:
    """Return what starts this program: its name where PATH leads to it, otherwise as it was started now."""
    started = Path(sys.argv[0])
    if started.name != NAME:
        return NAME  # within another program, such as a test's
    on_path = shutil.which(NAME)
    if on_path and Path(on_path).resolve() == started.resolve():
        return NAME
    return shlex.quote(sys.argv[0])


def command(*words: object) -> str:
    """Return a command of this program for pasting, as in `command("down", "--dir", directory)`."""
    return f"{program()} {shlex.join(map(str, words))}"


def pasteable(text: str) -> str:
    """Return a text of the library with its commands for pasting: `cvat-analytics WORDS` in backticks.

    The library knows neither how this program was started nor by which option it was told of its stack.
    """
    return _HINT.sub(lambda hint: f"`{program()} {hint[1]}{_stack(hint[1])}`", text)


def tell_more(code: Code) -> None:
    """Say where more about a failure is: to a person, as a log would have the line again and again."""
    if sys.stderr.isatty():
        echo(f"More: {command('explain', code)}", err=True)


def _stack(words: str) -> str:
    """Return the option that names the stack of this run (target.py keeps it) where the command of `words` takes it and has none."""
    context = click.get_current_context(silent=True)
    if context is None or (root := context.find_root()).obj is None or not root.obj.is_given:
        return ""
    command: click.Command | None = root.command
    for word in words.split():
        if isinstance(command, click.Group):
            command = command.get_command(root, word)
    option, value = root.obj.options
    missing = command and option not in words and any(option in each.opts for each in command.params)
    return f" {option} {shlex.quote(value)}" if missing else ""
