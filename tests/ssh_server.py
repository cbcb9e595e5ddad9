"""An SSH server in threads of the tests' own process, which forwards ports, can be cut off, and can fall silent."""

from __future__ import annotations

import contextlib
import shlex
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paramiko

LOGIN: dict[str, Any] = {"username": "ops", "password": "in the tests only"}
PATIENT: dict[str, Any] = {
    "ssh_paramiko_connect_kwargs": {"timeout": 120, "banner_timeout": 120, "auth_timeout": 120}
}
"""What an inventory has so that a login may take as long as a busy machine needs for it."""


class SSHServer(paramiko.ServerInterface):
    """Lets everybody in with a password.

    `break_after`: how many forwarded connections it takes before it closes everything. `printed`: what a command prints, in the place
    of a host of which there is none. `network`: what stands at an address of the hosts' own network.
    """

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.key = paramiko.ECDSAKey.generate()
        self.forwarded = 0
        self.commands: list[str] = []
        self.printed: Callable[[str], str] = lambda command: ""
        self.network: dict[str, str] = {}
        self.logins = threading.Event()
        self.ended = threading.Event()
        self.break_after = -1
        self.answering = threading.Event()
        self.answering.set()
        self._asking = threading.Lock()
        self._transports: list[paramiko.Transport] = []
        self._targets: dict[int, socket.socket] = {}

    @property
    def address(self) -> tuple[str, int]:
        """Return where it listens."""
        host, port = self.listener.getsockname()
        return host, port

    def known_hosts(self, file: Path) -> Path:
        """Write the server's key into `file`, as OpenSSH does."""
        host, port = self.address
        file.write_text(f"[{host}]:{port} {self.key.get_name()} {self.key.get_base64()}\n")
        return file

    def shut(self) -> None:
        """Refuse connections from now on, as a host whose sshd is gone."""
        with contextlib.suppress(OSError):  # a listener that somebody waits at stays open otherwise
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def cut(self) -> None:
        """Close every connection, as a session of sshd that is killed."""
        for transport in self._transports:
            transport.sock.close()

    def serve(self) -> None:
        """Take connections until the listener is closed."""
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(near)
            self._transports.append(transport)
            transport.add_server_key(self.key)
            threading.Thread(target=self._forward, args=(transport,), daemon=True).start()

    def _forward(self, transport: paramiko.Transport) -> None:
        try:
            transport.start_server(server=self)
        except (paramiko.SSHException, OSError, EOFError):
            return  # a client that does not like the host's key
        sessions = []
        while transport.is_active():
            channel = transport.accept(1)
            # paramiko closes a channel of which it is the only one to know
            sessions.append(channel)
            if channel and (near := self._targets.pop(channel.get_id(), None)):
                threading.Thread(target=_relay, args=(channel, near), daemon=True).start()

    def get_allowed_auths(self, username: str) -> str:
        return "password"

    def check_auth_password(self, username: str, password: str) -> int:
        self.answering.wait(60)
        if password != LOGIN["password"]:
            return paramiko.common.AUTH_FAILED
        self.logins.set()
        return paramiko.common.AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        self.answering.wait(60)
        return paramiko.common.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self.commands.append(command.decode())
        threading.Thread(target=self._print, args=(channel, command.decode()), daemon=True).start()
        return True

    def _print(self, channel: paramiko.Channel, command: str) -> None:
        with contextlib.suppress(OSError, EOFError), contextlib.closing(channel):
            if command.endswith("</dev/null"):
                # What the client answers comes to the thread that takes commands, when that has said that this one was taken: a
                # channel that is closed before is no command that has run.
                with self._asking:
                    channel.get_transport().global_request("are you there", wait=True)
            else:
                while channel.recv(1024):  # it has ended its input once it knows that the command was taken
                    pass
            self.answering.wait(60)
            words = shlex.split(command)
            line = words[2] if words[:2] == ["sh", "-c"] else command
            channel.sendall(self.printed(line).encode())
            channel.send_exit_status(0)

    def check_channel_direct_tcpip_request(self, chanid: int, origin: Any, destination: Any) -> int:
        self.forwarded += 1
        if self.forwarded == self.break_after:
            self.cut()
        target = (self.network.get(destination[0], destination[0]), destination[1])
        try:
            # as sshd does, which opens a channel only to what takes the connection
            self._targets[chanid] = socket.create_connection(target)
        except OSError:
            return paramiko.common.OPEN_FAILED_CONNECT_FAILED
        return paramiko.common.OPEN_SUCCEEDED


def _relay(far: paramiko.Channel, near: socket.socket) -> None:
    with contextlib.suppress(OSError, EOFError), contextlib.closing(far), near:
        threading.Thread(target=_requests, args=(far, near), daemon=True).start()
        while data := near.recv(65536):
            far.sendall(data)


def _requests(far: paramiko.Channel, near: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := far.recv(65536):
            near.sendall(data)
        near.shutdown(socket.SHUT_WR)


@contextmanager
def ssh_server() -> Iterator[SSHServer]:
    """Yield a server that runs for as long as the block."""
    server = SSHServer()
    threading.Thread(target=server.serve, daemon=True).start()
    try:
        yield server
    finally:
        server.answering.set()
        server.ended.set()
        server.shut()
        server.cut()
