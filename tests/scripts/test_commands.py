"""The commands as an operator meets them: help for each, and one message with the right exit code when something is wrong."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cvat_analytics.base.project import ROOT
from scripts.cli import COMMANDS, main

PROGRAM = Path(sys.executable).with_name("cvat-analytics")


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def inventory(directory: Path, text: str, **settings: object) -> Path:
    (directory / "group_data").mkdir()
    (directory / "group_data" / "all.py").write_text(
        "".join(f"{name} = {value!r}\n" for name, value in settings.items())
    )
    path = directory / "hosts.py"
    path.write_text(text)
    return path


ONE = 'clickhouse = vector = grafana = ["analytics.example.org"]\n'


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    code, output, _ = run(command, "--help")
    assert code == 0
    assert f"Usage: main {command}" in output


def test_the_installed_program_starts_quickly_enough_to_be_asked_for_help() -> None:
    done = subprocess.run([PROGRAM, "--help"], capture_output=True, text=True, check=True)
    assert [name for name in COMMANDS if f"  {name} " not in done.stdout] == []


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        (
            "clickhouse = vector = grafana = []\n",
            {},
            "the group 'clickhouse' has no host: put at least one there",
        ),
        ("clickhouse = [missing]\n", {}, "NameError: name 'missing' is not defined"),
        ("clickhouse = [\n", {}, "SyntaxError"),
        (ONE, {"grafana_prot": 3001}, "unknown setting 'grafana_prot': did you mean 'grafana_port'?"),
        (
            ONE,
            {"vector_port": 8123},
            "port 8123 of host analytics.example.org is already used by 'clickhouse_http_port'",
        ),
        (ONE, {"secrets_file": "/nowhere/secrets.json"}, "secrets file /nowhere/secrets.json: there is none"),
    ],
    ids=["no host", "undefined name", "syntax", "unknown setting", "one port twice", "missing secrets"],
)
def test_a_wrong_inventory_is_refused_without_asking_any_host(
    tmp_path: Path, text: str, settings: dict[str, object], message: str
) -> None:
    path = inventory(tmp_path, text, **settings)
    code, output, error = run("deploy", "--inventory", path)
    assert code == 2
    assert message in error
    assert "Traceback" not in error
    assert "Connecting" not in output + error


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    code, _, error = run("deploy", "--inventory", tmp_path / "none.py")
    assert (code, error) == (
        2,
        f"cvat-analytics: inventory {tmp_path / 'none.py'}: there is no such file. Copy inventory/hosts.py and put your hosts there [CVA1101]\n",
    )


def test_secrets_are_made_once_and_never_printed(tmp_path: Path) -> None:
    path = inventory(tmp_path, ONE)
    code, output, _ = run("secrets", "init", "--inventory", path)
    made = tmp_path / "secrets.json"
    values = json.loads(made.read_text())
    assert code == 0
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert [name for name, value in values.items() if value in output] == []
    code, output, _ = run("secrets", "init", "--inventory", path)
    assert (code, "nothing changed" in output) == (0, True)
    assert json.loads(made.read_text()) == values


def test_a_stack_that_cannot_be_reached_ends_with_3(tmp_path: Path) -> None:
    path = inventory(
        tmp_path, 'clickhouse = vector = grafana = [("gone", {"ssh_hostname": "127.0.0.1", "ssh_port": 1})]\n'
    )
    run("secrets", "init", "--inventory", path)
    done = subprocess.run(
        [PROGRAM, "smoke", "--inventory", path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "host gone: cannot be reached: 127.0.0.1 refuses connections to port 1. " in done.stderr


def test_two_targets_at_once_are_refused(tmp_path: Path) -> None:
    code, _, error = run("smoke", "--dir", tmp_path, "--inventory", tmp_path / "hosts.py")
    assert code == 2
    assert "give either --dir or --inventory, not both" in error


@pytest.mark.parametrize(
    ("arguments", "needless"),
    [
        (["--help"], {"pydantic", "clickhouse_connect", "cvat_analytics.config", "pyinfra"}),
        (["users", "list"], {"clickhouse_connect", "grafana_client", "pyinfra", "gevent"}),
        (["secrets", "--help"], {"clickhouse_connect", "grafana_client", "pyinfra", "gevent"}),
        (["status"], {"clickhouse_connect", "grafana_client", "pyinfra", "gevent"}),
    ],
)
def test_a_command_does_not_import_what_it_has_no_use_for(
    arguments: list[str], needless: set[str], tmp_path: Path
) -> None:
    """Their libraries are most of the time that a command takes to answer."""
    program = (
        "import sys\nfrom scripts.cli import main\n"
        f"try:\n    main({arguments!r})\nfinally:\n    print(*sorted({needless!r} & set(sys.modules)), file=sys.stderr)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.splitlines()[-1] == "", done.stderr
