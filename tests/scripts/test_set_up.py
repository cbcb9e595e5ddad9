"""What `make` does first on a machine, where what it needs is not there: one clear message, and what to do about it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from cvat_analytics.base.project import ROOT


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a directory with what the set-up reads, and a `bin` that is all there is on PATH."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "set-up", tmp_path / "scripts")
    (tmp_path / "bin").mkdir()
    for program in ("bash", "dirname", "awk"):
        (tmp_path / "bin" / program).symlink_to(shutil.which(program) or program)
    return tmp_path


def run(project: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [project / "scripts" / "set-up", *arguments],
        env={"PATH": str(project / "bin"), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def program(project: Path, name: str, script: str) -> Path:
    """Put a program on the PATH."""
    path = project / "bin" / name
    path.write_text(f"#!/usr/bin/env bash\n{script}\n")
    path.chmod(0o755)
    return path


def test_without_python_and_uv_it_says_what_to_install(project: Path) -> None:
    done = run(project, "python")
    assert done.returncode == 2
    assert "apt install python3-venv" in done.stderr
    assert not (project / ".venv").exists()


def test_a_python_that_is_named_and_too_old_is_refused_by_its_name(project: Path) -> None:
    old = program(project, "old", "exit 1")
    done = run(project, "python", PYTHON=str(old))
    assert (done.returncode, done.stderr) == (
        2,
        f"PYTHON={old}: is no Python 3.12 or newer. Name another one, or none: then uv brings one\n",
    )


def test_a_python_that_cannot_make_environments_is_said_with_the_package(project: Path) -> None:
    # it answers what its version is, and has no venv, as Debian's python3 without python3-venv
    program(project, "python3.12", '[ "$1" = -c ]')
    done = run(project, "python")
    assert done.returncode == 2
    assert done.stderr.endswith("failed. On Debian and Ubuntu: apt install python3-venv\n")


def test_names_that_do_not_run_are_passed_over(project: Path) -> None:
    """As pyenv's: a `python3.12` on PATH that only says that it is not there."""
    program(project, "python3.12", "exit 127")
    program(project, "python3", '[ "$1" = -c ] || { echo "made by $0" >&2; exit 1; }')
    done = run(project, "python")
    assert f"made by {project}/bin/python3" in done.stderr


def test_where_uv_cannot_bring_a_python_the_way_out_is_said(project: Path) -> None:
    program(project, "uv", "exit 1")
    done = run(project, "python")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "uv could not fetch Python 3.12. Install Python 3.12 or newer, and run make PYTHON=/path/to/it"
    )


@pytest.mark.parametrize(
    ("what", "where", "without"), [("npm", ".", " --omit=optional"), ("lint", "lint", "")]
)
def test_the_tools_for_javascript_are_no_packages_of_the_product(
    project: Path, what: str, where: str, without: str
) -> None:
    program(project, "npm", 'echo "$@"')
    program(
        project, "clickhouse", "exit 0"
    )  # then the engine is not needed; the tools' own programs are optional packages too
    done = run(project, what)
    assert (done.returncode, done.stdout) == (
        0,
        f"ci --prefix {where} --silent --no-audit --no-fund --ignore-scripts{without}\n",
    )
