"""Why a login has failed is said with the host, the reason and what to do: on pyinfra's own connector, against a real server."""

from __future__ import annotations

import io
import os
import pwd
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import paramiko
import pytest
from pyinfra.api import Config, Inventory, State
from pyinfra.api.exceptions import ConnectError

from cvat_analytics.base.codes import Code
from cvat_analytics.config.inventory_file import Host
from cvat_analytics.connect import ssh
from tests.ssh_server import LOGIN, PATIENT, SSHServer, ssh_server


@pytest.fixture
def server() -> Iterator[SSHServer]:
    with ssh_server() as running:
        yield running


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the home of an operator who has never used SSH, and is no terminal."""
    directory = tmp_path / "home"
    directory.mkdir()
    monkeypatch.setenv("HOME", str(directory))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    return directory


def host(server: SSHServer, **changes: Any) -> Host:
    data = {
        "ssh_hostname": "127.0.0.1", "ssh_port": server.address[1], "ssh_user": LOGIN["username"], "ssh_password": LOGIN["password"],
        "ssh_config_file": "/dev/null", **PATIENT, **changes,
    }  # fmt: skip
    return Host("store", (), {key: value for key, value in data.items() if value is not None})


def login(server: SSHServer, **changes: Any) -> None:
    """Log in as a deploy does, and end it."""
    chosen = host(server, **changes)
    ssh.prepare()
    inventory = Inventory(([("store", dict(chosen.data))], {}))
    State(inventory, Config())
    inventory.get_host("store").connect(show_errors=False, raise_exceptions=True)
    inventory.get_host("store").disconnect()


def refusal(server: SSHServer, **changes: Any) -> str:
    """Return why a login as a deploy's fails; the commands that connect by themselves say the same."""
    with pytest.raises(ConnectError) as refused:
        login(server, **changes)
    text = ssh.why(host(server, **changes), refused.value)
    with ExitStack() as opened:
        _, away = ssh.connect([host(server, **changes)], opened)
    assert away == {"store": text}
    assert text.startswith("host store: cannot be logged in to: ")
    text, code = text.removeprefix("host store: cannot be logged in to: ").rsplit(" ", 1)
    assert code in (f"[{Code.HOST_LOGIN_REFUSED}]", f"[{Code.HOST_KEY}]", f"[{Code.HOST_UNREACHABLE}]")
    return text


def hint(text: str) -> list[str]:
    return shlex.split(text.split("`")[1])


def test_a_first_login_ever_makes_the_directory_for_the_hosts_key_as_openssh_does(
    server: SSHServer, home: Path
) -> None:
    login(server)
    assert f"[127.0.0.1]:{server.address[1]}" in (home / ".ssh" / "known_hosts").read_text()
    assert (home / ".ssh").stat().st_mode & 0o777 == 0o700


def test_a_key_that_cannot_be_noted_is_not_called_a_host_that_cannot_be_reached(
    server: SSHServer, tmp_path: Path
) -> None:
    file = tmp_path / "not made" / "known_hosts"
    text = refusal(server, ssh_known_hosts_file=str(file))
    assert text.startswith(
        f"its host key is new and cannot be noted in {file} (No such file or directory). Make that"
    )
    subprocess.run(hint(text), check=True)
    login(server, ssh_known_hosts_file=str(file))


def test_an_unknown_key_of_a_jump_host_is_said_with_the_command_that_accepts_it(
    server: SSHServer, tmp_path: Path
) -> None:
    with ssh_server() as jump:
        port = jump.address[1]
        config = tmp_path / "config"
        config.write_text(f"Host 10.9.9.9\n  ProxyJump ops@127.0.0.1:{port}\n")
        text = refusal(server, ssh_hostname="10.9.9.9", ssh_config_file=str(config))
    assert text.startswith(f"the way there leads through [127.0.0.1]:{port}, whose host key is not known")
    assert hint(text) == ["ssh", "-p", str(port), "127.0.0.1"]


def test_an_unknown_key_of_the_host_itself_is_said_with_the_file_that_lacks_it(
    server: SSHServer, tmp_path: Path
) -> None:
    file = tmp_path / "known hosts"
    file.touch()
    text = refusal(server, ssh_known_hosts_file=str(file), ssh_strict_host_key_checking="yes")
    assert text.startswith(f"its host key is not known here ({file} has none). ")
    assert hint(text) == [
        "ssh",
        "-o",
        f"UserKnownHostsFile={file}",
        "-p",
        str(server.address[1]),
        "127.0.0.1",
    ]


def test_a_changed_key_is_forgotten_by_the_command_that_is_named(server: SSHServer, tmp_path: Path) -> None:
    file = tmp_path / "known hosts"
    key = paramiko.ECDSAKey.generate()
    name = f"[127.0.0.1]:{server.address[1]}"
    file.write_text(f"{name} {key.get_name()} {key.get_base64()}\n")
    text = refusal(server, ssh_known_hosts_file=str(file))
    assert text.startswith("127.0.0.1 shows another host key than the one that is known here. ")
    subprocess.run(hint(text), check=True, capture_output=True)
    assert file.read_text() == ""


def key_file(directory: Path, content: str | None) -> str:
    file = directory / "a key"
    if content is not None:
        file.write_text(content)
    return str(file)


def test_a_key_that_is_of_no_use_is_named(server: SSHServer, tmp_path: Path) -> None:
    for content, reason in (
        (None, f"there is no key file {tmp_path}/a key. See `ssh_key` in the inventory"),
        ("ssh-rsa AAAA", f"{tmp_path}/a key is no private key of SSH. See `ssh_key` in the inventory"),
    ):
        assert refusal(server, ssh_key=key_file(tmp_path, content)) == reason
    paramiko.ECDSAKey.generate().write_private_key_file(key_file(tmp_path, ""), password="locked")
    assert refusal(server, ssh_key=f"{tmp_path}/a key").startswith(f"the key {tmp_path}/a key is encrypted. ")


def test_the_login_that_is_to_be_tried_is_the_inventory_s(server: SSHServer, tmp_path: Path) -> None:
    paramiko.ECDSAKey.generate().write_private_key_file(key_file(tmp_path, ""))
    text = refusal(server, ssh_password=None, ssh_key=f"{tmp_path}/a key")
    assert text.startswith("it refuses the login of ops (key). See whether `ssh")
    port = str(server.address[1])
    assert shlex.split(text.split("`")[1]) == ["ssh", "-p", port, "-i", f"{tmp_path}/a key", "ops@127.0.0.1"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def asking(server: SSHServer, name: str) -> Host:
    return Host(name, (), {**host(server).data, "ssh_strict_host_key_checking": "ask"})


def test_who_sits_at_the_terminal_is_asked_about_one_key_after_the_other(
    server: SSHServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hosts show one key, as hosts behind one jump host do, and a third another: that is two questions."""
    asked: list[str] = []
    open_now: list[str] = []
    together = threading.Event()

    def answer(question: str) -> str:
        asked.append(question)
        open_now.append(question)
        if len(open_now) > 1:
            together.set()
        together.wait(1)  # gives another question the time to come between
        open_now.remove(question)
        return "y"

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("builtins.input", answer)
    with ssh_server() as other, ExitStack() as opened:
        hosts = [asking(server, "one"), asking(server, "same"), asking(other, "other")]
        clients, away = ssh.connect(hosts, opened)
    assert (sorted(clients), away) == (["one", "other", "same"], {})
    assert not together.is_set()
    assert len(asked) == len(set(asked)) == 2


def test_nobody_is_given_up_while_a_key_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    class Asked:
        name, connector = "store", object()

        def connect(self, **options: object) -> None:
            answered.wait(60)

    monkeypatch.setattr(ssh, "_LOGIN", 0.1)
    failures: dict[str, BaseException] = {}
    clients: ssh.Clients = {}
    # the answer takes longer than a login may
    answering = threading.Timer(0.6, answered.set)
    with ssh._QUESTION:
        answering.start()
        ssh._log_in([Asked()], clients, failures)
    answering.join()
    assert (clients, failures) == ({"store": None}, {})


@pytest.mark.parametrize(
    ("named", "agent"),
    [
        ("SSH_AUTH_SOCK", "/run/own.sock"),
        ("none", "/run/own.sock"),
        ("$OTHER_AGENT", "/run/other.sock"),
        ("${AGENTS}/agent.sock", "/run/agents/agent.sock"),
    ],
)
def test_an_agent_is_named_as_openssh_lets_it_be(
    server: SSHServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, agent: str
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/own.sock")
    monkeypatch.setenv("OTHER_AGENT", "/run/other.sock")
    monkeypatch.setenv("AGENTS", "/run/agents")
    config = tmp_path / "config"
    config.write_text(f"Host *\n    IdentityAgent {named}\n")
    seen: list[str | None] = []
    check = server.check_auth_password

    def noted(username: str, password: str) -> int:
        seen.append(os.environ.get("SSH_AUTH_SOCK"))
        return check(username, password)

    monkeypatch.setattr(server, "check_auth_password", noted)
    chosen = host(server, ssh_config_file=str(config), ssh_allow_agent=False, ssh_look_for_keys=False)
    with ExitStack() as opened:
        clients, away = ssh.connect([chosen], opened)
    assert (sorted(clients), away) == (["store"], {})
    assert seen == [agent]
    assert os.environ["SSH_AUTH_SOCK"] == "/run/own.sock"


def test_an_operator_without_a_home_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(number: int) -> None:
        raise KeyError(number)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    ssh.prepare()
