"""Logins to hosts: each for itself and all at once; why one fails is told apart, and what to do is said."""

from __future__ import annotations

import io
import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from cvat_analytics.config.inventory_file import Host
from cvat_analytics.connect import ssh
from tests.ssh_server import LOGIN, PATIENT, SSHServer, ssh_server

IMPATIENT = {"ssh_paramiko_connect_kwargs": {"timeout": 2}}
"""For a login that comes to nothing in any time."""


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "_LOGIN", 120)


@pytest.fixture
def server() -> Iterator[SSHServer]:
    with ssh_server() as running:
        yield running


def host(server: SSHServer, name: str, directory: Path, **data: Any) -> Host:
    """Return a host as an inventory has it, which is known here; `data` changes its login."""
    known = server.known_hosts(directory / f"known-{name}")
    login = {"ssh_user": LOGIN["username"], "ssh_password": LOGIN["password"], "ssh_config_file": "/dev/null",
             "ssh_allow_agent": False, "ssh_look_for_keys": False}  # fmt: skip
    place = {"ssh_hostname": "127.0.0.1", "ssh_port": server.address[1], "ssh_known_hosts_file": str(known)}
    return Host(name, [], {**login, **place, **PATIENT, **data})


def why(chosen: Host) -> str:
    with ExitStack() as opened:
        clients, away = ssh.connect([chosen], opened)
    assert not clients
    (line,) = away.values()
    assert "\n" not in line
    return line


def test_hosts_that_can_be_reached_are_whatever_becomes_of_the_others(
    server: SSHServer, tmp_path: Path
) -> None:
    with ExitStack() as opened:
        clients, away = ssh.connect(
            [
                host(server, "gone", tmp_path, ssh_port=1),
                host(server, "one", tmp_path),
                Host("@local", [], {}),
                host(server, "keyless", tmp_path, ssh_key="/nonexistent/key"),
            ],
            opened,
        )
        assert set(clients) == {"one", "@local"}
        assert clients["@local"] is None
        one = clients["one"]
        assert one
        assert one.exec_command("true")[1].read() == b""
        assert set(away) == {"gone", "keyless"}
    transport = one.get_transport()
    assert transport is None or not transport.is_active(), "closed with the block"


def test_what_pyinfra_says_afterwards_is_heard_again(
    server: SSHServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A check of the same process, as a deploy makes it, speaks through pyinfra's own log."""
    with ExitStack() as opened:
        ssh.connect([host(server, "gone", tmp_path, ssh_port=1)], opened)
        assert not caplog.text, "why a host is away is a line of ours"
    logging.getLogger("pyinfra").warning("little room is left")
    assert "little room is left" in caplog.text


def test_a_host_that_hangs_does_not_hold_up_the_login_to_another(server: SSHServer, tmp_path: Path) -> None:
    """The silent one is asked first, and is still waited for when the other is in."""
    while_waiting: list[bool] = []

    def hang() -> None:
        near, _ = silent.accept()
        with near:
            near.settimeout(0.05)
            while not server.logins.is_set():
                try:
                    if not near.recv(1024):
                        break
                except TimeoutError:
                    continue
            while_waiting.append(server.logins.is_set())

    with socket.create_server(("127.0.0.1", 0)) as silent, ExitStack() as opened:
        hanging = threading.Thread(target=hang)
        hanging.start()
        first = host(server, "silent", tmp_path, ssh_port=silent.getsockname()[1])
        clients, away = ssh.connect([first, host(server, "one", tmp_path)], opened)
        hanging.join()
    assert (set(clients), set(away)) == ({"one"}, {"silent"})
    assert while_waiting == [True]


def test_a_login_that_never_ends_is_given_up(
    server: SSHServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "_LOGIN", 0.5)
    server.answering.clear()
    assert "does not answer in time" in why(host(server, "one", tmp_path))


def test_a_host_whose_packets_are_dropped_does_not_answer_in_time(server: SSHServer, tmp_path: Path) -> None:
    with ExitStack() as opened:
        full = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):  # what waits beyond the backlog is dropped
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        port = full.getsockname()[1]
        line = why(host(server, "one", tmp_path, ssh_port=port, **IMPATIENT))
    assert line.startswith(
        "host one: cannot be reached: 127.0.0.1 does not answer in time. See whether it is up"
    )
    assert f"its port {port}" in line


def test_what_takes_connections_and_speaks_no_ssh_is_said(server: SSHServer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        line = why(host(server, "one", tmp_path, ssh_port=mute.getsockname()[1], **IMPATIENT))
    assert "takes connections to port" in line
    assert "does not speak SSH in time" in line


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"ssh_hostname": "no-such-host.invalid"}, "nobody knows the name no-such-host.invalid. Check it"),
        ({"ssh_port": 1}, "127.0.0.1 refuses connections to port 1. See whether its sshd runs"),
        ({"ssh_password": "wrong"}, "it refuses the login of ops (password). See whether `ssh -p PORT ops@127.0.0.1` works"),
        ({"ssh_key": "/nonexistent/key"}, "there is no key file /nonexistent/key. See `ssh_key`"),
        (
            {"ssh_known_hosts_file": "/dev/null", "ssh_strict_host_key_checking": "yes"},
            "its host key is not known here (/dev/null has none). Compare it and accept it by `ssh -o UserKnownHostsFile=/dev/null -p PORT 127.0.0.1`",
        ),
        # nobody is there to ask
        (
            {"ssh_known_hosts_file": "/dev/null", "ssh_strict_host_key_checking": "ask"},
            "its host key is not known here (/dev/null has none). Compare it",
        ),
        (
            {"ssh_known_hosts_file": "/nonexistent/known_hosts"},
            "its host key is new and cannot be noted in /nonexistent/known_hosts (No such file or directory). Make that directory (`mkdir -p -m 700 /nonexistent`)",
        ),
    ],
    ids=["name", "refused", "password", "key-file", "unknown-key", "unknown-key-to-ask-for", "no-directory"],
)  # fmt: skip
def test_why_a_host_is_not_reached(
    server: SSHServer, tmp_path: Path, data: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    line = why(host(server, "one", tmp_path, **data))
    away = {"ssh_hostname", "ssh_port"} & data.keys()
    assert line.startswith(f"host one: cannot be {'reached' if away else 'logged in to'}: ")
    assert words.replace("PORT", str(server.address[1])) in line


def test_another_host_key_than_the_known_one_is_said(server: SSHServer, tmp_path: Path) -> None:
    chosen = host(server, "one", tmp_path)
    with ssh_server() as other:
        text = other.known_hosts(tmp_path / "other").read_text()
        known = text.replace(str(other.address[1]), str(server.address[1]))
        Path(chosen.data["ssh_known_hosts_file"]).write_text(known)
    line = why(chosen)
    assert "shows another host key than the one that is known here" in line
    file = chosen.data["ssh_known_hosts_file"]
    assert f"`ssh-keygen -f {file} -R '[127.0.0.1]:{server.address[1]}'`" in line


def test_the_agent_that_the_configuration_names_is_there_during_every_login(
    server: SSHServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logins at the same time set and take away the variable that names it (pyinfra's own doing)."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    config = tmp_path / "config"
    config.write_text("Host *\n    IdentityAgent /run/agent.sock\n")
    seen: list[str | None] = []
    check = server.check_auth_password

    def noted(username: str, password: str) -> int:
        seen.append(os.environ.get("SSH_AUTH_SOCK"))
        return check(username, password)

    monkeypatch.setattr(server, "check_auth_password", noted)
    names = [f"host{number}" for number in range(8)]
    with ExitStack() as opened:
        clients, away = ssh.connect(
            [host(server, name, tmp_path, ssh_config_file=str(config)) for name in names], opened
        )
    assert (sorted(clients), away) == (names, {})
    assert seen == ["/run/agent.sock"] * len(names)
    assert "SSH_AUTH_SOCK" not in os.environ
