"""Run commands as root on a host of a deployed stack, over the SSH connection that pyinfra has made, or on this machine."""

from __future__ import annotations

import base64
import contextlib
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import UnreachableError

if TYPE_CHECKING:
    from paramiko import SSHClient

_BEGIN = "--content--"
"""The line before what a file is to hold."""
_STARTING = 15.0
"""Seconds for a command to start; how long it runs is its own affair."""


class Output(Protocol):
    """What a command writes."""

    def read(self, size: int, /) -> bytes:
        """Return `size` bytes, for which it waits; fewer at the end."""

    def readline(self) -> bytes:
        """Return the next line as soon as it is there; none at the end."""


@dataclass(frozen=True)
class Session:
    """A command that goes on beside others: the lines that it says, and whether it has ended, or the connection to it."""

    lines: Iterator[str]
    ended: Callable[[], bool]


@dataclass(frozen=True)
class Shell:
    """A host, and how to become root there: pyinfra's `_sudo` and `_sudo_password` among the host's data."""

    host: str
    data: Mapping[str, Any] = field(repr=False)
    client: SSHClient | None
    """None: the host is this machine."""

    def write(self, path: str, content: bytes) -> None:
        """Write a file for root alone, all of it or nothing. It comes on standard input, as a password may be in it. Raises as `run` does."""
        name, encoded = shlex.quote(path), base64.encodebytes(content)
        # where sudo asks for no password, the line with it is the first one here
        command = f"umask 077; sed '0,/^{_BEGIN}$/d' | base64 -d > {name}.new && sync {name}.new && mv -f {name}.new {name}"
        with self.stream(command, None, f"{_BEGIN}\n".encode() + encoded):
            pass

    def run(self, command: str, patience: float | None = None) -> str:
        """Return what `command`, a line of sh, prints.

        Raises UnreachableError when it fails, or a host behind SSH says nothing for `patience` seconds.
        """
        with self.stream(command, patience) as output:
            parts = iter(lambda: output.read(65536), b"")
            return b"".join(parts).decode(errors="replace")

    @contextmanager
    def stream(self, command: str, patience: float | None = None, content: bytes = b"") -> Iterator[Output]:
        """Yield the standard output of `command`, which reads `content`, as it comes.

        Raises UnreachableError when it ends with a failure, or as `run` does.
        """
        command, stdin = self._as_root(command)
        stdin += content
        if not stdin:
            command += " </dev/null"
        if self.client:
            yield from self._remote(self.client, command, stdin, patience)
        else:
            yield from self._local(command, stdin)

    def _as_root(self, command: str) -> tuple[str, bytes]:
        """Return the line that runs `command` as root, and what it wants on its standard input first."""
        if not self.data.get("_sudo"):
            return f"sh -c {shlex.quote(command)}", b""
        # the password goes in on standard input: it never stands in a command line
        password = str(self.data.get("_sudo_password") or "")
        line = f"sudo {'-S' if password else '-n'} -p '' -- sh -c {shlex.quote(command)}"
        return line, f"{password}\n".encode() if password else b""

    @contextmanager
    def session(self, command: str) -> Iterator[Session]:
        """Yield `command` as it goes on. Its standard input stays open until the block ends, or this process does.

        Raises UnreachableError when it cannot be started.
        """
        line, first = self._as_root(command)
        stdin: Any
        stdout: Any
        if not self.client:
            pipe = subprocess.PIPE
            with subprocess.Popen(["sh", "-c", line], stdin=pipe, stdout=pipe) as process:
                stdin, stdout = process.stdin, process.stdout
                stdin.write(first)
                stdin.flush()
                lines = (said.decode(errors="replace") for said in stdout)
                yield Session(lines, lambda: process.poll() is not None)
                stdin.close()
            return
        from paramiko import SSHException  # as below

        try:
            stdin, stdout, _ = self.client.exec_command(line, timeout=_STARTING)
            stdin.write(first)
            stdin.flush()
        except (SSHException, OSError, EOFError, AttributeError) as error:
            reason = str(error) or "the SSH connection has ended"
            raise UnreachableError(Code.CONNECTION_LOST, f"host {self.host}: {reason}") from None
        stdout.channel.settimeout(None)
        try:
            channel = stdout.channel
            yield Session((str(said) for said in stdout), lambda: channel.closed or channel.eof_received)
        finally:
            stdin.channel.close()

    def _remote(
        self, client: SSHClient, command: str, input_: bytes, patience: float | None
    ) -> Iterator[Output]:
        from paramiko import SSHException  # slow to import, needed for deployed stacks only

        if client.get_transport() is None:  # it was closed when the host had not answered somebody else
            raise UnreachableError(Code.CONNECTION_LOST, f"host {self.host}: the SSH connection is closed")
        try:
            stdin, stdout, stderr = client.exec_command(command, timeout=_STARTING)
            if input_:
                stdin.write(input_)
                # without the end, sudo would wait for another password. Where there is nothing to send, neither is the end: a
                # command may be over before paramiko has sent it, and sshd ends the whole connection when it comes then
                stdin.channel.shutdown_write()
        except AttributeError:  # paramiko's, of a client that somebody else has found lost and closed
            raise UnreachableError(
                Code.CONNECTION_LOST, f"host {self.host}: the SSH connection is closed"
            ) from None
        except (SSHException, OSError, EOFError) as error:
            reason = str(error) or "the SSH connection has ended"
            raise UnreachableError(Code.CONNECTION_LOST, f"host {self.host}: {reason}") from None
        stdout.channel.settimeout(patience)
        output = stdout.channel.makefile("rb")
        try:
            yield output
            if output.read(1):
                return
            # the exit code comes after the end of the output: to close now would be to lose it
            stderr_text = stderr.read().decode(errors="replace")
            if not stdout.channel.status_event.wait(patience):  # which has no limit of its own
                raise TimeoutError
            code = stdout.channel.recv_exit_status()
        except TimeoutError:
            raise UnreachableError(
                Code.HOST_SILENT, f"host {self.host}: a command said nothing for {patience:g} s"
            ) from None
        finally:
            stdout.channel.close()
        self._judge(code, stderr_text)

    def _local(self, command: str, input_: bytes) -> Iterator[Output]:
        pipe = subprocess.PIPE
        with subprocess.Popen(["sh", "-c", command], stdin=pipe, stdout=pipe, stderr=pipe) as process:
            pipes = (process.stdin, process.stdout, process.stderr)
            stdin, stdout, stderr = cast("tuple[BinaryIO, BinaryIO, BinaryIO]", pipes)
            with contextlib.suppress(BrokenPipeError):
                stdin.write(input_)
                stdin.close()
            try:
                yield stdout
                unread = stdout.read(1)
            except BaseException:
                process.terminate()
                raise
            if unread:
                process.terminate()
            stderr_text = stderr.read().decode(errors="replace")
        if not unread:
            self._judge(process.returncode, stderr_text)

    def _judge(self, code: int, stderr_text: str) -> None:
        if code:
            if "password is required" in stderr_text:
                raise UnreachableError(
                    Code.SUDO_PASSWORD,
                    f"host {self.host}: its sudo wants a password. Give it as `_sudo_password` in the inventory, or let the user become root without one",
                )
            last = (stderr_text.strip().splitlines() or ["it said nothing"])[-1]
            raise UnreachableError(
                Code.HOST_COMMAND_FAILED,
                f"host {self.host}: a command failed with exit code {code}: {last[:300]}",
            )
