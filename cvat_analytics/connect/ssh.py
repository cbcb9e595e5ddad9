"""Log in to hosts as pyinfra does for a deploy: each for itself, all at once, and none waits long for another.

What pyinfra says when it cannot ("Could not connect", "SSH error") is told apart here by what was behind it.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import shlex
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socket import gaierror
from typing import TYPE_CHECKING, Any

from cvat_analytics.base.codes import Code, marked

if TYPE_CHECKING:
    from paramiko import SSHClient

    from cvat_analytics.config.inventory_file import Host

_LOGIN = 30.0
"""Seconds for a whole login. pyinfra gives a connection ten; names, jump hosts and passwords take their own time."""
_KEEPALIVE = 30
"""Seconds after which something is sent, so that a firewall between does not forget a connection on which nothing happens."""

_KNOWN_HOSTS = "~/.ssh/known_hosts"
_UNKNOWN_KEY = "No host key for {} found in known_hosts"
"""What pyinfra's policies say of a host whose key is nowhere noted."""

Clients = dict[str, "SSHClient | None"]

_QUESTION = threading.Lock()
"""Held while somebody is asked about a key: on one terminal that is done for one host after the other."""


def prepare() -> None:
    """Let pyinfra log in as OpenSSH does, and fail at a login as it fails at others.

    A key is noted where no `~/.ssh` is yet, only somebody who can answer is asked about one, and what pyinfra does not expect,
    such as a key file that is missing, is a ConnectError of this host's, too, and no traceback.
    """
    # needed only by a key that is to be noted there, which then says so; RuntimeError: without a home
    with contextlib.suppress(OSError, RuntimeError):
        Path(_KNOWN_HOSTS).expanduser().parent.mkdir(mode=0o700, exist_ok=True)
    _patch()


@functools.cache
def _patch() -> None:
    from paramiko import HostKeys, SSHException
    from pyinfra.api.exceptions import ConnectError
    from pyinfra.connectors.ssh import SSHConnector
    from pyinfra.connectors.sshuserclient import client

    class Asking(client.AskPolicy):
        """Asks about an unknown key where there is a terminal: of a jump host's pyinfra asks even where nobody can answer."""

        def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:
            if not (sys.stdin and sys.stdin.isatty()):
                raise SSHException(_UNKNOWN_KEY.format(hostname))
            with _QUESTION:
                # of a jump host each host behind it asks: it may have been accepted meanwhile
                with contextlib.suppress(OSError, SSHException):
                    if HostKeys(client._host_keys_filename).check(hostname, key):
                        return
                super().missing_host_key(client, hostname, key)  # type: ignore[no-untyped-call]

    client.AskPolicy = Asking  # type: ignore[misc]
    parse = client.SSHClient.parse_config

    def parse_config(self: Any, *arguments: Any, **options: Any) -> Any:
        *others, agent = parse(self, *arguments, **options)  # type: ignore[no-untyped-call]
        return (*others, _agent(agent or ""))

    client.SSHClient.parse_config = parse_config  # type: ignore[method-assign]
    connect = SSHConnector.connect

    def failing(self: SSHConnector) -> None:
        try:
            connect(self)
        except ConnectError:
            raise
        except Exception as error:
            raise ConnectError(str(error)) from error

    SSHConnector.connect = failing  # type: ignore[method-assign]


def connect(hosts: Sequence[Host], opened: ExitStack) -> tuple[Clients, dict[str, str]]:
    """Log in to `hosts`, until `opened` is closed.

    Return the SSH connection of each host that was reached (None for one that is this machine), and of each other the line that
    says why not and what to do.
    """
    from pyinfra.api import Config, Inventory, State

    prepare()
    # ours is the line that says why; that a key was added is said nowhere else
    pyinfra_log = logging.getLogger("pyinfra")
    pyinfra_log.addFilter(_adds_key)
    opened.callback(pyinfra_log.removeFilter, _adds_key)
    # paramiko would print what the check that meets a closed port reports anyway
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    inventory = Inventory(([(host.name, dict(host.data)) for host in hosts], {}))
    State(inventory, Config())
    failures: dict[str, BaseException] = {}
    clients: Clients = {}
    for agent, members in _by_agent(inventory, hosts).items():
        with _asking(agent):
            _log_in([inventory.get_host(host.name) for host in members], clients, failures)
    for name, client in clients.items():
        opened.callback(inventory.get_host(name).disconnect)
        if client and (transport := client.get_transport()):
            opened.callback(client.close)
            transport.set_keepalive(_KEEPALIVE)
    away = {host.name: why(host, failures[host.name]) for host in hosts if host.name in failures}
    return clients, away


def _adds_key(record: logging.LogRecord) -> bool:
    return "Added host key" in str(record.msg)


def _log_in(hosts: Sequence[Any], clients: Clients, failures: dict[str, BaseException]) -> None:
    """Log in to hosts of pyinfra's all at once, and put each where it belongs."""
    done: dict[str, BaseException | None] = {}

    def log_in(host: Any) -> None:
        try:
            host.connect(show_errors=False, raise_exceptions=True)
            done[host.name] = None
        except Exception as error:  # whatever it is, it is this host's alone
            done[host.name] = error

    threads = []
    for host in hosts:
        try:
            # reads the key, and asks for its passphrase: one after the other
            getattr(host.connector, "make_paramiko_kwargs", dict)()
        except Exception as error:  # as above
            done[host.name] = error
            continue
        # nobody waits for a thread that waits for a host
        threads.append(threading.Thread(target=log_in, args=(host,), daemon=True))
        threads[-1].start()
    deadline = time.monotonic() + _LOGIN
    for thread in threads:
        while thread.is_alive() and time.monotonic() < deadline:
            thread.join(min(0.2, max(0.0, deadline - time.monotonic())))
            if _QUESTION.locked():  # nobody is hurried who compares a key
                deadline = time.monotonic() + _LOGIN
    for host in hosts:
        if failure := done.get(host.name, TimeoutError()):
            failures[host.name] = failure
        else:
            clients[host.name] = getattr(host.connector, "client", None)


def _by_agent(inventory: Any, hosts: Sequence[Host]) -> dict[str, list[Host]]:
    """Return the hosts by the agent for keys that the operator's SSH configuration names for them; `` for none."""
    from pyinfra.connectors.sshuserclient.client import get_ssh_config

    agents: dict[str, list[Host]] = {}
    for host in hosts:
        config = get_ssh_config(inventory.get_host(host.name).data.get("ssh_config_file"))
        found = config.lookup(str(host.data.get("ssh_hostname") or host.name)) if config else {}
        agents.setdefault(_agent(str(found.get("identityagent", "none"))), []).append(host)
    return agents


def _agent(named: str) -> str:
    """Return the socket of the agent that an `IdentityAgent` names, as ssh_config(5) has it; `` for the environment's, or none."""
    if named == "SSH_AUTH_SOCK" or named.lower() == "none":
        return ""
    agent = os.path.expandvars(os.path.expanduser(named))  # noqa: PTH111 # no RuntimeError without a home
    return "" if agent.startswith("$") else agent


@contextmanager
def _asking(agent: str) -> Iterator[None]:
    """Have the environment name `agent` in the block.

    pyinfra sets that variable for each login and takes it away again, which logins at the same time would do to each other.
    """
    before = os.environ.get("SSH_AUTH_SOCK")
    if agent:
        os.environ["SSH_AUTH_SOCK"] = agent
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("SSH_AUTH_SOCK", None)
        else:
            os.environ["SSH_AUTH_SOCK"] = before


def why(host: Host, error: BaseException) -> str:
    """Return in one line why a host could not be logged in to, and what to do; the line ends with its code."""
    from pyinfra.api.exceptions import ConnectError

    # pyinfra raises its own while it handles the one that knows
    cause = error.__context__ if isinstance(error, ConnectError) and error.__context__ else error
    code, reason, advice = _reason(host, cause)
    # a file is one of this machine's
    away = isinstance(cause, OSError) and not cause.filename
    return marked(
        f"host {host.name}: cannot be {'reached' if away else 'logged in to'}: {reason}. {advice}", code
    )


def _reason(host: Host, error: BaseException) -> tuple[Code, str, str]:
    from paramiko import AuthenticationException, BadHostKeyException, SSHException
    from paramiko.ssh_exception import NoValidConnectionsError

    data = host.data
    name, port, user = _address(host), int(data.get("ssh_port") or 22), str(data.get("ssh_user") or "")
    login = login_command(host)
    if isinstance(error, NoValidConnectionsError):  # of each of its addresses
        error = next(iter(error.errors.values()))
    if isinstance(error, gaierror):
        return (
            Code.HOST_UNREACHABLE,
            f"nobody knows the name {name}",
            "Check it in the inventory, or give its address as `ssh_hostname`",
        )
    if isinstance(error, ConnectionRefusedError):
        return (
            Code.HOST_UNREACHABLE,
            f"{name} refuses connections to port {port}",
            "See whether its sshd runs, and `ssh_port` in the inventory",
        )
    if isinstance(error, TimeoutError):
        advice = f"See whether it is up, and whether a firewall lets this machine to its port {port}"
        return Code.HOST_UNREACHABLE, f"{name} does not answer in time", advice
    if isinstance(error, AuthenticationException):
        by = "key" if data.get("ssh_key") else "password" if data.get("ssh_password") else "keys"
        advice = f"See whether `{login}` works, and `ssh_user`, `ssh_key`, `ssh_password` in the inventory"
        return Code.HOST_LOGIN_REFUSED, f"it refuses the login{f' of {user}' if user else ''} ({by})", advice
    if isinstance(error, BadHostKeyException):
        known = _known_as(error.hostname, port if error.hostname == name else 22)
        options = ["-f", data["ssh_known_hosts_file"]] if data.get("ssh_known_hosts_file") else []
        forget = shlex.join(["ssh-keygen", *options, "-R", known])
        advice = (
            f"If it was set up anew, forget the old one by `{forget}`; otherwise find out who answers there"
        )
        return (
            Code.HOST_KEY,
            f"{error.hostname} shows another host key than the one that is known here",
            advice,
        )
    if unknown := re.search(_UNKNOWN_KEY.format(r"(\S+)"), str(error)):
        return Code.HOST_KEY, *_unknown_key(host, unknown[1])
    at_key = any(frame.name == "missing_host_key" for frame in traceback.extract_tb(error.__traceback__))
    if at_key and isinstance(error, OSError) and error.filename:
        directory = Path(error.filename).parent
        advice = f"Make that directory (`{shlex.join(['mkdir', '-p', '-m', '700', str(directory)])}`), or name another file as `ssh_known_hosts_file`"
        return (
            Code.HOST_KEY,
            f"its host key is new and cannot be noted in {error.filename} ({error.strerror})",
            advice,
        )
    if "private key file" in str(error).lower():
        return Code.HOST_LOGIN_REFUSED, *_unusable_key(str(error), str(data.get("ssh_key")))
    if isinstance(error, SSHException) and re.search("protocol banner|existing session", str(error)):
        advice = "It hangs, or its sshd does: see its console. Or another program has that port: see `ssh_port` in the inventory"
        return (
            Code.HOST_UNREACHABLE,
            f"{name} takes connections to port {port}, but does not speak SSH in time",
            advice,
        )
    text = (str(error).splitlines() or [""])[0][:200] or type(error).__name__
    return (
        Code.HOST_UNREACHABLE,
        text,
        f"See whether `{login}` works, and `ssh_hostname`, `ssh_port`, `ssh_user`, `ssh_key` in the inventory",
    )


def login_command(host: Host) -> str:
    """Return the command by which OpenSSH logs in where the inventory does."""
    data = host.data
    port = ["-p", str(data["ssh_port"])] if data.get("ssh_port", 22) != 22 else []
    key = ["-i", str(data["ssh_key"])] if data.get("ssh_key") else []
    user = f"{data['ssh_user']}@" if data.get("ssh_user") else ""
    return shlex.join(["ssh", *port, *key, f"{user}{_address(host)}"])


def _address(host: Host) -> str:
    return str(host.data.get("ssh_hostname") or host.name)


def _unknown_key(host: Host, known_as: str) -> tuple[str, str]:
    """Return reason and advice for a key that is not known: the host's, or that of one through which the way leads."""
    parts = re.fullmatch(r"\[(.+)\]:(\d+)", known_as)
    name, port = (parts[1], parts[2]) if parts else (known_as, "")
    own = name == _address(host)
    file = host.data.get("ssh_known_hosts_file") if own else None
    options = ["-o", f"UserKnownHostsFile={file}"] if file else []
    accept = shlex.join(["ssh", *options, *(["-p", port] if port else []), name])
    whose = "its host key" if own else f"the way there leads through {known_as}, whose host key"
    return (
        f"{whose} is not known here ({file or _KNOWN_HOSTS} has none)",
        f"Compare it and accept it by `{accept}`",
    )


def _unusable_key(text: str, file: str) -> tuple[str, str]:
    if "encrypted" in text:
        return (
            f"the key {file} is encrypted",
            "Add it to your SSH agent, or give `ssh_key_password` in the inventory",
        )
    if "No such" in text:
        return f"there is no key file {file}", "See `ssh_key` in the inventory"
    return f"{file} is no private key of SSH", "See `ssh_key` in the inventory"


def _known_as(name: str, port: int) -> str:
    """Return what the file of known keys calls a host."""
    return name if port == 22 else f"[{name}]:{port}"
