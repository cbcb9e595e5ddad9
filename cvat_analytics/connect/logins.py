"""Logins at the inventory's hosts with pyinfra's connectors: why one has failed, in a sentence that says what to do.

The deploy (deploys/watch_config.py) and the commands that connect by themselves (`remote`) say the same of the same failure: both
call `prepare` before they connect, and pass on the text of pyinfra's ConnectError.
"""

from __future__ import annotations

import contextlib
import functools
import getpass
import re
import shlex
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DEFAULT_KNOWN_HOSTS = "~/.ssh/known_hosts"
_UNKNOWN_KEY = "No host key for {} found in known_hosts"
"""What pyinfra's policies say of a host whose key is nowhere noted."""


def prepare() -> None:
    """Let pyinfra log in as OpenSSH does, and its ConnectError say what `failure` says.

    Keys are noted where no `~/.ssh` is yet, and only somebody who can answer is asked about one.
    """
    with contextlib.suppress(OSError):  # needed only by a key that is to be noted there, which then says so
        Path(DEFAULT_KNOWN_HOSTS).expanduser().parent.mkdir(mode=0o700, exist_ok=True)
    _patch()


@functools.cache
def _patch() -> None:
    from paramiko import SSHException
    from pyinfra.api.exceptions import ConnectError
    from pyinfra.connectors.ssh import SSHConnector
    from pyinfra.connectors.sshuserclient import client

    class Asking(client.AskPolicy):
        """Asks about an unknown key where there is a terminal: of a jump host's pyinfra asks even where nobody can answer."""

        def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:
            if not (sys.stdin and sys.stdin.isatty()):
                raise SSHException(_UNKNOWN_KEY.format(hostname))
            super().missing_host_key(client, hostname, key)  # type: ignore[no-untyped-call]

    client.AskPolicy = Asking  # type: ignore[misc]
    connect = SSHConnector.connect

    def explained(self: SSHConnector) -> None:
        # without this, what pyinfra itself does not expect, such as a key file that is missing, ends with a traceback
        try:
            connect(self)
        except Exception as error:
            raise ConnectError(failure(self.host.name, self.host.data.dict(), error)) from error

    SSHConnector.connect = explained  # type: ignore[method-assign]


def failure(host: str, data: Mapping[str, Any], error: BaseException) -> str:
    """Return why the login at `host`, which has `data` in the inventory, has failed with `error`, and what to do.

    `error` is what pyinfra's connector has raised; what that has made of another error is told by the other one.
    """
    from paramiko import AuthenticationException, BadHostKeyException, SSHException

    cause = error.__context__ or error
    text = " ".join(str(error).split()) or type(error).__name__
    where = f"{data.get('ssh_hostname') or host}:{data.get('ssh_port') or 22}"
    if "private key" in text.lower():
        return f"host {host}: {_unusable_key(text, data)}"
    if unknown := re.search(re.escape(_UNKNOWN_KEY).replace(r"\{\}", r"(\S+)"), str(cause)):
        return f"host {host}: {_unknown_key(unknown[1], host, data)}"
    if isinstance(cause, BadHostKeyException):
        return f"host {host}: {_changed_key(_named(cause.hostname, host, data), data)}"
    if isinstance(cause, AuthenticationException) or "No authentication methods" in str(cause):
        return (
            f"host {host}: does not let {data.get('ssh_user') or getpass.getuser()!r} in{_key(data)}. Check `ssh_user` and `ssh_key` in the "
            f"inventory; `{ssh_command(host, data)} true` must work"
        )
    if isinstance(cause, socket.gaierror):
        return f"host {host}: no address is known for the name {data.get('ssh_hostname') or host!r}. Check it, or give the host's `ssh_hostname` in the inventory"
    if isinstance(cause, OSError) and cause.filename:
        return f"host {host}: {_unnoted_key(str(cause.filename), cause)}"
    if isinstance(cause, EOFError | SSHException):
        return f"host {host}: what answers at {where} ended the login ({text}). See whether it is the host's SSH: `{ssh_command(host, data)} true`"
    if isinstance(cause, OSError):
        return (
            f"host {host}: cannot be reached at {where} ({text}). See whether it is up, and check its name, `ssh_hostname` and `ssh_port` in "
            "the inventory"
        )
    return f"host {host}: cannot be logged in to ({text}). Check what the inventory says of it"


def ssh_command(host: str, data: Mapping[str, Any]) -> str:
    """Return the command by which OpenSSH logs in where the inventory does."""
    words = ["ssh"]
    if data.get("ssh_port"):
        words += ["-p", str(data["ssh_port"])]
    if data.get("ssh_key"):
        words += ["-i", str(data["ssh_key"])]
    name = str(data.get("ssh_hostname") or host)
    return shlex.join([*words, f"{data['ssh_user']}@{name}" if data.get("ssh_user") else name])


def _key(data: Mapping[str, Any]) -> str:
    return f" with the key {data['ssh_key']}" if data.get("ssh_key") else ""


def _unusable_key(text: str, data: Mapping[str, Any]) -> str:
    file = data.get("ssh_key")
    if "is encrypted" in text:
        return f"the key {file} is encrypted, and nobody can be asked for its password. Give `ssh_key_password`, or add the key to your SSH agent"
    if "No such" in text:
        return f"there is no key file {file} (`ssh_key` in the inventory)"
    return f"{file} is no private key of SSH (`ssh_key` in the inventory)"


def _unknown_key(name: str, host: str, data: Mapping[str, Any]) -> str:
    """Return what to do about a host that nobody has noted the key of: this one, or one through which the way leads."""
    address, port = _parts(name)
    own = address == (data.get("ssh_hostname") or host)
    file = data.get("ssh_known_hosts_file") if own else None
    options = ["-o", f"UserKnownHostsFile={file}"] if file else []
    command = shlex.join(["ssh", *options, *(["-p", port] if port else []), address])
    whose = "its key" if own else f"the way there leads through {name}, whose key"
    return f"{whose} is not known ({file or DEFAULT_KNOWN_HOSTS} has none). Compare it once and accept it: `{command}`"


def _changed_key(name: str, data: Mapping[str, Any]) -> str:
    file = data.get("ssh_known_hosts_file")
    command = shlex.join(["ssh-keygen", *(["-f", str(file)] if file else []), "-R", name])
    return (
        f"{name} shows another key than the one that {file or DEFAULT_KNOWN_HOSTS} has of it. Where it was not set up anew, somebody may be in "
        f"between; where it was, forget the old one: `{command}`"
    )


def _unnoted_key(file: str, error: OSError) -> str:
    name = Path(file)
    if not name.parent.is_dir():
        return f"its key cannot be noted, as there is no directory {name.parent}. Make it: `{shlex.join(['mkdir', '-p', '-m', '700', str(name.parent)])}`"
    return f"{file}: {error.strerror}. SSH needs it for the login"


def _named(address: str, host: str, data: Mapping[str, Any]) -> str:
    """Return how known_hosts names a host of which the address is known."""
    port = data.get("ssh_port") or 22 if address == (data.get("ssh_hostname") or host) else 22
    return address if port == 22 else f"[{address}]:{port}"


def _parts(name: str) -> tuple[str, str]:
    """Return address and port of a host as known_hosts names it; the port is empty for SSH's own."""
    match = re.fullmatch(r"\[(.+)\]:(\d+)", name)
    return (match[1], match[2]) if match else (name, "")
