"""`python -m lint.text [--check]`: format SQL, VRL, templates and other text: white space, and the case of SQL's keywords.

Why not a formatter that exists: ClickHouse's own (`formatQuery`) drops comments, SQLFluff (4.5) cannot parse most of our
SQL (refreshable views, SQL SECURITY, query parameters), sqlglot writes another layout and moves comments, and VRL has none
yet (vectordotdev/vrl#1805). So the layout of lines is the author's; the rest is set here. Nothing else changes: without
white space, and but for the case of keywords, a file is the same before and after (tests/lint/test_text.py).
"""

from __future__ import annotations

import difflib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from cvat_analytics.base.project import ROOT

# Reserved ones: such as TABLE or SETTINGS may be somebody's column, and a word with a bracket close by is a function.
KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        "ALTER AND AS ASC BETWEEN BY CASE CREATE CROSS DESC DISTINCT DROP ELSE EXISTS FROM GROUP HAVING ILIKE IN INNER"
        " INSERT INTO IS JOIN LEFT LIKE LIMIT NOT NULL ON OR ORDER OVER SELECT THEN UNION USING WHEN WHERE WITH",
    )
)
_QUOTED = r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'"""
# what is between `set` and `endset` is a text, in whatever language
_SET = r"\{%-?\s*set\s+\w+\s*-?%\}.*?\{%-?\s*endset\s*-?%\}"
_JINJA = rf"{_SET}|\{{\{{(?:{_QUOTED}|[^\"'])*?\}}\}}|\{{%(?:{_QUOTED}|[^\"'])*?%\}}|\{{#.*?#\}}"
_COMMENT = {"sql": r"--[^\n]*|/\*.*?\*/", "vrl": r"\#[^\n]*"}
_STRING = {"sql": rf"(?:{_QUOTED}|`[^`]*`)", "vrl": rf"[rst]?(?:{_QUOTED})"}
_TOKEN = {
    language: re.compile(
        rf"(?P<jinja>{_JINJA})|(?P<comment>{_COMMENT[language]})|(?P<string>{_STRING[language]})"
        r"|(?P<blank>[ \t]+)|(?P<newline>\n)|(?P<word>\w+)|(?P<sign>.)",
        re.DOTALL,
    )
    for language in _COMMENT
}
_TAG = re.compile(
    rf"\{{(?P<open>(?P<value>\{{)|%)(?P<trim>[-+]?)\s*(?P<inside>(?:{_QUOTED}|[^\"'])*?)\s*(?P<end>[-+]?(?(value)\}}|%)\}})"
)
_TEMPLATES = (".j2", ".vrl", ".sql", ".html")
_OTHERS = (".conf", ".css", ".service", ".toml", ".xml", ".yaml")


def tokens(text: str, language: str) -> Iterator[tuple[str, str]]:
    """Yield the kind and the text of each token of SQL (`sql`) or VRL (`vrl`), white space among them."""
    for match in _TOKEN[language].finditer(text):
        yield str(match.lastgroup), match[0]


def language_of(name: str) -> str | None:
    """Return the language of a file whose tokens are known by its name, else None."""
    suffix = Path(name.removesuffix(".j2")).suffix
    return suffix[1:] if suffix in (".sql", ".vrl") else None


def formatted(text: str, name: str) -> str:
    """Return the text of the file `name` as it is to be. Raises ValueError where that cannot be done."""
    source = text = text.replace("\r\n", "\n")
    if name.endswith(_TEMPLATES):
        text = _TAG.sub(_spaced_tag, text)
    if language := language_of(name):
        text = "".join(_lines(text, language))
    lines = [line.rstrip(" \t") for line in text.split("\n")]
    one_blank = [line for line, before in zip(lines, ["", *lines], strict=False) if line or before]
    new = "\n".join(one_blank).strip("\n") + "\n"
    if language and meaning(new, language) != meaning(source, language):
        raise ValueError(
            "a text of several lines has blanks at the end of one, or empty lines: write them as escapes. Or a text has half of a tag"
        )
    return new


def meaning(text: str, language: str) -> list[str]:
    """Return what of SQL or VRL formatting must not touch: its tokens, without white space and the case of keywords."""
    found: list[str] = []
    for kind, token in tokens(text, language):
        if kind in ("jinja", "comment"):
            found.append("".join(token.split()))
        elif kind == "string":
            found.append(_TAG.sub(_spaced_tag, token))
        elif kind not in ("blank", "newline"):
            found.append(token.upper() if token.upper() in KEYWORDS else token)
    return found


def _spaced_tag(tag: re.Match[str]) -> str:
    """Return a Jinja tag with one blank at each end."""
    return f"{{{tag['open']}{tag['trim']} {tag['inside']} {tag['end']}"


def _lines(text: str, language: str) -> Iterator[str]:
    """Yield the text of each line, its tokens one blank apart or none, VRL indented by its brackets."""
    depth, line = 0, list[tuple[str, str]]()
    for kind, token in [*tokens(text, language), ("newline", "")]:
        if kind != "newline":
            line.append((kind, token))
            continue
        indent = line.pop(0)[1].replace("\t", "    ") if line and line[0][0] == "blank" else ""
        signs = [sign for kind_, sign in line if kind_ == "sign" and sign in "()[]{}"]
        if language == "vrl":
            closing = next((i for i, (_, sign) in enumerate(line) if sign not in ")]}"), len(line))
            if line and line[0][0] != "jinja":
                indent = " " * 4 * (depth - closing)
            depth += sum(1 if sign in "([{" else -1 for sign in signs)
            if depth < 0:
                raise ValueError("a bracket is closed that was not opened")
        yield indent + _spaced(line, language) + token
        line = []
    if depth:
        raise ValueError("a bracket is not closed")


def _spaced(line: list[tuple[str, str]], language: str) -> str:
    """Return the tokens of a line with the white space that belongs between them."""
    code = [each for each in line if each[0] != "blank"]
    apart = {i for i, each in enumerate(_without_blanks(line)) if each}
    text = ""
    for i, (kind, token) in enumerate(code):
        before, after = (code[i - 1][1] if i else ""), (code[i + 1][1] if i + 1 < len(code) else "")
        loose = i in apart and before not in ("(", "[") and token not in (",", ";", ")", "]")
        if i and (loose or before == "," or kind == "comment"):
            text += " "
        if language == "sql" and kind == "word" and token.upper() in KEYWORDS and before not in (".", "{"):
            token = token if after == "(" and i + 1 not in apart else token.upper()
        text += token
    return text


def _without_blanks(line: list[tuple[str, str]]) -> Iterator[bool]:
    """Yield for each token that is no blank whether one is before it."""
    blank = False
    for kind, _ in line:
        if kind != "blank":
            yield blank
        blank = kind == "blank"


def files() -> list[Path]:
    """Return the files of the project that are formatted here."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [
        ROOT / name
        for name in sorted(set(names))
        if name.endswith((*_TEMPLATES, *_OTHERS)) and (ROOT / name).is_file()
    ]


def main(check: bool) -> int:
    """Format all files, or show what is to be changed. Return the exit code."""
    wrong = 0
    for path in files():
        name = str(path.relative_to(ROOT))
        text = path.read_text()
        try:
            new = formatted(text, name)
        except ValueError as error:
            print(f"{name}: {error}", file=sys.stderr)
            wrong += 1
            continue
        if new == text:
            continue
        if check:
            wrong += 1
            sys.stdout.writelines(
                difflib.unified_diff(
                    text.splitlines(keepends=True),
                    new.splitlines(keepends=True),
                    name,
                    f"{name} (make format)",
                )
            )
        else:
            path.write_text(new)
            print(f"formatted {name}")
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
