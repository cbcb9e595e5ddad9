"""Connections on which nothing comes of it, and bodies that nobody takes or ends: the real nginx, as its unit starts it."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.waiting import PATIENCE, until

from .conftest import Gateway, Program, allowed, laid_out, nginx
from .namespaces import CVAT, HOST, VISITOR, inside, namespaces

MIB = 2**20
HALF_SENT = 4200
LIMIT = 600

# Opens so many connections, begins a request on each, and keeps what it was let have; prints how many that are
FLOOD = """
    import resource, socket, sys
    address, source, port, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    resource.setrlimit(resource.RLIMIT_NOFILE, (count + 100, count + 100))
    kept = []
    for _ in range(count):
        try:
            kept.append(socket.create_connection((address, port), timeout=30, source_address=(source, 0)))
            kept[-1].sendall(b"GET /analytics/ HTTP/1.1\\r\\nHost: half")
        except OSError:
            continue
    print(len(kept), flush=True)
    sys.stdin.read()
"""
# Asks once as another visitor, and prints the status
ASK = """
    import http.client, sys
    address, source, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    asked = http.client.HTTPConnection(address, port, timeout=30, source_address=(source, 0))
    asked.request("GET", "/analytics/")
    print(asked.getresponse().status)
"""


def program(source: str, *arguments: object) -> tuple[str, ...]:
    """Return the command that runs a text of Python."""
    return sys.executable, "-c", textwrap.dedent(source), *map(str, arguments)


def test_nobody_closes_the_gateway_with_half_sent_requests(tmp_path: Path) -> None:
    entrance = laid_out(
        tmp_path,
        grafana_port=1,
        events_api_port=2,
        gateway_listen_address=HOST,
        gateway_connections_per_address=LIMIT,
        # otherwise the slow ones are ended meanwhile, which makes room for others
        replaced={"client_header_timeout 20s": "client_header_timeout 600s"},
    )
    port = entrance.context.settings.gateway_http_port
    with namespaces(entrance.context) as (host, outside), entrance.errors.open("w") as errors:
        process = subprocess.Popen([*inside(host), *entrance.command], stderr=errors, stdout=errors)
        ask = [*inside(outside), *program(ASK, HOST, CVAT, port)]
        try:

            def answered() -> str:
                assert process.poll() is None, entrance.errors.read_text()
                return subprocess.run(ask, capture_output=True, text=True, check=False).stdout

            until(answered, "the gateway answers")
            flood = subprocess.Popen(
                [*inside(outside), *program(FLOOD, HOST, VISITOR, port, HALF_SENT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            try:
                assert flood.stdout
                assert flood.stdout.readline() == f"{LIMIT}\n"
                assert answered() == "301\n"
            finally:
                flood.communicate("")
        finally:
            process.terminate()
            process.wait(PATIENCE)


def test_a_request_that_comes_letter_by_letter_is_ended(tmp_path: Path) -> None:
    quick = {"client_header_timeout 20s": "client_header_timeout 1s"}
    with nginx(tmp_path, grafana_port=1, events_api_port=2, replaced=quick) as entrance:
        port = entrance.context.settings.gateway_http_port
        with socket.create_connection(("127.0.0.1", port), timeout=0.1) as slow:
            slow.sendall(b"GET / HTTP/1.1\r\nX-Long: ")

            def ended() -> bool:
                try:
                    slow.sendall(b"x")
                    return slow.recv(1000) == b""
                except TimeoutError:
                    return False
                except OSError:
                    return True

            until(ended, "the gateway has had enough")


@contextmanager
def connected(entrance: Gateway) -> Iterator[ssl.SSLSocket]:
    """Yield a TLS connection to the gateway that keeps little of what it has not been asked for."""
    context = ssl.create_default_context(cafile=str(entrance.authority.certificate_file))
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    plain.settimeout(PATIENCE)
    plain.connect(("127.0.0.1", entrance.context.settings.gateway_https_port))
    with context.wrap_socket(plain, server_hostname="localhost") as secure:
        yield secure


@contextmanager
def grafana(tmp_path: Path, handle: Callable[[socket.socket], None]) -> Iterator[Gateway]:
    """Run a gateway in front of a program that does with each connection what a test says."""

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    accepted, _ = listener.accept()
                except OSError:
                    return
                with accepted:
                    handle(accepted)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with (
                Program(lambda request: allowed()).running() as authorizer,
                nginx(
                    tmp_path,
                    grafana_port=listener.getsockname()[1],
                    events_api_port=authorizer.port,
                    # its workers may put something aside where this test's directory is root's own, as on a host
                    replaced={"daemon off;": "daemon off;\nuser root;"},
                ) as entrance,
            ):
                yield entrance
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE)


def test_an_answer_that_a_slow_reader_does_not_take_waits_where_it_is_made_and_comes_whole(
    tmp_path: Path,
) -> None:
    size, ends = 64 * MIB, list[str]()

    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        connection.settimeout(3)
        rest = memoryview(bytes(size))
        while rest:
            try:
                rest = rest[connection.send(rest) :]
            except TimeoutError:
                ends.append("waits")
                connection.settimeout(PATIENCE)
        ends.append("sent")

    with grafana(tmp_path, answer) as entrance, connected(entrance) as reader:
        reader.sendall(b"GET /analytics/api/ds/query HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert until(lambda: ends[:1], "it waits, or has sent all") == ["waits"]
        head, _, got = reader.recv(65536).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        left = size - len(got)
        while left and (piece := reader.recv(MIB)):
            left -= len(piece)
        assert left == 0
    assert "temporary file" not in entrance.errors.read_text()


def test_an_upload_goes_on_as_it_comes(tmp_path: Path) -> None:
    got = [0]

    def take(connection: socket.socket) -> None:
        while piece := connection.recv(MIB):
            got[0] += len(piece)

    with grafana(tmp_path, take) as entrance, connected(entrance) as visitor:
        visitor.sendall(
            f"POST /analytics/api/ds/query HTTP/1.1\r\nHost: localhost\r\nContent-Length: {49 * MIB}\r\n\r\n".encode()
        )
        visitor.sendall(bytes(4 * MIB))
        until(lambda: got[0] > 3 * MIB, "what has come has gone on", told=lambda: got)
    assert "temporary file" not in entrance.errors.read_text()
