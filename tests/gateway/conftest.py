"""A real nginx on the rendered configuration, in front of two programs that tell what reached them.

`echo` stands where Grafana is and answers with the request that it got; `authorizer` stands where the events API is and
decides as the test tells it. tests/gateway/test_access_right.py has the real events API in that place.
"""

from __future__ import annotations

import json
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from cvat_analytics.config import topology
from cvat_analytics.credentials import certificates, secrets
from cvat_analytics.gateway import gateway
from cvat_analytics.rendering.context import Context
from cvat_analytics.rendering.files import Paths
from tests.api.fake_cvat import FakeCvat
from tests.clickhouse import Store, free_ports
from tests.missing import give_up
from tests.serving import served
from tests.waiting import PATIENCE, until


@dataclass
class Program:
    """A small HTTP server that notes every request, and answers what `answer` says."""

    answer: Any
    requests: list[dict[str, Any]] = field(default_factory=list)
    port: int = 0

    @contextmanager
    def running(self) -> Iterator[Program]:
        """Run it on a free port of loopback."""
        program = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                request = {
                    "method": self.command,
                    "path": self.path,
                    "from": self.client_address[0],
                    "headers": {name.lower(): value for name, value in self.headers.items()},
                    "body": self.rfile.read(length).decode(),
                }
                program.requests.append(request)
                status, headers, body = program.answer(request)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_HEAD = do_GET

            def log_message(self, *arguments: object) -> None:
                pass

        with served(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
            self.port = server.server_port
            yield self


@dataclass
class Gateway:
    """A running gateway, and how a browser reaches it."""

    context: Context
    log: Path
    echo: Program = field(init=False)
    authorizer: Program = field(init=False)

    @property
    def url(self) -> str:
        """Return its address without the path of Grafana."""
        return f"https://localhost:{self.context.settings.gateway_https_port}"

    @property
    def authority(self) -> certificates.Authority:
        """Return the stack's own authority."""
        return certificates.Authority(Path(self.context.paths.root) / "certificates")

    def browser(self, address: str = "127.0.0.1", **options: Any) -> httpx.Client:
        """Return a client at `address` that trusts this stack's authority and nothing else."""
        tls_context = ssl.create_default_context(cafile=str(self.authority.certificate_file))
        transport = httpx.HTTPTransport(verify=tls_context, local_address=address)
        return httpx.Client(base_url=self.url, transport=transport, timeout=PATIENCE, **options)

    @property
    def command(self) -> tuple[str, ...]:
        """Return what its unit runs."""
        return "/bin/bash", f"{self.context.paths.gateway_config}/start"

    @property
    def errors(self) -> Path:
        """Return what its journal would have."""
        return self.log.with_name("errors.log")

    def logged(self, line: str) -> str:
        """Wait until the log has a line with `line` in it, which nginx writes after the answer, and return the last of them."""
        return until(
            lambda: [each for each in self.log.read_text().splitlines() if line in each],
            f"{line} is logged",
            told=self.log.read_text,
        )[-1]


def allowed(name: str = "ann", role: str = "Viewer") -> tuple[int, dict[str, str], bytes]:
    """Return the authorizer's answer that lets `name` in."""
    return (
        200,
        {"X-Webauth-Login": f"{name}@local", "X-Webauth-User": name, "X-Webauth-Role": role},
        b"",
    )


def as_json(request: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    """Return the echo's answer: the request that it got."""
    return 200, {"Content-Type": "application/json"}, json.dumps(request).encode()


def laid_out(
    directory: Path,
    *,
    grafana_port: int,
    events_api_port: int,
    replaced: Mapping[str, str] | None = None,
    **settings: Any,
) -> Gateway:
    """Write the gateway's files below `directory`, for what listens on the two ports, with parts of them `replaced`."""
    if not Path(gateway.NGINX).exists():
        give_up("nginx is not installed, and the gateway is one: run tests/hosts/prepare as root")
    https, http, clickhouse, native, vector = free_ports(5)
    values = {
        "gateway_https_port": https,
        "gateway_http_port": http,
        "clickhouse_http_port": clickhouse,
        "clickhouse_native_port": native,
        "vector_port": vector,
        "grafana_port": grafana_port,
        "events_api_port": events_api_port,
        "grafana_root_url": f"https://localhost:{https}/analytics/",
        **settings,
    }
    described = topology.build(dict.fromkeys(topology.COMPONENTS, ("host",)), {"host": values}, where="test")
    context = Context("host", described, secrets.generate(), Paths(str(directory)))
    pair = certificates.Authority(directory / "certificates").issue(
        "gateway", gateway.certificate_names(context)
    )
    log = directory / "access.log"
    for file in gateway.files(context, pair):
        target = Path(file.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        # the journal's socket is the host's; everything else is as on a host
        content = file.content.replace(gateway.ACCESS_LOG, str(log))
        for was, becomes in (replaced or {}).items():
            content = content.replace(was, becomes)
        target.write_text(content)
    credentials = Path(context.paths.gateway_credentials)
    credentials.mkdir(parents=True)
    (credentials / "certificate_key").write_text(pair.key)
    for place in (context.paths.gateway_run, context.paths.gateway_cache):
        Path(place).mkdir(parents=True)
    return Gateway(context, log)


@contextmanager
def nginx(directory: Path, **settings: Any) -> Iterator[Gateway]:
    """Run the gateway that laid_out() describes."""
    running = laid_out(directory, **settings)
    errors = running.errors.open("w")
    process = subprocess.Popen(running.command, stderr=errors, stdout=errors)
    try:
        with running.browser() as browser:

            def answers() -> httpx.Response:
                assert process.poll() is None, running.errors.read_text()
                return browser.get("/")

            until(answers, "the gateway answers", lambda _: True, despite=httpx.TransportError)
        yield running
    finally:
        process.terminate()
        process.wait(60)
        errors.close()


@pytest.fixture(scope="session")
def store(shared_engine: Store) -> Iterator[Store]:
    with shared_engine.another() as engine:
        yield engine


@pytest.fixture(scope="module")
def cvat() -> Iterator[FakeCvat]:
    with served(FakeCvat()) as server:
        yield server


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Return a gateway in front of an echo and an authorizer."""
    directory = tmp_path_factory.mktemp("gateway")
    with (
        Program(as_json).running() as echo,
        Program(lambda request: allowed()).running() as authorizer,
        nginx(directory, grafana_port=echo.port, events_api_port=authorizer.port) as gateway,
    ):
        gateway.echo, gateway.authorizer = echo, authorizer
        yield gateway


@pytest.fixture
def entrance(running: Gateway) -> Gateway:
    """Return the gateway with an authorizer that lets everybody in and programs that have noted nothing yet."""
    running.authorizer.answer, running.echo.answer = lambda request: allowed(), as_json
    running.echo.requests.clear()
    running.authorizer.requests.clear()
    return running
