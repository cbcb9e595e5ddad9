"""The rooms of the library stand in one order, and each imports only from those before it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from cvat_analytics.base.project import LIBRARY

ROOMS = (
    "base", "credentials", "config", "connect", "store", "dashboards", "rendering", "gateway", "pipeline", "importing", "api",
    "checks", "operate", "embedded", "demo",
)  # fmt: skip
"""Lowest first."""


def imports() -> Iterator[tuple[str, str, str]]:
    """Yield for each import within the library its place, its room, and the room that it imports from."""
    for file in sorted(LIBRARY.rglob("*.py")):
        room = file.relative_to(LIBRARY).parts[0]
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "cvat_analytics":
                _, *rest = str(node.module).split(".")
                for name in [rest[0]] if rest else [alias.name for alias in node.names]:
                    yield f"{file.relative_to(LIBRARY)}:{node.lineno}", room, name


def test_every_module_is_in_a_room() -> None:
    loose = {path.name for path in LIBRARY.glob("*.py")} - {"__init__.py", "__main__.py"}
    assert loose == set()
    rooms = {path.parent.name for path in LIBRARY.glob("*/__init__.py")}
    assert rooms == set(ROOMS)


def test_each_room_imports_only_from_those_before_it() -> None:
    found = list(imports())
    assert len(found) > 300, "imports are found at all"
    upwards = [
        f"{place}: {room} imports {other}"
        for place, room, other in found
        if room in ROOMS and ROOMS.index(other) > ROOMS.index(room)
    ]
    assert upwards == []


def test_each_room_says_what_lives_there_what_may_import_it_and_where_to_begin() -> None:
    for room in ROOMS:
        text = ast.get_docstring(ast.parse((LIBRARY / room / "__init__.py").read_text())) or ""
        assert "Begin with" in text, room
