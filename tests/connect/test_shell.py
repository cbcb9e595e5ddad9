"""Commands on a host: what they print, and how they ended, which SSH says only after the end of the output."""

from __future__ import annotations

import io
import threading
from typing import Any, ClassVar

import pytest
from paramiko.channel import ChannelFile

from cvat_analytics.base.errors import UnreachableError
from cvat_analytics.connect.shell import Shell
from cvat_analytics.operate.backup import over_ssh


class Channel:
    """A channel as paramiko's: closed by us before the server has said how the command ended, it gives -1."""

    def __init__(self, code: int, output: bytes) -> None:
        self._code, self._output = code, output
        self.closed = self.ended = False
        self.status_event = threading.Event()
        self.status_event.set()

    def recv_exit_status(self) -> int:
        return -1 if self.closed else self._code

    def makefile(self, mode: str) -> io.BytesIO:
        assert "b" in mode
        return io.BytesIO(self._output)

    def close(self) -> None:
        self.closed = True

    def settimeout(self, seconds: float | None) -> None: ...

    def shutdown_write(self) -> None:
        self.ended = True


class File(io.BytesIO):
    def __init__(self, content: bytes, channel: Channel) -> None:
        super().__init__(content)
        self.channel = channel


class Client:
    """An SSH client whose every command prints `output` and ends with `code`."""

    def __init__(self, output: bytes = b"", error: bytes = b"", code: int = 0) -> None:
        self.channel = Channel(code, output)
        self._parts = (b"", output, error)
        self.command = ""

    def get_transport(self) -> object:
        return self

    def exec_command(self, command: str, timeout: float) -> tuple[File, ...]:
        self.command = command
        return tuple(File(part, self.channel) for part in self._parts)


def shell(client: Any) -> Shell:
    return Shell("store", {}, client)


def test_how_a_command_ended_is_waited_for_before_its_channel_is_closed() -> None:
    client = Client(b"fine\n")
    assert shell(client).run("true") == "fine\n"
    assert client.channel.closed


def test_a_command_that_fails_is_said_with_its_last_words() -> None:
    client = Client(error=b"first\nno such file\n", code=2)
    with pytest.raises(UnreachableError, match="host store: a command failed with exit code 2: no such file"):
        shell(client).run("false")
    assert client.channel.closed


def test_of_a_command_whose_output_is_not_wanted_any_more_nothing_is_asked() -> None:
    client = Client(b"one\ntwo\n", code=1)
    with shell(client).stream("yes") as output:
        assert output.read(4) == b"one\n"
    assert client.channel.closed


def test_a_line_is_there_as_soon_as_it_was_said() -> None:
    """A command may say one line, and then nothing until it is ended."""

    class Silent(Channel):
        pieces: ClassVar = [b"held\n"]

        def recv(self, size: int) -> bytes:
            assert self.pieces, "more was waited for"
            return self.pieces.pop()

        def makefile(self, mode: str) -> Any:
            return ChannelFile(self, mode)  # type: ignore[arg-type]

    client = Client()
    client.channel = Silent(0, b"")
    with pytest.raises(KeyboardInterrupt), shell(client).stream("hold") as output:  # noqa: PT012
        assert next(over_ssh.lines(output)) == "held"
        raise KeyboardInterrupt
    assert client.channel.closed


def test_a_host_that_never_says_how_a_command_ended_is_not_waited_for() -> None:
    client = Client(b"fine\n")
    client.channel.status_event.clear()
    with pytest.raises(UnreachableError, match=r"host store: a command said nothing for 0\.05 s"):
        shell(client).run("true", 0.05)
    assert client.channel.closed


def test_nothing_follows_a_command_that_needs_no_password() -> None:
    """It may be over by then, and sshd ends the whole connection for an end of the input that comes after the command's."""
    for data in ({}, {"_sudo": True}):
        client = Client()
        Shell("store", data, client).run("read -r line; true")  # type: ignore[arg-type]
        assert not client.channel.ended
        assert client.command.endswith("sh -c 'read -r line; true' </dev/null")
    client = Client()
    Shell("store", {"_sudo": True, "_sudo_password": "x"}, client).run("true")  # type: ignore[arg-type]
    assert client.channel.ended
