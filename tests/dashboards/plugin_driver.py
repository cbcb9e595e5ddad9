"""The program in `driver/`: the driver and the macro parser of Grafana's ClickHouse plugin, built with the Go of this environment.

clickhouse-go is of the version that the newest plugin source that can be read asks for (grafana/clickhouse-datasource 1d04063,
after 4.20.0); macropro 1.0.0 is that of plugin 4.19 and the newest that the Go module proxy serves.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.missing import give_up

SOURCE = Path(__file__).parent / "driver"
_GO = Path(sys.executable).parent / "go"


@dataclass(frozen=True)
class PluginDriver:
    """The built program."""

    program: Path

    def query(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        """Return rows or an error for each query, as the plugin's driver gets them."""
        answers = self._run("query", request)
        assert isinstance(answers, list)
        return answers

    def people(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        """Return for each of some people who open a dashboard at once how long it took, and the first error."""
        answers = self._run("people", request)
        assert isinstance(answers, list)
        return answers

    def macros(self, names: list[str], queries: list[str]) -> list[dict[str, str]]:
        """Return each text with its macros replaced by their name and arguments, by the comment styles of older and newer plugins."""
        answers = self._run("macros", {"names": names, "queries": queries})
        assert isinstance(answers, list)
        return answers

    def _run(self, what: str, request: dict[str, Any]) -> Any:
        done = subprocess.run(
            [self.program, what], input=json.dumps(request), capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def build(factory: pytest.TempPathFactory) -> PluginDriver:
    """Return the program; whoever asks first builds it, for all workers of a run."""
    directory = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        directory = directory.parent
    return build_in(directory)


def build_in(directory: Path) -> PluginDriver:
    """Return the program, built in `directory`."""
    program = directory / "plugin-driver"
    # nothing but this environment's Go, and no C compiler
    environment = os.environ | {"GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0"}
    environment.pop("GOROOT", None)

    def go(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [_GO, *arguments], cwd=SOURCE, env=environment, capture_output=True, text=True, timeout=900
        )

    with (directory / "plugin-driver.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fetched = go("mod", "download")
        if fetched.returncode:
            give_up(
                f"the Go modules of the plugin's driver cannot be fetched; GOPROXY says from where. {fetched.stderr[-500:]}"
            )
        built = go("build", "-mod=readonly", "-buildvcs=false", "-o", str(program), ".")
        assert built.returncode == 0, built.stderr
    return PluginDriver(program)
