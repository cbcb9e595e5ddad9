"""Docker Compose's variables: `${NAME:-default}` in a compose file, and the files that give them values (`.env`, `env_file`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError

_START = re.compile(r"\$(?:(\$)|([A-Za-z_]\w*)|(\{))", re.ASCII)
_BRACED = re.compile(r"([A-Za-z_]\w*)(?:(:?[-+?])(.*))?", re.ASCII | re.DOTALL)
_LINE = re.compile(
    r"""^[^\S\n]*(?:export[^\S\n]+)?(?P<name>[\w.\[\]-]+)[^\S\n]*
    (?:[=:][^\S\n]*(?:'(?P<single>(?:[^'\\]|\\.)*)'|"(?P<double>(?:[^"\\]|\\.)*)"|(?P<plain>[^\n]*))|(?=\n|\Z))""",
    re.VERBOSE | re.MULTILINE,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$$"}


def literal(text: str) -> str:
    """Return what `interpolated` makes `text` of."""
    return text.replace("$", "$$")


def interpolated(text: str, lookup: Callable[[str], str | None]) -> str:
    """Return `text` with the values of its variables. Raises ValueError with the reason why it has none."""
    done, at = [], 0
    while start := _START.search(text, at):
        done.append(text[at : start.start()])
        at = start.end()
        escaped, name, _ = start.groups()
        if escaped:
            done.append("$")
        elif name:
            done.append(lookup(name) or "")
        else:
            end = _closing(text, at)
            done.append(_braced(text[at:end], lookup))
            at = end + 1
    return "".join([*done, text[at:]])


def _closing(text: str, at: int) -> int:
    depth = 1
    for position in range(at, len(text)):
        if text[position] == "{" and text[position - 1] == "$":
            depth += 1
        elif text[position] == "}":
            depth -= 1
            if not depth:
                return position
    raise ValueError(f"{text!r} has a '${{' without its '}}'")


def _braced(inside: str, lookup: Callable[[str], str | None]) -> str:
    match = _BRACED.fullmatch(inside)
    if not match:
        raise ValueError(f"'${{{inside}}}' is no variable that Docker Compose knows")
    name, operator, other = match.groups()
    value = lookup(name)
    if not operator:
        return value or ""
    there = bool(value) if operator.startswith(":") else value is not None
    if operator.endswith("+"):
        return interpolated(other, lookup) if there else value or ""
    if there:
        return value or ""
    if operator.endswith("?"):
        reason = f" ({text})" if (text := interpolated(other, lookup)) else ""
        raise ValueError(
            f"the variable {name} has no value{reason}; set it here as where CVAT is started, or in its .env"
        )
    return interpolated(other, lookup)


def from_file(path: Path, known: Mapping[str, str], raw: bool = False) -> dict[str, str]:
    """Return the variables that the file `path` gives; those of `known` count in it. `raw` takes values as they are written.

    Raises InputError when it cannot be read or understood.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        raise InputError(Code.COMPOSE_FILE, f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise InputError(
            Code.COMPOSE_FILE, f"{path}: is not UTF-8, byte {error.start}. Save it as UTF-8"
        ) from None
    if raw:
        lines = [line for line in text.split("\n") if "=" in line and not line.lstrip().startswith("#")]
        return {name.strip(): value for name, _, value in (line.partition("=") for line in lines)}
    found: dict[str, str] = {}

    def lookup(name: str) -> str | None:
        return known.get(name, found.get(name))

    at = 0
    while at < len(text):
        blank = re.compile(r"\s*(?:#[^\n]*)?(?:\n|\Z)|\s+").match(text, at)
        if blank and blank.end() > at:
            at = blank.end()
            continue
        match = _LINE.match(text, at)
        where = f"{path}: line {text.count(chr(10), 0, at) + 1}"
        if not match:
            raise InputError(Code.COMPOSE_FILE, f"{where}: is no NAME=VALUE that Docker Compose reads")
        at = match.end()
        try:
            value = _value(match, lookup)
        except ValueError as error:
            raise InputError(Code.COMPOSE_FILE, f"{where}: {error}") from None
        if value is not None:
            found[match["name"]] = value
    return found


def _value(match: re.Match[str], lookup: Callable[[str], str | None]) -> str | None:
    single, double, plain = match["single"], match["double"], match["plain"]
    if single is not None:
        return single.replace("\\'", "'")
    if double is not None:
        text = re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[0]), double)
        return interpolated(text, lookup)
    if plain is None:  # a name alone: what it is outside
        return lookup(match["name"])
    if plain[:1] in ("'", '"'):
        raise ValueError("has a quotation mark without its second one")
    return interpolated(f" {plain}".split(" #")[0].strip(), lookup)
