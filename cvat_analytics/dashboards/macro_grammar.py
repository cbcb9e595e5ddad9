r"""How the backend of Grafana's ClickHouse plugin finds the macros in a query, to the letter and by version.

Since 4.19 the plugin has a parser of its own, grafana/macropro. It blanks comments, then replaces what is called like a macro it
knows wherever it stands, in a string too, with the arguments between the brackets that follow at once. Where a comment may
begin is decided with regard to backslashes in strings, where an argument ends without. What it does not know stays as it is. Before,
sqlutil of Grafana's plugin SDK counted brackets and commas alone. tests/dashboards/test_macro_grammar.py compares with macropro
itself.
https://github.com/grafana/macropro, https://github.com/grafana/grafana-plugin-sdk-go/blob/main/data/sqlutil/macros.go
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

Macros = Mapping[str, Callable[[Sequence[str]], str]]
"""What each macro (its name without `$__`) becomes with these arguments. Raises ValueError for arguments that are wrong."""


@dataclass(frozen=True)
class Grammar:
    """What differs between versions of the parser."""

    nested: bool
    """Macros inside another macro's arguments are expanded (macropro 1.0.1)."""
    all_quotes: bool
    """No comment begins inside backticks or $tag$ … $tag$."""


V4_19 = Grammar(nested=False, all_quotes=False)
V4_20 = Grammar(nested=True, all_quotes=False)
NEWEST = Grammar(nested=True, all_quotes=True)
"""After 4.20.0."""


@dataclass(frozen=True)
class Call:
    """A macro that was found, and its arguments. `closed` is False when the bracket behind it has no end: there are no arguments then."""

    name: str
    arguments: tuple[str, ...]
    closed: bool = True


_NESTING = 128
_PREFIX = "$__"
_NAME = re.compile(r"\$__([A-Za-z0-9_]+)")
# what is white space to Go
_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
_COMMENT = r"(?P<comment>--[^\n\r]*|/\*(?:(?!\*/)[\s\S])*+(?:\*/|\Z))"
_STRING = r"(?P<quote>['\"])(?:\\[\s\S]|(?!(?P=quote))[\s\S]|(?P=quote){2})*+(?:(?P=quote)|\Z)"
_BACKTICKS = r"`(?:[^`]|``)*+(?:`|\Z)"
_TAGGED = r"(?P<tag>\$[A-Za-z0-9_]*\$)[\s\S]*?(?P=tag)"
_FEW_QUOTES = re.compile(f"{_STRING}|{_COMMENT}")
_ALL_QUOTES = re.compile(f"{_STRING}|{_BACKTICKS}|{_TAGGED}|{_COMMENT}")
_STRING_IN_ARGUMENTS = re.compile(
    r"(?P<quote>['\"])(?:(?P=quote){2}|(?!(?P=quote))[\s\S])*+(?:(?P=quote)|\Z)"
)


def without_comments(sql: str, grammar: Grammar = NEWEST) -> str:
    """Return `sql` with a blank for each byte of a comment, as the parser reads it."""
    skipped = _ALL_QUOTES if grammar.all_quotes else _FEW_QUOTES
    return skipped.sub(
        lambda found: " " * len(found[0].encode()) if found["comment"] is not None else found[0], sql
    )


def pieces(sql: str, known: Mapping[str, object]) -> Iterator[str | Call]:
    """Yield the text of a query without comments, and the calls of `known` macros in it, in order."""
    position = 0
    while match := _NAME.search(sql, position):
        end = match.end()
        if match[1] not in known:
            yield sql[position:end]
            position = end
            continue
        yield sql[position : match.start()]
        position = end
        if sql[end : end + 1] != "(":
            yield Call(match[1], ())
        elif (close := _closing(sql, end)) is None:
            yield Call(match[1], (), closed=False)
        else:
            yield Call(match[1], _arguments(sql[end + 1 : close]))
            position = close + 1
    yield sql[position:]


def interpolate(sql: str, macros: Macros, grammar: Grammar = NEWEST) -> str:
    """Return what the parser makes of `sql`. Raises ValueError where the plugin refuses it."""
    return _expanded(without_comments(sql, grammar), macros, grammar, 0) if _PREFIX in sql else sql


def _expanded(sql: str, macros: Macros, grammar: Grammar, depth: int) -> str:
    if depth > _NESTING:
        raise ValueError(f"macros are nested deeper than {_NESTING} times")
    done = []
    for piece in pieces(sql, macros):
        if isinstance(piece, str):
            done.append(piece)
        else:
            arguments: Sequence[str] = piece.arguments
            if grammar.nested:
                arguments = [_expanded(argument, macros, grammar, depth + 1) for argument in arguments]
            done.append(macros[piece.name](arguments))
    return "".join(done)


def _marks(sql: str, start: int) -> Iterator[tuple[int, str]]:
    """Yield position and character of the brackets and commas from `start` on that are in no string, as an argument's end is found."""
    position = start
    while position < len(sql):
        if string := _STRING_IN_ARGUMENTS.match(sql, position):
            position = string.end()
            continue
        if sql[position] in "(),":
            yield position, sql[position]
        position += 1


def _closing(sql: str, start: int) -> int | None:
    depth = 0
    for position, mark in _marks(sql, start):
        depth += {"(": 1, ")": -1}.get(mark, 0)
        if depth == 0:
            return position
    return None


def _arguments(text: str) -> tuple[str, ...]:
    """Return what stands between commas outside further brackets; nothing is no argument."""
    text = text.strip(_SPACE)
    if not text:
        return ()
    depth, begin, arguments = 0, 0, []
    for position, mark in _marks(text, 0):
        depth += {"(": 1, ")": -1}.get(mark, 0)
        if mark == "," and depth == 0:
            arguments.append(text[begin:position].strip(_SPACE))
            begin = position + 1
    return (*arguments, text[begin:].strip(_SPACE))


def interpolate_before_4_19(sql: str, macros: Macros) -> str:
    """Return what plugins before 4.19 make of `sql`: they look into comments too, and at no quotes. Raises ValueError likewise."""
    # a longer name first, so that no shorter one takes its beginning
    for name in sorted(macros, key=lambda name: (-len(name), name)):
        before = sql
        for match in re.finditer(rf"\$__{name}(?![A-Za-z0-9_])", before):
            arguments, length = _plain_arguments(before[match.end() :])
            called = before[match.start() : match.end() + length]
            sql = sql.replace(called, macros[name](arguments))
    return sql


def _plain_arguments(text: str) -> tuple[list[str], int]:
    if not text.startswith("("):
        return [], 0
    depth, begin, arguments = 0, 1, []
    for position, mark in enumerate(text):
        depth += {"(": 1, ")": -1}.get(mark, 0)
        if depth == 0 or (mark == "," and depth == 1):
            arguments.append(text[begin:position].strip(_SPACE))
            begin = position + 1
        if depth == 0:
            return arguments, begin
    raise ValueError("a macro's bracket is never closed")
