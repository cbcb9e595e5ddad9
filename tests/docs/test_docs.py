"""The documentation keeps up with the code: every command, setting and smoke case is in it, and links lead somewhere."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cvat_analytics.base.project import ROOT
from cvat_analytics.checks import smoke
from cvat_analytics.checks.smoke_case import Case
from cvat_analytics.config.settings import Settings
from cvat_analytics.store import migrations
from scripts.cli import main as cli
from scripts.reference import PAGES

DOCUMENTS = sorted(
    {ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*/README.md")}
)
NAMES = [str(document.relative_to(ROOT)) for document in DOCUMENTS]


@pytest.mark.parametrize("path", sorted(PAGES))
def test_a_page_made_from_the_code_is_current(path: str) -> None:
    assert (ROOT / path).read_text() == PAGES[path](), "run `make docs`"


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_every_setting_is_documented_and_stands_in_the_settings_file(name: str) -> None:
    assert f"**`{name}`**" in (ROOT / "docs/reference/settings.md").read_text()
    assert re.search(rf"^{name} = ", (ROOT / "inventory/group_data/all.py").read_text(), re.MULTILINE)


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_links_lead_to_files_that_exist(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", document.read_text())
    assert [target for target in targets if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_links_lead_to_headings_that_exist(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", document.read_text())
    assert [
        f"{file}#{anchor}"
        for file, anchor in targets
        if anchor not in _anchors(document.parent / file if file else document)
    ] == []


def test_every_page_stands_in_the_index() -> None:
    index = ROOT / "docs/README.md"
    listed = {
        (index.parent / target).resolve() for target in re.findall(r"\]\(([^)#]+\.md)", index.read_text())
    }
    assert sorted(set((ROOT / "docs").rglob("*.md")) - listed - {index}) == []


def _tracked() -> list[str]:
    """Return the files of this checkout that git knows."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [file for file in listed.stdout.splitlines() if (ROOT / file).is_file()]


def test_a_page_that_code_names_exists() -> None:
    # what a database has applied is not changed for a comment, views neither: they are made anew then (clickhouse/README.md)
    fixed = ("clickhouse/", "tests/store/former/", "tests/releases/")
    named = [
        (file, page)
        for file in _tracked()
        if Path(file).suffix not in (".png", ".md") and not file.startswith(fixed)
        for page in re.findall(r"(?<![\w/])docs/[\w/-]+\.md", (ROOT / file).read_text(errors="replace"))
    ]
    assert named
    assert [(file, page) for file, page in named if not (ROOT / page).is_file()] == []


def test_people_are_their() -> None:
    masculine = re.compile(r"\bh(?:e|is|im|imself)\b", re.IGNORECASE)
    kinds = (".css", ".html", ".in", ".j2", ".js", ".md", ".py", ".sql", ".toml", ".vrl", ".yaml")
    files = [file for file in _tracked() if file.endswith(kinds)]
    lines = [
        (file, line)
        for file in files
        for line in (ROOT / file).read_text().splitlines()
        if masculine.search(line)
    ]
    assert lines == []


def _anchors(page: Path) -> set[str]:
    """Return what GitHub makes of a page's headings: small letters, no punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_targets_of_make_that_a_page_names_exist(document: Path) -> None:
    text = document.read_text()
    makefile = (ROOT / "Makefile").read_text()
    assert [
        name for name in re.findall(r"(?:`|\$ )make ([a-z]+)\b", text) if f"\n{name}:" not in makefile
    ] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_commands_that_a_page_names_exist_with_their_options(document: Path) -> None:
    wrong = []
    for line in document.read_text().replace("\\\n", "").splitlines():
        for call in re.findall(r"cvat-analytics ((?:--?[a-z]|[a-z])[^`|#>&;)]*)", line):
            words = call.split()
            command: click.Command | None = cli
            while isinstance(command, click.Group) and words and re.fullmatch(r"[a-z][a-z-]+", words[0]):
                command = command.get_command(click.Context(command), words.pop(0))
            known = (
                {
                    name
                    for parameter in command.params
                    for name in (*parameter.opts, *parameter.secondary_opts)
                }
                if command
                else set()
            )
            options = set(re.findall(r"(?<!\S)-{1,2}[a-z][a-z-]*", call)) - {"-h", "--help"}
            if command is None or not options <= known:
                wrong.append(line)
    assert wrong == []


LOOKS = frozenset(
    [
        "status",
        "doctor",
        "smoke",
        "working-time compare",
        "dashboards diff",
        "dashboards lint",
        "dead-letters list",
        "dead-letters show",
        "buffer list",
        "cvat-env",
        "upgrade plan",
        "adopt plan",
        "explain",
        "users list",
        "person show",
        "certificates list",
        "backup list",
    ]
)
"""Commands that change nothing."""
FIRST_DAY = {"init", "demo"}


KILLS = re.compile(r"\b(killed\w*|\w+_and_killed|deploy_until)\(|\.kill(pg)?\(|SIGKILL|except Cut\b")
"""How a test ends what it is about in the middle."""


def _rows_of_day_2() -> list[list[str]]:
    lines = (ROOT / "docs/how-to/day-2.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return [row for row in rows if row[0] != "to do"]


def _all_commands(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[str]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found
            yield from _all_commands(found, (*words, name))
    else:
        yield " ".join(words)


def test_every_command_that_changes_something_has_its_row_of_day_2() -> None:
    named = {command for row in _rows_of_day_2() for command in re.findall(r"`([^`]+)`", row[1])}
    commands = set(_all_commands(cli))
    assert commands >= LOOKS | FIRST_DAY
    assert sorted(commands - LOOKS - FIRST_DAY - named) == []


@pytest.mark.parametrize("row", _rows_of_day_2(), ids=lambda row: f"{row[0]} {row[1]}"[:60])
def test_a_row_of_day_2_is_whole_and_the_test_that_kills_it_exists(row: list[str]) -> None:
    assert len(row) == 6
    assert all(row[1:])
    tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row[5])
    assert tests or "not tried" in row[5] or row[5] == "as each"
    for file, name in tests:
        functions = [
            each for each in ast.parse((ROOT / file).read_text()).body if isinstance(each, ast.FunctionDef)
        ]
        bodies = ["\n".join(map(ast.unparse, each.body)) for each in functions if each.name == name]
        assert [bool(KILLS.search(body)) for body in bodies] == [True], f"{file}::{name} is there, and kills"


@pytest.mark.parametrize("case", smoke.read_cases(), ids=lambda case: case.name)
def test_every_smoke_case_is_documented(case: Case) -> None:
    assert case.name in (ROOT / "docs/reference/smoke.md").read_text()


def test_every_table_and_view_is_documented() -> None:
    page = (ROOT / "docs/reference/tables.md").read_text()
    made = r"CREATE (?:OR REPLACE |MATERIALIZED )?(?:TABLE|VIEW)(?: IF NOT EXISTS)? (\w+)"
    names = {name for script in migrations.read(ROOT / "clickhouse") for name in re.findall(made, script.sql)}
    dropped = {"events_dead_letter_other"}  # there only while a migration runs
    assert "working_time" in names
    assert sorted(name for name in names - dropped if not re.search(rf"`{name}[`(]", page)) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_files_that_a_page_names_exist(document: Path) -> None:
    folders = "benchmarks|clickhouse|cvat_analytics|deploys|grafana|scripts|templates|tests"
    named = re.findall(rf"`((?:{folders})/[\w./-]*)[`:]", document.read_text())
    assert [
        name for name in named if not re.search("NAME|NNNN|results", name) and not (ROOT / name).exists()
    ] == []


def test_every_folder_and_room_says_what_lives_there() -> None:
    tracked = [Path(file) for file in _tracked()]
    folders = {path.parts[0] for path in tracked if len(path.parts) > 1 and not path.parts[0].startswith(".")}
    rooms = {
        "/".join(path.parts[:2])
        for path in tracked
        if path.parts[0] == "cvat_analytics" and len(path.parts) > 2
    }
    silent = [
        folder
        for folder in folders | rooms
        if not (ROOT / folder / "README.md").is_file() and not _docstring(ROOT / folder)
    ]
    assert sorted(silent) == []


def _docstring(folder: Path) -> str | None:
    package = folder / "__init__.py"
    return ast.get_docstring(ast.parse(package.read_text())) if package.is_file() else None
