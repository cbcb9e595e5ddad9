"""Why a login has failed is said with the host, the reason and what to do: on pyinfra's own connector, against a real server."""

from __future__ import annotations

import io
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest
from pyinfra.api import Config, Inventory, State
from pyinfra.api.exceptions import ConnectError

from cvat_analytics.connect import logins
from tests.ssh_server import LOGIN, SSHServer, ssh_server


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


def login(server: SSHServer, **changes: Any) -> Any:
    """Log in as an inventory with these data would."""
    logins.prepare()
    data = {
        "ssh_hostname": "127.0.0.1", "ssh_port": server.address[1], "ssh_user": LOGIN["username"], "ssh_password": LOGIN["password"],
        "ssh_config_file": "/dev/null", **changes,
    }  # fmt: skip
    inventory = Inventory(([("store", {key: value for key, value in data.items() if value is not None})], {}))
    state = State(inventory, Config(CONNECT_TIMEOUT=10))
    host: Any = inventory.get_host("store")
    state.init(inventory, Config())
    host.connect(show_errors=False, raise_exceptions=True)
    return host


def refusal(server: SSHServer, **changes: Any) -> str:
    with pytest.raises(ConnectError) as refused:
        login(server, **changes)
    return str(refused.value)


def hint(text: str) -> list[str]:
    return shlex.split(text[text.index("`") + 1 : text.rindex("`")])


def test_a_first_login_ever_makes_the_directory_for_the_hosts_key_as_openssh_does(
    server: SSHServer, home: Path
) -> None:
    login(server).disconnect()
    assert f"[127.0.0.1]:{server.address[1]}" in (home / ".ssh" / "known_hosts").read_text()
    assert (home / ".ssh").stat().st_mode & 0o777 == 0o700


def test_a_key_that_cannot_be_noted_is_not_called_a_host_that_cannot_be_reached(
    server: SSHServer, tmp_path: Path
) -> None:
    file = tmp_path / "not made" / "known_hosts"
    text = refusal(server, ssh_known_hosts_file=str(file))
    assert text.startswith(
        f"host store: its key cannot be noted, as there is no directory {file.parent}. Make it: "
    )
    subprocess.run(hint(text), check=True)
    login(server, ssh_known_hosts_file=str(file)).disconnect()


def test_an_unknown_key_of_a_jump_host_is_said_with_the_command_that_accepts_it(
    server: SSHServer, tmp_path: Path
) -> None:
    with ssh_server() as jump:
        port = jump.address[1]
        config = tmp_path / "config"
        config.write_text(f"Host 10.9.9.9\n  ProxyJump ops@127.0.0.1:{port}\n")
        text = refusal(server, ssh_hostname="10.9.9.9", ssh_config_file=str(config))
    assert text.startswith(
        f"host store: the way there leads through [127.0.0.1]:{port}, whose key is not known"
    )
    assert hint(text) == ["ssh", "-p", str(port), "127.0.0.1"]


def test_an_unknown_key_of_the_host_itself_is_said_with_the_file_that_lacks_it(
    server: SSHServer, tmp_path: Path
) -> None:
    file = tmp_path / "known hosts"
    file.touch()
    text = refusal(server, ssh_known_hosts_file=str(file), ssh_strict_host_key_checking="yes")
    assert text.startswith(f"host store: its key is not known ({file} has none). ")
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
    assert text.startswith(f"host store: {name} shows another key than the one that {file} has of it.")
    subprocess.run(hint(text), check=True, capture_output=True)
    assert file.read_text() == ""


def key_file(directory: Path, content: str | None) -> str:
    file = directory / "a key"
    if content is not None:
        file.write_text(content)
    return str(file)


def test_a_key_that_is_of_no_use_is_named(server: SSHServer, tmp_path: Path) -> None:
    for content, reason in (
        (None, f"there is no key file {tmp_path}/a key (`ssh_key` in the inventory)"),
        ("ssh-rsa AAAA", f"{tmp_path}/a key is no private key of SSH (`ssh_key` in the inventory)"),
    ):
        assert refusal(server, ssh_key=key_file(tmp_path, content)) == f"host store: {reason}"
    paramiko.ECDSAKey.generate().write_private_key_file(key_file(tmp_path, ""), password="locked")
    assert f"host store: the key {tmp_path}/a key is encrypted" in refusal(
        server, ssh_key=f"{tmp_path}/a key"
    )


def test_a_wrong_password_or_key_is_no_lack_of_a_connection(server: SSHServer, tmp_path: Path) -> None:
    port = str(server.address[1])
    text = refusal(server, ssh_password="wrong")
    assert text.startswith("host store: does not let 'ops' in. Check `ssh_user` and `ssh_key`")
    assert hint(text[text.rindex("; ") :]) == ["ssh", "-p", port, "ops@127.0.0.1", "true"]
    paramiko.ECDSAKey.generate().write_private_key_file(key_file(tmp_path, ""))
    text = refusal(server, ssh_password=None, ssh_key=f"{tmp_path}/a key")
    assert f"does not let 'ops' in with the key {tmp_path}/a key" in text
    assert hint(text[text.rindex("; ") :]) == [
        "ssh",
        "-p",
        port,
        "-i",
        f"{tmp_path}/a key",
        "ops@127.0.0.1",
        "true",
    ]
    assert "does not let 'ops' in" in refusal(server, ssh_password=None)


def test_what_does_not_answer_is_told_from_what_is_no_ssh_and_from_a_name_without_address(
    server: SSHServer,
) -> None:
    assert refusal(server, ssh_port=1).startswith("host store: cannot be reached at 127.0.0.1:1 (")
    assert refusal(server, ssh_hostname="no-such-host.invalid").startswith(
        "host store: no address is known for the name 'no-such-host.invalid'. "
    )


def test_a_connection_that_ends_at_once_is_said_as_such(
    server: SSHServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paramiko.Transport, "start_server", lambda self, server: self.sock.close())
    text = refusal(server)
    assert text.startswith(f"host store: what answers at 127.0.0.1:{server.address[1]} ended the login (")
