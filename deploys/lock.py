"""One deploy at a time on a host: a lock there, whoever deploys and from wherever.

A program on the host holds it for as long as its standard input is open (cvat_analytics/operate/deploy_lock.py), which is the deploy's end
of a connection. Of a machine that vanishes without a word sshd notices it when nobody takes what the program says every now and then;
the kernel gives up after some 15 minutes (tcp_retries2).
"""

from __future__ import annotations

import atexit
import os
import shlex
import subprocess
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from pyinfra.api import StringCommand
from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS, pop_global_arguments
from pyinfra.connectors.local import LocalConnector
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.connectors.util import extract_control_arguments, make_unix_command

from cvat_analytics.config.inventory_file import Host as InventoryHost
from cvat_analytics.connect import ssh
from cvat_analytics.operate import deploy_lock
from cvat_analytics.operate.removal import LOCK
from deploys.report import HELD

if TYPE_CHECKING:
    from pyinfra.api.host import Host

_FILE = LOCK
_MOMENT = deploy_lock.MOMENT
_PATIENCE = 60
"""Seconds that a host waits for one before it."""

_held = ExitStack()
"""What is connected to the holders, for as long as this process runs."""
atexit.register(_held.close)
_taken: defaultdict[str, threading.Event] = defaultdict(threading.Event)


def take(host: Host) -> None:
    """Take the host's lock until this process ends. Raises InputError when another deploy has it, or it cannot be had.

    Hosts whose names come before its own come first, so that of two deploys that begin together one gets all of them.
    """
    for name in sorted(each.name for each in host.state.inventory.get_active_hosts()):
        if name == host.name:
            break
        # pyinfra may not have begun with that one, where it does not ask all hosts at the same time
        _taken[name].wait(_PATIENCE)
    _take(host)
    _taken[host.name].set()


def _take(host: Host) -> None:
    upgrade = os.environ.get(HELD, "")
    output = _started(
        host,
        deploy_lock.holder(upgrade or deploy_lock.who(), "shared" if upgrade else "alone", _FILE, _MOMENT),
    )
    if output is None:
        return  # within a container, or a fake: who gets there has that host's lock
    is_behind_ssh = isinstance(host.connector, SSHConnector)
    login = ssh.login_command(InventoryHost(host.name, (), host.data.dict())) if is_behind_ssh else ""
    deploy_lock.judge(host.name, next(output, ""), login, _FILE)


def _started(host: Host, command: str) -> Iterator[str] | None:
    """Start `command` as root and return the lines that it says; its input stays open. None: not on this kind of host."""
    arguments: Any = {
        key: value
        for key, value in pop_global_arguments(host.state, host, {})[0].items()
        if key in CONNECTOR_ARGUMENT_KEYS
    }
    extract_control_arguments(arguments)
    password = arguments.pop("_sudo_password") or host.connector_data.get("prompted_sudo_password")
    if arguments["_sudo"] and password:
        # as everywhere, on standard input: in a command line the whole host could see it for as long as the deploy goes on
        line = f"sudo -S -p '' -- sh -c {shlex.quote(command)}"
    else:
        line, password = make_unix_command(StringCommand(command), **arguments).get_raw_value(), ""
    stdin: Any
    stdout: Any
    if isinstance(host.connector, SSHConnector) and host.connector.client:
        stdin, stdout, _ = host.connector.client.exec_command(line)
        _held.enter_context(stdin)
    elif isinstance(host.connector, LocalConnector):
        pipe = subprocess.PIPE
        process = _held.enter_context(
            subprocess.Popen(["sh", "-c", line], stdin=pipe, stdout=pipe, text=True)
        )
        stdin, stdout = process.stdin, process.stdout
    else:
        return None
    if password:
        stdin.write(f"{password}\n")
        stdin.flush()
    return (str(said) for said in stdout)
