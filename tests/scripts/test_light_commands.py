"""Commands that ask nobody load no library that they do not need: that, and not the machine's speed, is why they answer at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cvat_analytics.base.project import ROOT
from cvat_analytics.credentials import secrets

HEAVY = {
    "argon2", "clickhouse_connect", "cryptography", "gevent", "httpx", "jinja2", "paramiko", "pydantic", "pyinfra", "requests", "yaml",
}  # fmt: skip
_PROGRAM = """
import atexit, json, sys
atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))
from cvat_analytics.__main__ import main
main()
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a directory with a stack that does not run, and an inventory."""
    (tmp_path / "stack.json").write_text('{"port_base": 19990}')
    secrets.init(tmp_path / "secrets.json")
    (tmp_path / "hosts.py").write_text('clickhouse = vector = grafana = ["one.example.org"]\n')
    return tmp_path


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        (["--help"], set()),
        (["explain", "CVA3103"], set()),
        (["explain"], set()),
        (["users", "list", "--dir", "."], set()),
        (["status", "--dir", "."], set()),
        (["users", "list", "--inventory", "hosts.py"], {"pydantic"}),
        (["secrets", "init", "--inventory", "hosts.py"], {"pydantic"}),
        (["secrets", "rotate", "--help"], {"pydantic"}),
        # pyinfra and what it needs is loaded by the process that runs it
        (["deploy", "--help"], {"cryptography", "jinja2", "pydantic", "yaml"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_only_what_is_needed_is_loaded(place: Path, command: list[str], needed: set[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *command],
        cwd=place,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (1 if command[0] == "status" else 0), done.stdout + done.stderr
    assert HEAVY & set(json.loads(done.stderr.splitlines()[-1])) <= needed
