"""The way to deployed hosts: forwarded ports do not end the SSH connection, and one that has ended is said as what it is."""

from __future__ import annotations

import functools
import http.client
import importlib
import json
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, cast

import paramiko
import pytest
from click.testing import CliRunner, Result

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError, InputError, UnreachableError
from cvat_analytics.config import moves
from cvat_analytics.config.moves import Move
from cvat_analytics.connect import remote
from cvat_analytics.connect.http import http_client
from cvat_analytics.credentials import secrets
from scripts.cli import main
from tests.clickhouse import free_ports
from tests.serving import QuietServer, served
from tests.ssh_server import LOGIN, PATIENT, SSHServer, ssh_server

pytestmark = pytest.mark.usefixtures("patience")


class Pages(BaseHTTPRequestHandler):
    """Answers with a long page."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        self.wfile.write(b"x" * 1_000_000)

    def log_message(self, format: str, *arguments: object) -> None: ...


@pytest.fixture
def server() -> Iterator[SSHServer]:
    with ssh_server() as running:
        yield running


@contextmanager
def connected(server: SSHServer) -> Iterator[paramiko.SSHClient]:
    with paramiko.SSHClient() as client:
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        client.connect(*server.address, **LOGIN, allow_agent=False, look_for_keys=False)
        yield client


@functools.cache
def ports() -> dict[str, int]:
    """Return ports for the parts of a stack, at which nothing listens."""
    return dict(zip(("clickhouse_http_port", "vector_port", "grafana_port"), free_ports(3), strict=True))


def inventory(directory: Path, *servers: SSHServer) -> Path:
    """Write an inventory of the host `store`, and of `in` and `again` for Vector when more than one server is given.

    Nothing of a stack runs there.
    """
    secrets.init(directory / "secrets.json")
    (directory / "group_data").mkdir()
    settings = "".join(f"{name} = {port}\n" for name, port in ports().items())
    (directory / "group_data" / "all.py").write_text(settings)
    hosts = []
    for number, (name, server) in enumerate(zip(("store", "in", "again"), servers, strict=False), 5):
        known = server.known_hosts(directory / f"known-hosts-{name}")
        hosts.append((
            name,
            {"address": f"10.0.0.{number}", "ssh_hostname": "127.0.0.1", "ssh_port": server.address[1], "ssh_user": LOGIN["username"],
             "ssh_password": LOGIN["password"], "ssh_known_hosts_file": str(known), "ssh_config_file": "/dev/null", **PATIENT},
        ))  # fmt: skip
    path = directory / "hosts.py"
    path.write_text(f"clickhouse = grafana = {hosts[:1]!r}\nvector = {(hosts[1:] or hosts)!r}\n")
    return path


def smoke(path: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["smoke", "--inventory", str(path), *options])


def test_a_client_that_goes_away_in_the_middle_of_an_answer_does_not_end_the_connection(
    server: SSHServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # paramiko's pipe for select() is what ends it, once in some hundred times: there must be none
    made: list[None] = []
    pipes = importlib.import_module("paramiko.pipe")
    make = pipes.make_pipe

    def noted() -> object:
        made.append(None)
        return make()

    monkeypatch.setattr(pipes, "make_pipe", noted)
    with served(QuietServer(("127.0.0.1", 0), Pages)) as pages, connected(server) as client:
        with remote._forwarded(client, ("127.0.0.1", pages.server_port), "host") as near:
            for _ in range(20):
                connection = http.client.HTTPConnection(*near, timeout=60)
                connection.request("GET", "/")
                connection.getresponse().read(10)
                connection.close()
            connection = http.client.HTTPConnection(*near, timeout=60)
            connection.request("GET", "/")
            assert len(connection.getresponse().read()) == 1_000_000
            connection.close()
        transport = client.get_transport()
        assert transport
        assert transport.is_active()
    assert not made


def test_the_caller_notices_that_the_other_end_has_closed(server: SSHServer) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        connected(server) as client,
        ExitStack() as opened,
    ):
        near = opened.enter_context(remote._forwarded(client, listener.getsockname(), "host"))
        mine = opened.enter_context(socket.create_connection(near, timeout=60))
        mine.sendall(b"hello")
        theirs, _ = listener.accept()
        assert theirs.recv(5) == b"hello"
        theirs.close()
        assert mine.recv(1) == b""


def test_a_check_that_fails_has_failed_while_the_connection_stands(server: SSHServer, tmp_path: Path) -> None:
    result = smoke(inventory(tmp_path, server))
    assert result.exit_code == 1, result.output
    found = [line.partition(". What to do")[0] for line in result.stdout.splitlines()]
    nobody = "on host store does not answer (nothing takes connections there)"
    assert found == [
        f"FAIL {name.partition('_')[0]}: 127.0.0.1:{port} {nobody}" for name, port in ports().items()
    ]


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("dead-letters", "list"),
        ("dashboards", "diff"),
        ("working-time", "compare", "--since", "2026-01-01"),
        ("smoke",),
    ],
    ids=lambda words: words[0],
)
def test_no_message_names_the_port_that_stands_for_another(
    server: SSHServer, tmp_path: Path, words: tuple[str, ...]
) -> None:
    result = CliRunner().invoke(main, [*words, "--inventory", str(inventory(tmp_path, server))])
    assert result.exit_code not in (0, 2), result.output
    named = re.findall(r"(?:127\.0\.0\.1|localhost)(?::|', port=)([0-9]+)", result.output)
    assert {int(port) for port in named} <= set(ports().values())
    assert "nothing takes connections there" in result.output


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_smoke_says_that_the_connection_was_lost_and_fails_no_check(
    server: SSHServer, tmp_path: Path, options: tuple[str, ...]
) -> None:
    server.break_after = 1
    result = smoke(inventory(tmp_path, server), *options)
    assert result.exit_code == 3, result.output
    assert (json.loads(result.stdout) if options else result.stdout) == (
        [
            {
                "name": "disk-space",
                "passed": None,
                "detail": "no host says how much is free on its disks",
                "cause": "",
                "code": None,
                "outcome": "not checked",
            }
        ]
        if options
        else ""
    )
    (line,) = [line for line in result.stderr.splitlines() if not line.startswith("not checked")]
    assert line == (
        "cvat-analytics: host store: the SSH connection was lost while the command ran, so that nothing more could be asked or done. "
        f"See whether `ssh -p {server.address[1]} ops@127.0.0.1` works, then run the command again [{Code.CONNECTION_LOST}]"
    )


def test_each_host_is_reached_with_what_runs_on_it(server: SSHServer, tmp_path: Path) -> None:
    with ssh_server() as other, served(QuietServer(("127.0.0.1", 0), Pages)) as pages:
        path = inventory(tmp_path, server, other, server)
        (tmp_path / "group_data" / "all.py").write_text(f"vector_port = {pages.server_port}\n")
        with remote.reach_hosts(path) as (_, access, hosts):
            assert access.vector == hosts["in"].access.vector
            again = hosts["again"].access
            assert again.vector.address != access.vector.address
            assert (again.clickhouse, again.grafana) == (access.clickhouse, access.grafana)
            before = server.forwarded, other.forwarded
            with http_client(again.vector.url, timeout=60) as asking:
                assert asking.get("/").status_code == 200
            assert (server.forwarded, other.forwarded) == (before[0] + 1, before[1])


def _lose(path: Path, server: SSHServer) -> None:
    """Meet the end of a connection as a command that knows of forwarded ports only."""
    with remote.reach(path) as access:
        access.ensure_connected()
        server.cut()
        raise CvatAnalyticsError(Code.VECTOR_AWAY, "Vector at http://127.0.0.1:40123 cannot be reached")


def test_of_two_hosts_the_one_that_is_gone_is_named(server: SSHServer, tmp_path: Path) -> None:
    with ssh_server() as other:
        path = inventory(tmp_path, server, other)
        with pytest.raises(UnreachableError, match=r"^host in: the SSH connection was lost"):
            _lose(path, other)


def test_what_goes_wrong_over_a_connection_that_stands_is_said_as_it_is(
    server: SSHServer, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no such day"), remote.reach(inventory(tmp_path, server)):
        raise InputError(Code.OPTION_VALUE, "no such day")


def test_a_host_that_no_longer_answers_is_lost_too(
    server: SSHServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_PATIENCE", 0.5)
    with remote.reach(inventory(tmp_path, server)) as access:
        server.answering.clear()
        with pytest.raises(UnreachableError, match=r"^host store: the SSH connection was lost"):
            access.ensure_connected()


def test_a_connection_that_somebody_else_closes_is_lost_and_no_traceback() -> None:
    class Client:
        def get_transport(self) -> Any:
            return self

        def open_session(self, timeout: float) -> None:
            raise EOFError

        def close(self) -> None:
            raise AttributeError("'NoneType' object has no attribute 'close'")

    assert not remote._answers(cast("paramiko.SSHClient", Client()))


def test_what_would_go_into_a_clickhouse_that_has_moved_is_refused_and_who_looks_sees_it(
    server: SSHServer, tmp_path: Path
) -> None:
    path = inventory(tmp_path, server)
    server.printed = lambda command: (
        f"--moving--\n{Move('clickhouse', 'store', 'other', step=moves.MOVED).text()}"
        if moves.NOTE in command
        else ""
    )
    for words in (
        ("dead-letters", "list"),
        ("import", "dump.parquet"),
        ("person", "erase", "7", "--yes"),
        ("backup", "create"),
    ):
        refused = CliRunner().invoke(main, [*words, "--inventory", str(path)])
        assert refused.exit_code == 2, (words, refused.output)
        if words[0] != "import":  # whose file is not there
            assert "host store: clickhouse has moved from store to other" in refused.output, words
    with remote.reach_hosts(path, partly=True) as (_, _, hosts):
        assert list(hosts) == ["store"]
