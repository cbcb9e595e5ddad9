"""What goes to the operator's terminal, and the secrets that come from it. Texts from outside never drive it.

Anybody who reaches Vector's port can send a text with control characters: it would change the title, clear the screen, or
write a line that looks like one of ours. They are shown as what they are.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError

# controls but tab and line feed, marks and overrides of direction, separators of lines and paragraphs, halves of letters
_ACTIVE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_BOM = "\ufeff"


def visible(text: str) -> str:
    r"""Return `text` with what would drive a terminal written out, as in \x1b. Line feeds and tabs stay.

    A text of JSON says the same as before: what JSON itself lets stand in a text is written as JSON writes it (\u009b).
    """
    return _ACTIVE.sub(_written_out, text)


def _written_out(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\u{code:04x}" if code >= 0x7F else match[0].encode("unicode_escape").decode()


def one_line(text: object) -> str:
    r"""Return a text as a part of one line: line feeds and tabs are written out, too."""
    return visible(str(text)).replace("\n", "\\n").replace("\t", "\\t")


def echo(text: object = "", **options: Any) -> None:
    """Print `text` as `click.echo` does, with nothing in it that drives the terminal."""
    click.echo(visible(str(text)), **options)


def rewritten(text: object) -> None:
    """Write a line on standard error that the next one takes the place of: how far something is, on a terminal."""
    sys.stderr.write(f"{one_line(text)}\r")
    sys.stderr.flush()


def confirm(text: str, **options: Any) -> bool:
    """Ask as `click.confirm` does, with nothing in the question that drives the terminal."""
    return click.confirm(visible(text), **options)


def prompt(text: str, **options: Any) -> Any:
    """Ask as `click.prompt` does, with nothing in the question that drives the terminal."""
    return click.prompt(visible(text), **options)


def progressbar(*, length: int, label: str, **options: Any) -> Any:
    """Show a bar as `click.progressbar` does, with nothing in its label that drives the terminal."""
    return click.progressbar(length=length, label=one_line(label), **options)


def secret_from_pipe() -> str:
    """Return the first line of standard input without its ending, a Windows one included, and without a mark of UTF-8."""
    with _text_of("standard input"):
        line = sys.stdin.readline()
        line.encode()  # Python may have taken other bytes for halves of letters
        return _plain(line)


def secret_from_file(path: Path) -> str:
    """Return what is in a file, without the ending of its last line and without a mark of UTF-8."""
    with _text_of(f"file {path}"):
        return _plain(path.read_text(encoding="utf-8"))


@contextmanager
def _text_of(where: str) -> Iterator[None]:
    try:
        yield
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise InputError(
            Code.FILE_UNREADABLE, f"{where}: is not UTF-8 ({error.reason}). Write it as UTF-8"
        ) from None


def _plain(text: str) -> str:
    return text.removeprefix(_BOM).rstrip("\r\n")
