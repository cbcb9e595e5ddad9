"""The allow list: of a text from outside, keep what is known to be nobody's, and put a mark in the place of everything else.

Known are phrases of two words and more that stand in this project's own source (what it says itself), those of other programs in
`known_phrases.txt`, and single words that are names of parts, settings, tables, units and errors. Of an event, a query or a request
nothing is among them, whatever it says: at most it can repeat such a phrase.

A number may be anybody's, too: a login, a telephone number, a birthday. It is kept where it has a unit or is a code, and in a text that
has nothing from outside in it also where it touches a phrase.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from cvat_analytics.base.project import LIBRARY, ROOT
from cvat_analytics.config.settings import COMPONENTS, Settings
from cvat_analytics.rendering.files import UNITS, Paths

GONE = "…"
"""What stands for whatever was left out."""
_ROOMS = ("base", "checks", "config", "connect", "gateway", "pipeline", "rendering", "store")
_LETTERS = 7
"""Letters of the shortest phrase."""
_KEY = 5
_TIME = r"\d{4}[-./]\d\d[-./]\d\d[T ]\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?(?:Z| UTC|[+-]\d\d:?\d\d)?"
_LEVEL = r"<(?:Fatal|Critical|Error|Warning|Notice|Information|Debug|Trace)>|(?:level=)?\b(?:FATAL|CRITICAL|ERROR|WARN|WARNING|INFO|error|warn|info)\b"
_CODED = r"(?:Code:|HTTP|code=|status[= ]|signal[= ]|errno:?|os error|port) ?\d{1,5}\b"
_AMOUNT = (
    r"\d{1,9}(?:\.\d+)? ?(?:bytes|B|KiB|MiB|GiB|TiB|KB|MB|GB|ms|s|seconds|min|h|d|days|hours|times|%)(?!\w)"
)
_VALUES = re.compile("|".join((_LEVEL, _CODED, _AMOUNT)))
_NUMBERS = re.compile("|".join((_TIME, r"(?:\d{4}-\d\d-\d\d|\d[\d,]*(?:\.\d+)?)(?![\w.@:-]*[\w@])")))
_WORD = re.compile(r"[\w@./+\\=&?#~-]+|\S")


class Kept:
    """The allow list, with names of this stack that may stand in it too."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._words = _words() | set(names)

    def of_any(self, text: str) -> str:
        """Return what is known of a text, whoever has made it: its phrases, words, codes and sizes."""
        return self._kept(text, numbers=False)

    def of_ours(self, text: str) -> str:
        """Return what is known of a text that this project has made of its own counts and moments: with those beside its phrases."""
        return self._kept(text, numbers=True)

    def _kept(self, text: str, *, numbers: bool) -> str:
        found: list[str] = []
        at = 0
        after = -1  # where the last phrase, and what space comes behind it, ends
        while at < len(text):
            if text[at].isspace():
                at += 1
                continue
            begins = at == 0 or not (text[at - 1].isalnum() and text[at].isalnum())
            if begins and (phrase := _phrase(text, at)):
                piece, at = phrase, at + len(phrase)
                after = _over_space(text, at)
            elif begins and (value := _VALUES.match(text, at)):
                piece, at = value[0], value.end()
            elif begins and numbers and (value := _NUMBERS.match(text, at)):
                touches = at == after or _phrase(text, _over_space(text, value.end()))
                piece, at = value[0] if touches else GONE, value.end()
            else:
                match = _WORD.match(text, at)
                word = match[0] if match else text[at]
                at += len(word)
                if len(word) == 1 and not word.isalnum():
                    continue
                bare = word.strip("./=&?#~-\\")
                piece = bare if bare in self._words or word in self._words else GONE
            if piece != GONE or found[-1:] != [GONE]:
                found.append(piece)
        return " ".join(found)


def _over_space(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _phrase(text: str, at: int) -> str:
    for phrase in _phrases().get(text[at : at + _KEY], ()):
        end = at + len(phrase)
        if text.startswith(phrase, at) and not (phrase[-1].isalnum() and text[end : end + 1].isalnum()):
            return phrase
    return ""


@cache
def _phrases() -> dict[str, list[str]]:
    """Return all phrases by how they begin, the longest first."""
    lines = Path(__file__).with_name("known_phrases.txt").read_text().splitlines()
    known = {line for line in lines if line and not line.startswith("#")}
    for text in _literals():
        # what stands beside a value that was put in, and each line of its own
        for piece in text.splitlines():
            phrase = piece.strip()
            if len(phrase.split()) > 1 and sum(map(str.isalpha, phrase)) >= _LETTERS:
                known.add(phrase)
    found: dict[str, list[str]] = {}
    for phrase in sorted(known, key=len, reverse=True):
        found.setdefault(phrase[:_KEY], []).append(phrase)
    return found


@cache
def _words() -> frozenset[str]:
    """Return the names of parts, units, settings and tables, and of what else this project's source names by one word."""
    names = {text for text in _literals() if re.fullmatch(r"[a-z]+(?:[_-][a-z0-9]+)+", text)}
    pages = {page for text in _literals() for page in re.findall(r"docs/[\w/-]+\.md", text)}
    scripts = sorted((ROOT / "clickhouse").rglob("*.sql"))
    made = r"(?:TABLE|VIEW)(?: IF NOT EXISTS)? (\w+)"
    tables = {table for file in scripts for table in re.findall(made, file.read_text())}
    places = {str(value) for value in vars(Paths()).values() if value}
    return frozenset({
        *names, *pages, *tables, *(f"{DATABASE}.{table}" for table in tables), *(file.name for file in scripts), *places,
        *COMPONENTS, *UNITS.values(), *Settings.model_fields, *_PLAIN,
    })  # fmt: skip


DATABASE = Settings.model_fields["database"].default
_PLAIN = frozenset(
    [
        "active",
        "inactive",
        "failed",
        "enabled",
        "disabled",
        "missing",
        "success",
        "running",
        "starting",
        "stopped",
        "failing",
        "exited",
        "killed",
        "dumped",
        "timeout",
        "ClickHouse",
        "Vector",
        "Grafana",
        "CVAT",
        "GRANT",
        "SELECT",
        "INSERT",
        "ALTER",
        "ON",
        "deploy",
    ]
)


@cache
def _literals() -> tuple[str, ...]:
    """Return the texts in this project's source, without those that say what code is for."""
    # why Vector refuses an event
    programs = sorted((ROOT / "templates" / "vector").glob("*.vrl"))
    refusals = [text for file in programs for text in re.findall(r'"([^"\\]*)"', file.read_text())]
    modules = (file for room in _ROOMS for file in sorted((LIBRARY / room).rglob("*.py")))
    refusals += [text.partition(":")[0] for text in refusals]
    return (*refusals, *(text for file in modules for text in _texts(file)))


def _texts(file: Path) -> Iterator[str]:
    tree = ast.parse(file.read_text())
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.value
