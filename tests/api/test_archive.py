"""What a host gets of the events API runs on the oldest Python that a host may have, with what the lock file names."""

from __future__ import annotations

import ast
import re
import sys

import pytest

from cvat_analytics import events_api_archive
from cvat_analytics.events_api_archive import LOCK, PYTHONS
from deploys.plan import SUPPORTED

PROGRAM = events_api_archive.program()
MODULES = sorted(path for path in PROGRAM if path.endswith(".py"))
OLDEST = min(tuple(map(int, version.split("."))) for version in PYTHONS.values())
# import names of what the lock file has
NEEDED = {
    "fastapi",
    "starlette",
    "pydantic",
    "pydantic_core",
    "httpx",
    "uvicorn",
    "anyio",
    "argon2",
    "backports",
    "compression",
}


@pytest.mark.parametrize("path", MODULES)
def test_a_module_is_written_for_the_oldest_python_and_imports_what_is_there(path):
    tree = ast.parse(PROGRAM[path], path, feature_version=OLDEST)
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    own = {name for name in imported if name.partition(".")[0] == "cvat_analytics"}
    other = (
        {name.partition(".")[0] for name in imported - own} - set(sys.stdlib_module_names) - {"__future__"}
    )
    assert other - NEEDED == set()
    for name in own - {"cvat_analytics", "cvat_analytics.api"}:
        file = f"lib/{name.replace('.', '/')}"
        assert f"{file}.py" in PROGRAM or f"{file}/__init__.py" in PROGRAM, name
    # newer than the oldest Python, though no syntax
    assert not re.search(
        r"\b(tomllib|ExceptionGroup|StrEnum|datetime\.UTC|import UTC|TaskGroup|batched)\b",
        PROGRAM[path].decode(),
    )


def test_every_supported_system_has_its_python():
    assert set(PYTHONS) == SUPPORTED


def test_the_digest_changes_with_all_that_matters(monkeypatch, tmp_path):
    first = events_api_archive.digest("3.11", "amd64")
    assert events_api_archive.digest("3.11", "amd64") == first
    assert (
        len({first, events_api_archive.digest("3.13", "amd64"), events_api_archive.digest("3.11", "arm64")})
        == 3
    )
    (tmp_path / "lock").write_bytes(LOCK.read_bytes() + b"\n")
    monkeypatch.setattr(events_api_archive, "LOCK", tmp_path / "lock")
    assert events_api_archive.digest("3.11", "amd64") != first


def test_every_requirement_has_a_hash():
    entries = re.split(r"^(?=[a-z])", LOCK.read_text(), flags=re.MULTILINE)[1:]
    assert len(entries) > 15
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []
