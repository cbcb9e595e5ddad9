"""What a host gets of the events API is complete for its Python, and only what runs there."""

from __future__ import annotations

import ast
import base64
import csv
import io
import sys
import tarfile
from email.parser import BytesHeaderParser
from hashlib import sha256
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cvat_analytics.config.validation import validate
from cvat_analytics.rendering import events_api_archive, events_api_wheels
from cvat_analytics.rendering.events_api_wheels import MACHINES, PYTHONS, Target
from deploys.plan import SUPPORTED
from tests.api import pythons

PROGRAM = events_api_archive.program()
MODULES = sorted(path for path in PROGRAM if path.endswith(".py"))
MAJOR, MINOR = map(int, pythons.OLDEST.split("."))
TARGETS = [Target(python, architecture) for python in pythons.VERSIONS for architecture in MACHINES]
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
    "certifi",
    "compression",
}
ELF_MACHINES = {"amd64": 62, "arm64": 183}
"""e_machine of elf(5): EM_X86_64, EM_AARCH64."""


def published(content: bytes) -> str:
    """Return a file's hash as a wheel's RECORD has it (PEP 427)."""
    return f"sha256={base64.urlsafe_b64encode(sha256(content).digest()).decode().rstrip('=')}"


@pytest.mark.parametrize("path", MODULES)
def test_a_module_is_written_for_the_oldest_python_and_imports_what_is_there(path: str) -> None:
    tree = ast.parse(PROGRAM[path], path, feature_version=(MAJOR, MINOR))
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


def test_every_supported_system_has_its_python() -> None:
    assert set(PYTHONS) == SUPPORTED


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_the_archive_is_complete_for_the_hosts_python_and_processor(target: Target) -> None:
    content = events_api_archive.archive(validate({}, where="defaults"), target.python, target.architecture)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        files = {entry.name: file.read() for entry in archive if (file := archive.extractfile(entry))}
    metadata = [
        BytesHeaderParser().parsebytes(content)
        for path, content in files.items()
        if path.endswith(".dist-info/METADATA")
    ]
    versions = {canonicalize_name(each["Name"]): each["Version"] for each in metadata}

    # what the lock file names for that Python, by our reading of its markers as by uv's
    assert versions == {wheel.name: wheel.version for wheel in events_api_wheels.locked(target)}
    # what that needs there is there
    names = [
        requirement
        for each in metadata
        for requirement in map(Requirement, each.get_all("Requires-Dist", []))
        if requirement.marker is None or requirement.marker.evaluate(target.environment | {"extra": ""})
    ]
    assert len(names) > 15
    assert [
        str(requirement)
        for requirement in names
        if versions.get(canonicalize_name(requirement.name), "") not in requirement.specifier
    ] == []
    # it is built for that Python and that processor
    built = {path: content for path, content in files.items() if PurePosixPath(path).suffix == ".so"}
    assert len(built) >= 4
    own_names = (f"cpython-{target.python.replace('.', '')}-", "abi3")
    for path, library in built.items():
        assert any(name in path for name in own_names), path
        assert int.from_bytes(library[18:20], "little") == ELF_MACHINES[target.architecture], path
    # each package's files are the very ones that were published: an installer's cache may have been changed since
    records = [content for path, content in files.items() if path.endswith(".dist-info/RECORD")]
    assert len(records) == len(versions)
    assert [
        path
        for record in records
        for path, digest, _ in csv.reader(record.decode().splitlines())
        if digest and f"lib/{path}" in files and digest != published(files[f"lib/{path}"])
    ] == []
    # and nothing but that, the program, and what belongs to a package
    assert {path for path, own in events_api_archive.program().items() if files.get(path) != own} == set()
    assert [path for path in files if not path.startswith("lib/") or "__pycache__" in path] == []


def test_the_digest_changes_with_all_that_matters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = events_api_archive.digest("3.11", "amd64")
    assert events_api_archive.digest("3.11", "amd64") == first
    assert (
        len({first, events_api_archive.digest("3.13", "amd64"), events_api_archive.digest("3.11", "arm64")})
        == 3
    )
    (tmp_path / "lock").write_bytes(events_api_wheels.LOCK.read_bytes() + b"\n")
    monkeypatch.setattr(events_api_archive, "LOCK", tmp_path / "lock")
    assert events_api_archive.digest("3.11", "amd64") != first


def test_every_requirement_has_a_hash() -> None:
    wheels = events_api_wheels.locked(Target(pythons.OLDEST, "amd64"))
    assert len(wheels) > 15
    assert [wheel.name for wheel in wheels if not wheel.hashes] == []
