"""CVAT's compose files are read as Docker Compose reads them, which is asked itself where it is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cvat_analytics.base.errors import InputError
from cvat_analytics.gateway import compose
from cvat_analytics.gateway.compose_variables import interpolated
from tests import missing

from .compose_cases import CASES, SHELL, Case, Project

ABSENT = "Docker Compose is not installed: `make .venv/.dev` brings it"
REAL = shutil.which("docker-compose", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
"""Docker Compose itself, a development dependency; nothing here needs it."""


def written(case: Case, directory: Path) -> list[Path]:
    """Return the files of `case` that -f names, all of them written into `directory`."""
    for name, content in case.files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return [directory / name for name in case.given]


def finished(services: dict[str, compose.Service], values: dict[str, str]) -> Project:
    """Return what the containers get: an override's `${…}` is looked up where it is read."""
    return {
        name: (
            service.image,
            {
                variable: values.get(variable) if value is None else interpolated(value, values.get)
                for variable, value in service.environment.items()
            },
        )
        for name, service in services.items()
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_compose_files_are_read(case: Case, tmp_path: Path) -> None:
    paths = written(case, tmp_path)
    if case.refusal:
        with pytest.raises(InputError) as error:
            compose.project(paths, SHELL, "# ours")
        assert case.refusal in str(error.value)
        assert str(error.value).startswith(f"{tmp_path}/")
        return
    project = compose.project(paths, SHELL, "# ours")
    dotenv = tmp_path / ".env"
    values = {**(compose.from_file(dotenv, SHELL) if dotenv.exists() else {}), **SHELL}
    assert finished(project, values) == case.project


@pytest.mark.parametrize("case", [case for case in CASES if not case.beyond], ids=lambda case: case.id)
def test_docker_compose_itself_reads_them_so(case: Case, tmp_path: Path) -> None:
    stated = [part for path in written(case, tmp_path) for part in ("-f", str(path))]
    done = subprocess.run(
        [REAL or missing.give_up(ABSENT), *stated, "--profile", "*", "config", "--format", "json"],
        env={**SHELL, "HOME": str(tmp_path), "COMPOSE_PROJECT_NAME": "cvat"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode != 0) == bool(case.refusal), done.stderr
    if case.refusal:
        return
    read = {
        name: (service.get("image", ""), service.get("environment") or {})
        for name, service in json.loads(done.stdout)["services"].items()
    }
    # its output is a compose file again, in which a $ is two
    assert json.loads(json.dumps(read).replace("$$", "$")) == {
        name: list(each) for name, each in case.project.items()
    }


def test_a_directory_stands_for_what_docker_compose_takes_in_it(tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yml").write_text("services: {a: {image: x}}")
    (tmp_path / "docker-compose.override.yml").write_text("services: {b: {image: x}}")
    (tmp_path / "other.yml").write_text("services: {c: {image: x}}")
    assert set(compose.project([tmp_path], {}, "# ours")) == {"a", "b"}
    (tmp_path / ".env").write_text("COMPOSE_FILE=docker-compose.yml:other.yml\n")
    assert set(compose.project([tmp_path], {}, "# ours")) == {"a", "c"}
    assert set(compose.project([tmp_path], {"COMPOSE_FILE": "other.yml"}, "# ours")) == {"c"}


def test_a_directory_without_compose_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no compose file"):
        compose.project([tmp_path], {}, "# ours")


def test_an_override_of_an_earlier_run_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("services: {a: {image: x}}")
    (tmp_path / "b.yml").write_text("# ours, and more\nservices: {a: {image: y}}")
    project = compose.project([tmp_path / "a.yml", tmp_path / "b.yml"], {}, "# ours")
    assert project["a"].image == "x"


def test_a_file_may_be_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writing = threading.Thread(target=(tmp_path / "pipe").write_text, args=("services: {a: {image: x}}",))
    writing.start()
    assert set(compose.project([tmp_path / "pipe"], {}, "# ours")) == {"a"}
    writing.join()


def test_a_file_of_many_references_is_read_in_no_time(tmp_path: Path) -> None:
    lines = ["x-0: &a0 {k: v}", *[f"x-{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]]
    (tmp_path / "a.yml").write_text("\n".join([*lines, "services: {s: {image: x}}"]))
    assert set(compose.project([tmp_path / "a.yml"], {}, "# ours")) == {"s"}
