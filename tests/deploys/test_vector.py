"""How a deploy brings a changed configuration to Vector: its commands and their order, on pyinfra's fake hosts."""

from __future__ import annotations

import socket
import subprocess
import tomllib
from contextlib import nullcontext
from pathlib import Path

import pytest
from pyinfra.api.exceptions import PyinfraError

from cvat_analytics.rendering import render
from cvat_analytics.rendering.context import Context
from deploys import vector_operations
from tests.clickhouse import free_ports
from tests.deploys.conftest import Deploy
from tests.vector.configuration import context


def host_context(**settings: object) -> Context:
    stack = context(Path("/"), **settings)
    return Context(stack.host, stack.topology, stack.secrets)


def test_vector_proves_the_configuration_before_anything_of_it_is_written(run_deploy: Deploy) -> None:
    run = run_deploy()
    (proof,) = run.matching("vector validate --skip-healthchecks")
    assert "vector test /run/cvat-analytics/vector-candidate/vector.toml" in proof
    proven = run.commands["@fake/a"].index(proof)
    forget = run.position("rm -f /var/lib/cvat-analytics/vector.applied")
    assert proven < forget < run.position("systemctl restart vector")


def test_a_buffer_that_does_not_fit_is_refused(run_deploy: Deploy) -> None:
    with pytest.raises(
        PyinfraError, match=r"100\.0 GiB free .*, but Vector's buffers may grow to 200\.5 GiB"
    ):
        run_deploy(settings={"vector_buffer_size": "200GiB"})


@pytest.mark.parametrize(
    ("settings", "how"),
    [
        ({"vector_port": 8383}, "reload"),
        ({"vector_extra_ports": [8383]}, "reload"),
        # both addresses are answered by either configuration
        ({"vector_listen_address": "0.0.0.0"}, "restart"),
        ({"vector_buffer_size": "300MiB"}, "restart"),
        ({"clickhouse_http_port": 8124}, "restart"),
        ({"vector_metrics_port": 9598}, "restart"),
        # it would not show whether the reload was done
        ({"vector_username": "cvat"}, "restart"),
        # the sink that hands on large requests logs in with it
        ({"vector_port": 8383, "vector_username": "cvat"}, "restart"),
    ],
)
def test_only_ports_that_come_and_go_are_changed_by_a_reload(settings: dict[str, object], how: str) -> None:
    before, after = (
        render.render("vector.toml.j2", host_context(**values).variables()) for values in ({}, settings)
    )
    assert vector_operations.change(before, after) == how
    assert vector_operations.change("no TOML [", after) == "restart"


def test_what_is_tried_is_what_is_written_but_for_the_place_of_the_credentials() -> None:
    stack = host_context(vector_username="cvat")
    files = render.vector_files(stack)
    tried = {file.path: file for file in vector_operations.candidates(stack, files)}
    here = vector_operations.CANDIDATE
    assert set(tried) == {
        f"{here}/vector.toml",
        f"{here}/tests.toml",
        f"{here}/credentials/clickhouse_password",
        f"{here}/credentials/large_bodies",
        f"{here}/credentials/ingest_password",
    }
    assert {file.mode for file in tried.values()} == {"600"}
    written = tomllib.loads(next(file.content for file in files if file.path.endswith("/vector.toml")))
    configuration = tomllib.loads(tried[f"{here}/vector.toml"].content)
    assert configuration["secret"]["credentials"].pop("path") == f"{here}/credentials"
    assert written["secret"]["credentials"].pop("path") == "/run/credentials/vector.service"
    assert configuration == written


def test_what_needs_no_restart_does_not_cause_one() -> None:
    effects = {Path(file.path).name: file.effect for file in render.vector_files(host_context())}
    assert [name for name, effect in effects.items() if effect == "restart"] == [
        "clickhouse_password",
        "large_bodies",
        "vector.toml",
        "start",
        "cvat-analytics.conf",
    ]


SYSTEMCTL = """#!/bin/sh
echo "$*" >> {here}/asked
case "$*" in
    "restart vector") touch {here}/new ;;
    "reload vector") [ ! -e {here}/will ] || touch {here}/new ;;
esac
"""


@pytest.mark.parametrize(
    ("will", "old_answers", "code", "restarted", "says"),
    [
        (True, False, 0, False, ""),  # done: the old port is closed
        (False, True, 1, False, "goes on with what it had"),  # refused
        (False, False, 0, True, "its reload does not end; restarting it"),  # hangs, with the ports closed
    ],
)
def test_what_came_of_a_reload_is_seen_by_the_ports_whatever_the_log_says(
    will: bool, old_answers: bool, code: int, restarted: bool, says: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (old_port,) = free_ports(1)
    monkeypatch.setattr(vector_operations, "PREVIOUS", str(tmp_path / "previous.tar"))
    monkeypatch.setattr(vector_operations, "CHANGE", str(tmp_path / "change"))
    configuration = tmp_path / "vector.toml"
    configuration.write_text(f'address = "127.0.0.1:{old_port}"\n')
    subprocess.run(["tar", "-cPf", tmp_path / "previous.tar", configuration], check=True)
    configuration.write_text('address = "127.0.0.1:1"\n')
    (tmp_path / "change").write_text("reload\n")
    for name, text in {"systemctl": SYSTEMCTL.format(here=tmp_path), "journalctl": "#!/bin/sh\n"}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    if will:
        (tmp_path / "will").touch()
    script = vector_operations._script("vector", str(configuration), f"[ -e {tmp_path}/new ]", 3)
    with socket.create_server(("127.0.0.1", old_port)) if old_answers else nullcontext():
        done = subprocess.run(
            ["sh"],
            input=script,
            text=True,
            capture_output=True,
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
            timeout=60,
            check=False,
        )
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    assert ("restart vector" in (tmp_path / "asked").read_text()) == restarted
    if code:
        assert str(old_port) in configuration.read_text(), "the old configuration is there again"


def test_the_script_is_one_that_a_shell_reads() -> None:
    script = vector_operations._script("vector", "/etc/vector/vector.toml", "true", 10)
    assert subprocess.run(["sh", "-n"], input=script, text=True, check=False).returncode == 0
