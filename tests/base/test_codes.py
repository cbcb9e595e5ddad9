"""Codes are stable, each cause has one that is used and explained, and nothing is raised without."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from cvat_analytics.base import errors, explanations
from cvat_analytics.base.codes import Code, first_code, marked
from cvat_analytics.base.project import ROOT
from cvat_analytics.checks import finding, part_codes

KNOWN = Path(__file__).with_name("known_codes.txt")
"""Every code that there ever was: `CVA1001 COMMAND_LINE`, and behind one that is not printed any more `retired`."""
BASES = {"CvatAnalyticsError", "AgentError"}


@cache
def nodes() -> list[tuple[str, ast.ClassDef | ast.Call | ast.Attribute]]:
    """Return the classes, calls and attributes of all our code, each with its file."""
    return [
        (str(file.relative_to(ROOT)), node)
        for folder in ("cvat_analytics", "deploys", "scripts")
        for file in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ClassDef | ast.Call | ast.Attribute)
    ]


def name_of(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def test_no_code_is_renumbered_or_goes_without_a_word() -> None:
    lines = [line.split() for line in KNOWN.read_text().splitlines()]
    numbers = [line[0] for line in lines]
    assert len(numbers) == len(set(numbers)), "a number is used once and for good"
    in_use = {number: name for number, name, *retired in lines if not retired}
    assert in_use == {code.value: code.name for code in Code}, f"write new ones into {KNOWN.name}"


def test_each_code_is_explained_with_what_to_do() -> None:
    explained = explanations.every()
    assert [code for code in Code if code not in explained] == []
    for code, found in explained.items():
        assert found.block.startswith(f"{code.value[3]}xxx: "), f"{code}: it stands in its block"
        meaning, _, advice = found.text.partition("\n\n- ")
        assert len(meaning.split()) > 10, f"{code}: what it means"
        assert len(advice.split()) > 5, f"{code}: one line at least says what to do"


def test_nothing_is_explained_twice_or_under_the_heading_of_another() -> None:
    text = (ROOT / "cvat_analytics/base/codes.md").read_text()
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert [heading[:7] for heading in headings] == sorted(code.value for code in Code)
    assert len({heading[8:] for heading in headings}) == len(headings)


def test_each_page_that_an_explanation_names_is_a_link_in_the_reference() -> None:
    """Whether links and commands of the page lead somewhere tests/docs look at."""
    assert re.findall(r"docs/\S+", explanations.page().partition("\n## ")[2]) == []


def test_each_code_is_used() -> None:
    used = {
        node.attr
        for file, node in nodes()
        if isinstance(node, ast.Attribute)
        and name_of(node.value) == "Code"
        and not file.endswith("base/codes.py")
    }
    assert sorted({code.name for code in Code} - used) == []


def test_nothing_is_raised_without_a_code() -> None:
    """The constructors want one; this says so for what mypy does not see, such as a class that is chosen as it runs."""
    kinds, before = set(BASES), 0
    classes = [node for _, node in nodes() if isinstance(node, ast.ClassDef)]
    while len(kinds) > before:
        before = len(kinds)
        kinds |= {node.name for node in classes if {name_of(base) for base in node.bases} & kinds}
    own = {"QueryError", "PartlyError", "StagedError"}  # bring their own
    without, seen = [], 0
    for file, node in nodes():
        if not isinstance(node, ast.Call) or name_of(node.func) not in kinds - own:
            continue
        seen += 1
        if not node.args or isinstance(node.args[0], ast.Constant | ast.JoinedStr) or len(node.args) < 2:
            without.append(f"{file}:{node.lineno}")
    assert seen > 300, "they are found at all"
    # the API's query error has the same name as the viewer's, which takes a code
    assert without == []
    with pytest.raises(TypeError):
        errors.InputError("a text alone")  # type: ignore[call-arg, arg-type]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("port 9000 is taken", "port 9000 is taken [CVA3103]"),
        ("one\ntwo", "one\ntwo [CVA3103]"),
        ("one:\n paste this\n  and this", "one: [CVA3103]\n paste this\n  and this"),
        ("host a: away [CVA3001]\nrefused", "host a: away [CVA3001]\nrefused"),
    ],
    ids=["a line", "the last line", "not what is pasted", "has one"],
)
def test_a_message_ends_with_its_code(text: str, told: str) -> None:
    assert marked(text, Code.PORT_TAKEN) == told
    error = errors.InputError(Code.PORT_TAKEN, text)
    assert (str(error), error.told) == (text, told), "within another message it is without"


def test_the_first_code_of_a_text_is_found() -> None:
    assert first_code("a\nhost b: c [CVA3001]\nd [CVA3002]") is Code.HOST_UNREACHABLE
    assert first_code("none") is None
    assert first_code("of a newer version [CVA0000]") is None


@pytest.mark.parametrize("typed", ["CVA3103", "cva3103", "3103", "[CVA3103]", " Cva3103 "])
def test_a_code_is_found_as_it_may_be_typed(typed: str) -> None:
    assert explanations.named(typed) is Code.PORT_TAKEN


def test_what_somebody_may_have_meant() -> None:
    assert explanations.named("CVA3130") is None
    assert Code.PORT_TAKEN in [each.code for each in explanations.near("CVA3130")]
    assert explanations.near("port") == []


def test_each_check_of_the_doctor_has_a_code() -> None:
    page = (ROOT / "docs/reference/doctor.md").read_text().partition("## For machines")[0]
    named = {
        name
        for line in page.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([\w-]+)`", line.split("|")[1])
    }
    assert named == finding.CODES.keys()


def test_words_by_which_a_line_of_status_gets_its_code_are_said() -> None:
    said = "".join(
        file.read_text()
        for name in ("checks/health.py", "checks/work.py", "checks/units.py", "checks/status.py", "store/ways_in.py")
        for file in [ROOT / "cvat_analytics" / name]
    )  # fmt: skip
    assert [words for words in part_codes.LINES if words not in said] == []
