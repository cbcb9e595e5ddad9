"""What `explain` says of each code: read from codes.md, which the reference is made of, too."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cvat_analytics.base.codes import Code

_FILE = Path(__file__).with_name("codes.md")
_PAGE = re.compile(r"(?<![\w/`])docs/([\w/-]+\.md(?:#[\w-]+)?)")


@dataclass(frozen=True)
class Explanation:
    """What a code means, the usual reasons, and what to do; plain prose, with commands in backticks."""

    code: Code
    block: str
    title: str
    text: str


@cache
def every() -> Mapping[Code, Explanation]:
    """Return all of them, by their code, in the order of the file."""
    found: dict[Code, Explanation] = {}
    block = ""
    for part in re.split(r"^(?=##? )", _FILE.read_text(encoding="utf-8"), flags=re.MULTILINE):
        heading, _, text = part.partition("\n")
        if heading.startswith("# "):
            block = heading[2:]
        elif match := re.fullmatch(r"## (CVA\d{4}) (.+)", heading):
            found[Code(match[1])] = Explanation(Code(match[1]), block, match[2], text.strip())
    return found


def named(text: str) -> Code | None:
    """Return the code that somebody has typed: in small letters, in brackets, or the number alone."""
    digits = text.strip().strip("[]").upper().removeprefix("CVA")
    return next((code for code in Code if code.value == f"CVA{digits}"), None)


def near(text: str) -> list[Explanation]:
    """Return what somebody may have meant by a code that there is not."""
    digits = re.sub(r"\D", "", text)
    known = [code.value[3:] for code in Code]
    numbers = difflib.get_close_matches(digits, known, n=len(known), cutoff=0.7)
    # two digits that changed places come first
    numbers.sort(key=lambda number: sorted(number) != sorted(digits))
    explained = every()
    return [explained[Code(f"CVA{number}")] for number in numbers[:3]]


def page() -> str:
    """Return the text of docs/reference/codes.md."""
    parts = [
        "# Codes\n",
        "Each message of refusal or failure, and each line of a check that is not well, ends with a code in brackets. A code stands for one cause and keeps its",
        "meaning for good. `cvat-analytics explain CVA3103` prints what stands here, without any stack; `cvat-analytics explain` lists all. This page is made",
        "from the same text (`make docs`).\n",
    ]
    block = ""
    for each in every().values():
        if each.block != block:
            block = each.block
            parts.append(f"## {block}\n")
        parts += [f"### {each.code}: {each.title}\n", _linked(each.text) + "\n"]
    return "\n".join(parts).rstrip("\n") + "\n"


def _linked(text: str) -> str:
    """Return a text with the pages that it names as links from docs/reference."""
    return _PAGE.sub(lambda match: f"[{match[0].removeprefix('docs/')}](../{match[1]})", text)
