"""What connects through TLS, against servers with certificates of the right and of the wrong authority, name and address."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from cvat_analytics.api.clickhouse import ClickHouse
from cvat_analytics.api.config import ClickHouseConfig, VectorConfig
from cvat_analytics.api.problems import Problem
from cvat_analytics.api.vector import Vector
from cvat_analytics.base.errors import UnreachableError
from cvat_analytics.config import topology
from cvat_analytics.config.endpoints import Endpoint, Trust
from cvat_analytics.config.validation import validate
from cvat_analytics.connect.access import Access
from cvat_analytics.credentials import secrets
from cvat_analytics.credentials.certificates import Authority
from cvat_analytics.dashboards.grafana import Grafana
from cvat_analytics.embedded.vector_substitute.config import ConfigError, load
from cvat_analytics.embedded.vector_substitute.metrics import Metrics
from cvat_analytics.embedded.vector_substitute.pipeline import Pipeline
from cvat_analytics.rendering import render
from cvat_analytics.rendering.context import Context
from cvat_analytics.rendering.files import Paths
from deploys import operations, tls
from tests.tls_server import listening_with

ELSEWHERE = "10.255.0.1"
"""An address of which no certificate here is."""


class Answers(BaseHTTPRequestHandler):
    """Answers 200, and keeps the lines and headers of what it was asked."""

    protocol_version = "HTTP/1.0"
    body = b""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.received.append(f"{self.requestline}\n{self.headers}")  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(self.body)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def server(
    authority: Authority, body: bytes = b"", handler: type[Answers] = Answers
) -> Iterator[tuple[int, list[str]]]:
    """Answer on loopback with a certificate for 127.0.0.1; yield the port, and what is received."""
    authority.issue("part", ["127.0.0.1", "localhost"])
    answering = type("Answering", (handler,), {"body": body})
    with listening_with(authority.directory / "part.pem", answering) as (_, port, received):
        yield port, received


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ours")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Return the file of an authority that has signed nothing here."""
    authority = Authority(tmp_path / "other")
    authority.make()
    return authority.certificate_file


def runs(command: str) -> bool:
    """Return whether a command of the deploy succeeds in a shell."""
    return subprocess.run(["sh", "-c", command], capture_output=True, check=False).returncode == 0


def test_the_probe_of_a_deploy_verifies_authority_and_address(ours: Authority, other: Path) -> None:
    with server(ours) as (port, received):
        assert runs(tls.https_probe(port, "/health", "127.0.0.1", str(ours.certificate_file)))
        assert runs(tls.https_probe(port, "/health", "0.0.0.0", str(ours.certificate_file)))
        assert len(received) == 2
        assert not runs(tls.https_probe(port, "/health", "127.0.0.1", str(other)))
        wrong_name = tls.https_probe(port, "/health", "127.0.0.1", str(ours.certificate_file))
        assert not runs(wrong_name.replace("-verify_ip 127.0.0.1", f"-verify_ip {ELSEWHERE}"))
        assert len(received) == 2


def test_vector_s_password_is_sent_to_nobody_whom_the_authority_does_not_vouch_for(
    ours: Authority, other: Path, tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text("pass %s word")
    with server(ours) as (port, received):
        for authority, vouched in ((other, False), (ours.certificate_file, True)):
            query = "SELECT 1"
            request = operations.insert_request("127.0.0.1", query.replace(" ", "+"), str(password))
            sent = f"{request} | {tls.connection('127.0.0.1', port, str(authority))} | {tls.STATUS_200}"
            assert runs(sent) == vouched
            assert len(received) == vouched
        assert received[0].startswith("POST /?query=SELECT+1 HTTP/1.0\n")
        assert "X-ClickHouse-Key: pass %s word\n" in received[0]


def test_the_events_api_verifies_clickhouse(ours: Authority, other: Path) -> None:
    with server(ours, b"1\n") as (port, received):

        def client(host: str, authority: Path) -> ClickHouse:
            return ClickHouse(
                ClickHouseConfig(host, port, "cvat", "events_api", "secret", authority=authority)
            )

        with client("127.0.0.1", ours.certificate_file).ask("SELECT 1") as answer:
            assert answer.text() == "1\n"
        with pytest.raises(UnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
            client("127.0.0.1", other).ask("SELECT 1")
        assert len(received) == 1


def test_an_export_through_tls_is_cancelled_from_another_thread(ours: Authority) -> None:
    class Endless(Answers):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            while True:
                self.wfile.write(b"5\r\nrows\n\r\n")

    with server(ours, handler=Endless) as (port, _):
        config = ClickHouseConfig(
            "127.0.0.1", port, "cvat", "events_api", "secret", authority=ours.certificate_file
        )
        with ClickHouse(config).ask("SELECT 1") as answer:
            pieces = answer.pieces()
            next(pieces)
            threading.Thread(target=answer.cancel).start()
            with pytest.raises(UnreachableError, match="broke"):
                for _ in pieces:
                    pass


def test_the_events_api_verifies_vector(ours: Authority, other: Path) -> None:
    async def send(config: VectorConfig) -> None:
        vector = Vector(config)
        try:
            await vector.send([{"scope": "debug:info"}])
        finally:
            await vector.close()

    with server(ours) as (port, received):
        url = f"https://127.0.0.1:{port}/"
        with pytest.raises(Problem) as refused:
            asyncio.run(send(VectorConfig(url, authority=other)))
        assert (refused.value.status, received) == (503, [])
        asyncio.run(send(VectorConfig(url, authority=ours.certificate_file)))
        assert len(received) == 1
        # of a certificate of the operator's that one alone is believed, and not what else its issuer has signed
        certificates = [ours.directory / "part.pem", ours.directory / "another.pem"]
        ours.issue("another", ["127.0.0.1"])
        for certificate in certificates:
            chain = certificate.with_suffix(".chain")
            chain.write_text(certificate.read_text() + ours.certificate_file.read_text())
        asyncio.run(send(VectorConfig(url, certificate=certificates[0].with_suffix(".chain"))))
        with pytest.raises(Problem):
            asyncio.run(send(VectorConfig(url, certificate=certificates[1].with_suffix(".chain"))))
        assert len(received) == 2


def endpoint(port: int, trust: Trust) -> Endpoint:
    return Endpoint("127.0.0.1", port, validate({}, where="test"), trust)


@pytest.mark.parametrize(
    "ask", [lambda access: access.client("vector"), Grafana], ids=["ClickHouse", "Grafana"]
)
def test_a_command_tells_no_password_to_a_stranger(
    ours: Authority, other: Path, ask: Callable[[Access], Any]
) -> None:
    with server(ours) as (port, received):
        stranger = endpoint(port, Trust(other, "127.0.0.1"))
        access = Access(
            stranger, stranger, stranger, clickhouse_as={"vector": stranger}, secrets=secrets.generate()
        )
        with pytest.raises(UnreachableError, match=r"(?i)certificate.verify.failed|cannot be reached"):
            ask(access)
        assert received == []


def test_grafana_is_asked_through_tls(ours: Authority) -> None:
    with server(ours, b'{"version": "13.2.3"}') as (port, received):
        known = endpoint(port, Trust(ours.certificate_file, "localhost"))
        grafana = Grafana(Access(known, known, known, secrets=secrets.generate()))
        assert grafana.address == f"https://127.0.0.1:{port}/analytics"
        assert received[0].startswith("GET /analytics/api/health HTTP/1.1\n")


def test_clickhouse_behind_a_forwarded_port_is_verified_for_its_own_address(ours: Authority) -> None:
    with server(ours) as (port, received):
        elsewhere = endpoint(port, Trust(ours.certificate_file, ELSEWHERE))
        access = Access(elsewhere, elsewhere, elsewhere, secrets=secrets.generate())
        with pytest.raises(UnreachableError, match=r"(?i)certificate"):
            access.client()
        assert received == []


def test_the_substitute_for_vector_refuses_a_sink_that_cannot_verify(ours: Authority, tmp_path: Path) -> None:
    hosts: dict[str, dict[str, Any]] = {
        "a": {"address": "10.0.0.1", "clickhouse_tls": True},
        "b": {"address": "10.0.0.2"},
    }
    apart = topology.build({"clickhouse": ["a"], "vector": ["b"], "grafana": ["a"]}, hosts, where="test")
    context = Context("b", apart, secrets.generate(), Paths(str(tmp_path)), authority=ours)
    for file in render.vector_files(context):
        path = Path(file.path)
        if path.is_relative_to(context.paths.secrets):
            path = Path(context.paths.vector_credentials) / path.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.content)
    Pipeline(load(Path(context.paths.vector_config) / "vector.toml"), Metrics())
    Path(context.paths.authority).unlink()
    with pytest.raises(ConfigError, match=r"option tls\.ca_file: .*ca\.pem"):
        Pipeline(load(Path(context.paths.vector_config) / "vector.toml"), Metrics())
