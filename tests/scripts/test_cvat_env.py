"""What CVAT has to be told, in the forms that its side takes, and no password unless it is asked for."""

from __future__ import annotations

import json
import os
import re
import ssl
import stat
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from cvat_analytics.config import inventory as inventories
from cvat_analytics.config import topology
from cvat_analytics.credentials import secrets
from cvat_analytics.credentials.certificates import Authority
from scripts.cli import main
from tests.serving import QuietServer, served

CVAT = """
x-backend-env: &env {CVAT_ANALYTICS: 1}
services:
  cvat_db: {image: "postgres:15"}
  cvat_server: {image: "cvat/server:${CVAT_VERSION:-dev}", environment: *env}
  cvat_worker_new: {image: "cvat/server:${CVAT_VERSION:-dev}"}
  traefik: {image: "traefik:v3"}
  cvat_vector: {image: vector}
"""


SETTINGS: dict[str, object] = {
    "vector_listen_address": "10.0.0.5",
    "vector_port": 9282,
    "clickhouse_listen_addresses": ["10.0.0.5"],
    "clickhouse_allowed_addresses": ["10.0.0.9"],
    "grafana_listen_address": "0.0.0.0",
    "address": "10.0.0.5",
}


BEHIND_CVAT: dict[str, object] = {
    "grafana_root_url": "https://cvat.example.org/analytics/",
    "cvat_url": "https://cvat.example.org",
    "cvat_server_url": "https://cvat.example.org/cvat-server",
    "gateway_trusted_proxies": ["10.0.0.9"],
}
GROUPS = topology.GROUPS


@pytest.fixture
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an inventory of one host, which is not read by pyinfra (a second each time)."""
    path = tmp_path / "hosts.py"
    secrets.init(tmp_path / "secrets.json")

    def load(path: Path) -> inventories.Stack:
        return inventories.describe([inventories.Host("analytics", GROUPS, SETTINGS)], path)

    monkeypatch.setattr("scripts.cvat_env.inventories.load", load)
    return path


def run(inventory: Path, *arguments: object) -> tuple[int, str, str]:
    options = ["cvat-env", "--inventory", inventory, *arguments]
    result = CliRunner().invoke(main, [str(option) for option in options])
    return result.exit_code, result.stdout, result.stderr


def given(monkeypatch: pytest.MonkeyPatch, groups: tuple[str, ...], **settings: object) -> None:
    """Have the one host in `groups`, with more `settings`."""
    monkeypatch.setattr(sys.modules[__name__], "GROUPS", groups)
    for name, value in settings.items():
        monkeypatch.setitem(SETTINGS, name, value)


def said(notes: str) -> list[str]:
    """Return which settings each note names, or else the option that it names."""
    lines = notes.splitlines()
    assert [line for line in lines if not line.startswith("Note: ")] == []
    return [", ".join(re.findall(r"'(\w+)'", line) or re.findall(r"--\w+ \w+", line)) for line in lines]


def secret(inventory: Path) -> str:
    return str(json.loads((inventory.parent / "secrets.json").read_text())["clickhouse_cvat"])


def test_lines_for_an_env_file(inventory: Path) -> None:
    code, output, notes = run(inventory)
    assert code == 0
    assert dict(line.split("=") for line in output.splitlines()) == {
        "CVAT_ANALYTICS": "1",
        "DJANGO_LOG_SERVER_HOST": "10.0.0.5",
        "DJANGO_LOG_SERVER_PORT": "9282",
        "CLICKHOUSE_HOST": "10.0.0.5",
        "CLICKHOUSE_PORT": "8123",
        "CLICKHOUSE_DB": "cvat",
        "CLICKHOUSE_USER": "cvat",
        "DJANGO_LOG_VIEWER_HOST": "10.0.0.5",
        "DJANGO_LOG_VIEWER_PORT": "3000",
    }
    assert said(notes) == [
        "--format traefik",
        "grafana_root_url",
        "grafana_anonymous_viewer",
        "firewall, grafana_allowed_addresses",
    ]


def test_the_password_only_on_demand(inventory: Path, tmp_path: Path) -> None:
    assert secret(inventory) in run(inventory, "--show-password")[1]
    file = tmp_path / ".env"
    file.write_text("CVAT_HOST=cvat.example.org\nCLICKHOUSE_PASSWORD=old\n")
    code, output, notes = run(inventory, "--password-file", file)
    assert (code, secret(inventory) in output + notes) == (0, False)
    assert file.read_text() == f"CVAT_HOST=cvat.example.org\nCLICKHOUSE_PASSWORD={secret(inventory)}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_lines_of_other_programs_stay_as_they_are(inventory: Path, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("NOTE=a\u2028CLICKHOUSE_PASSWORD=x\n", encoding="utf-8")
    run(inventory, "--password-file", file)
    assert file.read_text(encoding="utf-8").split("\n")[0] == "NOTE=a\u2028CLICKHOUSE_PASSWORD=x"
    file.write_bytes(b"NOTE=\xe4\n")
    code, _, error = run(inventory, "--password-file", file)
    assert (code, "is not UTF-8, byte 5" in error, file.read_bytes()) == (2, True, b"NOTE=\xe4\n")


def test_no_passwords_are_needed_before_the_first_deploy(inventory: Path) -> None:
    (inventory.parent / "secrets.json").unlink()
    assert run(inventory)[0] == 0
    code, _, error = run(inventory, "--show-password")
    assert (code, "there is none" in error) == (2, True)


def test_a_compose_override_for_the_services_of_this_cvat(inventory: Path, tmp_path: Path) -> None:
    compose = tmp_path / "docker-compose.yml"
    compose.write_text(CVAT)
    _, output, _ = run(inventory, "--format", "compose", "--cvat-compose", compose)
    services: dict[str, Any] = yaml.safe_load(output)["services"]
    assert set(services) == {"cvat_server", "cvat_worker_new", "traefik", "cvat_vector"}
    assert services["cvat_worker_new"]["environment"]["DJANGO_LOG_SERVER_PORT"] == "9282"
    assert services["cvat_server"]["environment"]["CLICKHOUSE_PASSWORD"].startswith("${CLICKHOUSE_PASSWORD:?")
    proxy = services["traefik"]["environment"]
    assert (proxy["DJANGO_LOG_VIEWER_HOST"], proxy["DJANGO_LOG_VIEWER_PORT"]) == ("10.0.0.5", "3000")
    assert services["cvat_vector"] == {"deploy": {"replicas": 0}}
    assert secret(inventory) not in output


def test_analytics_can_be_turned_off(inventory: Path) -> None:
    assert run(inventory, "--off")[1] == "CVAT_ANALYTICS=0\nDJANGO_LOG_SERVER_HOST=\n"
    services = yaml.safe_load(run(inventory, "--off", "--format", "compose")[1])["services"]
    assert services["cvat_server"]["environment"] == {"CVAT_ANALYTICS": "0", "DJANGO_LOG_SERVER_HOST": ""}
    assert services["cvat_grafana"] == {"deploy": {"replicas": 0}}
    assert "traefik" not in services


@pytest.mark.parametrize("strips", [True, False])
def test_a_rule_for_a_traefik_that_asks_cvat_by_itself(
    inventory: Path, monkeypatch: pytest.MonkeyPatch, strips: bool
) -> None:
    monkeypatch.setitem(SETTINGS, "grafana_serve_from_sub_path", not strips)
    monkeypatch.setitem(SETTINGS, "grafana_root_url", "https://cvat.example.org/analytics")
    rule = yaml.safe_load(run(inventory, "--format", "traefik")[1])["http"]
    middlewares = ["cvat-analytics-access", "cvat-analytics-headers", *["cvat-analytics-path"] * strips]
    where = 'Host(`{{ env "CVAT_HOST" }}`) && (Path(`/analytics`) || PathPrefix(`/analytics/`))'
    common = {
        "rule": where,
        "priority": 10_000,
        "middlewares": middlewares,
        "service": "cvat-analytics",
    }
    assert rule["routers"] == {
        "cvat-analytics-web": {"entryPoints": ["web"], **common},
        "cvat-analytics-websecure": {"entryPoints": ["websecure"], **common, "tls": {}},
    }
    assert list(rule["middlewares"]) == middlewares
    assert rule["middlewares"]["cvat-analytics-access"]["forwardAuth"] == {
        "address": "http://cvat-server:8080/analytics",
        "authRequestHeaders": ["Cookie", "Authorization"],
    }
    taken_away = rule["middlewares"]["cvat-analytics-headers"]["headers"]["customRequestHeaders"]
    assert {"Authorization", "X-WEBAUTH-LOGIN", "X-WEBAUTH-USER", "X-WEBAUTH-ROLE", "X-WEBAUTH-EMAIL"} == set(
        taken_away
    )
    assert set(taken_away.values()) == {""}
    assert rule["services"]["cvat-analytics"]["loadBalancer"] == {
        "passHostHeader": True,
        "servers": [{"url": "http://10.0.0.5:3000"}],
    }
    assert "serversTransports" not in rule


def test_a_rule_that_hands_on_to_the_gateway_and_verifies_it(
    inventory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(
        monkeypatch,
        topology.COMPONENTS,
        **BEHIND_CVAT,
        gateway_listen_address="0.0.0.0",
        gateway_https_port=8443,
    )
    code, _, error = run(inventory, "--format", "traefik")
    assert (code, "ca.pem" in error, "certificates issue" in error) == (2, True, True)
    authority = Authority(inventory.parent / "certificates").make()
    _, output, notes = run(inventory, "--format", "traefik")
    rule = yaml.safe_load(output)["http"]
    assert rule["services"]["cvat-analytics"]["loadBalancer"] == {
        "passHostHeader": True,
        "servers": [{"url": "https://10.0.0.5:8443"}],
        "serversTransport": "cvat-analytics",
    }
    assert rule["serversTransports"] == {
        "cvat-analytics": {"serverName": "cvat.example.org", "rootCAs": [authority.certificate]}
    }
    assert "PRIVATE KEY" not in output
    # nothing is taken away or asked on the way: the gateway does that
    assert "middlewares" not in rule["routers"]["cvat-analytics-websecure"]
    assert set(rule["middlewares"]) == {"cvat-analytics-server"}
    assert said(notes) == ["--format traefik"]


def test_a_grafana_that_speaks_tls_is_verified_too(inventory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, topology.GROUPS, grafana_tls=True, grafana_listen_address="fd00::5")
    monkeypatch.setitem(SETTINGS, "grafana_root_url", "https://cvat.example.org/analytics/")
    monkeypatch.setitem(SETTINGS, "grafana_serve_from_sub_path", False)
    authority = Authority(inventory.parent / "certificates").make()
    rule = yaml.safe_load(run(inventory, "--format", "traefik")[1])["http"]
    balancer = rule["services"]["cvat-analytics"]["loadBalancer"]
    assert (balancer["servers"], balancer["serversTransport"]) == (
        [{"url": "https://[fd00::5]:3000"}],
        "cvat-analytics",
    )
    assert rule["serversTransports"]["cvat-analytics"] == {
        "serverName": "cvat.example.org",
        "rootCAs": [authority.certificate],
    }
    # CVAT's own rule speaks plain HTTP
    assert "volumes" in yaml.safe_load(run(inventory, "--format", "compose")[1])["services"]["traefik"]


def test_traefik_verifies_a_certificate_of_the_operators_with_what_it_trusts_itself(
    inventory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = {"gateway_certificate": inventory, "gateway_certificate_key": inventory}
    given(monkeypatch, topology.COMPONENTS, **BEHIND_CVAT, **mine)
    _, output, notes = run(inventory, "--format", "traefik")
    transports = yaml.safe_load(output)["http"]["serversTransports"]
    assert transports == {"cvat-analytics": {"serverName": "cvat.example.org"}}
    assert said(notes) == ["gateway_listen_address", "--format traefik", "gateway_certificate"]


ELSEWHERE = {"grafana_root_url": "https://analytics.example.org/"}


@pytest.mark.parametrize(
    ("groups", "changed", "expected"),
    [
        pytest.param(
            topology.COMPONENTS,
            {"cvat_server_url": "", "gateway_trusted_proxies": []},
            ["gateway_listen_address", "--format traefik", "cvat_server_url", "gateway_trusted_proxies"],
            id="nothing told to a gateway behind CVAT",
        ),
        pytest.param(
            topology.COMPONENTS, ELSEWHERE, ["--format traefik", ""], id="a gateway with an address of its own"
        ),
        pytest.param(
            topology.GROUPS,
            {"grafana_anonymous_viewer": True, "grafana_serve_from_sub_path": False, "firewall": True},
            ["vector_allowed_addresses", "grafana_allowed_addresses"],
            id="a firewall that keeps CVAT and its traefik out",
        ),
        pytest.param(
            topology.GROUPS,
            {
                "grafana_anonymous_viewer": True,
                "grafana_serve_from_sub_path": False,
                "firewall": True,
                "grafana_allowed_addresses": ["10.0.0.9"],
                "vector_allowed_addresses": ["10.0.0.9"],
            },
            [],
            id="all that CVAT's own rule needs",
        ),
        pytest.param(
            topology.GROUPS,
            ELSEWHERE | {"grafana_anonymous_viewer": True, "firewall": True, "grafana_allowed_addresses": ["10.0.0.9"], "vector_allowed_addresses": ["10.0.0.9"]},
            ["--format traefik", "grafana_root_url"],
            id="Grafana takes another address for its own",
        ),
    ],
)  # fmt: skip
def test_what_is_still_to_be_done_is_said(
    inventory: Path,
    monkeypatch: pytest.MonkeyPatch,
    groups: tuple[str, ...],
    changed: dict[str, Any],
    expected: list[str],
) -> None:
    given(monkeypatch, groups, **BEHIND_CVAT | changed)
    code, output, notes = run(inventory)
    assert code == 0
    assert said(notes) == expected
    # a gateway is reached through the rule, which has its address
    assert ("DJANGO_LOG_VIEWER_HOST" in output) == (groups == topology.GROUPS)


@pytest.mark.parametrize("needed", [True, False])
def test_the_override_mounts_the_rule_where_cvats_own_does_not_do(
    inventory: Path, monkeypatch: pytest.MonkeyPatch, needed: bool
) -> None:
    monkeypatch.setitem(SETTINGS, "grafana_serve_from_sub_path", needed)
    proxy = yaml.safe_load(run(inventory, "--format", "compose")[1])["services"]["traefik"]
    assert proxy.get("volumes") == (
        [
            {
                "type": "bind",
                "source": "./analytics.yml",
                "target": "/etc/traefik/rules/grafana_conf.yml",
                "read_only": True,
                "bind": {"create_host_path": False},
            }
        ]
        if needed
        else None
    )


@pytest.mark.parametrize(
    "options",
    [("--off", "--show-password"), ("--format", "compose", "--show-password"), ("--format", "traefik", "--off"), ("--cvat-compose", __file__)],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(inventory: Path, options: tuple[str, ...]) -> None:
    assert run(inventory, *options)[0] == 2


def test_a_file_that_is_not_cvat_s_is_refused(inventory: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yml"
    for text in ("services: {db: {image: x}}", "[", "text"):
        other.write_text(text)
        code, _, error = run(inventory, "--format", "compose", "--cvat-compose", other)
        assert (code, "docker-compose.yml" in error) == (2, True)


def test_cvat_s_exports_go_through_tls_when_it_trusts_the_stack_s_authority(
    inventory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(monkeypatch, topology.GROUPS, clickhouse_tls=True)
    code, output, notes = run(inventory)
    assert code == 0
    assert "CLICKHOUSE_PORT=8443\n" in output
    assert "SSL_CERT_FILE" in notes
    services = yaml.safe_load(run(inventory, "--format", "compose")[1])["services"]
    mounted = {
        "type": "bind", "source": "./cvat-analytics-ca.pem", "target": "/etc/ssl/cvat-analytics-ca.pem", "read_only": True,
        "bind": {"create_host_path": False},
    }  # fmt: skip
    for name in ("cvat_server", "cvat_worker_export"):
        assert services[name]["environment"]["SSL_CERT_FILE"] == "/etc/ssl/cvat-analytics-ca.pem"
        assert services[name]["volumes"] == [mounted]
    assert "SSL_CERT_FILE" not in str(services["traefik"])
    assert "SSL_CERT_FILE" not in run(inventory, "--format", "compose", "--off")[1]


def test_what_cvat_s_clients_cannot_do_is_said(inventory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = said(run(inventory)[2])
    given(monkeypatch, topology.GROUPS, vector_tls=True)
    assert [note for note in said(run(inventory)[2]) if note not in before] == ["vector_tls"]
    given(monkeypatch, topology.GROUPS, vector_tls=False, clickhouse_tls=True, clickhouse_https_port=9443)
    assert "clickhouse_https_port" in said(run(inventory)[2])


def test_the_driver_that_cvat_uses_believes_ssl_cert_file(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("clickhouse", ["127.0.0.1"])
    tls_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls_context.load_cert_chain(tmp_path / "clickhouse.pem", tmp_path / "clickhouse-key.pem")
    program = (
        "import sys; from clickhouse_connect.driver import httputil\n"
        "asked = httputil.get_pool_manager(retries=0).request('GET', sys.argv[1])\n"
        "print(asked.status)"
    )

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = QuietServer(("127.0.0.1", 0), Answers)
    server.socket = tls_context.wrap_socket(server.socket, server_side=True)
    with served(server):
        for environment, answer in (({"SSL_CERT_FILE": str(authority.certificate_file)}, "204"), ({}, "")):
            done = subprocess.run(
                [sys.executable, "-c", program, f"https://127.0.0.1:{server.server_port}/ping"],
                env={**os.environ, **environment}, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.stdout.strip() == answer
    assert "CERTIFICATE_VERIFY_FAILED" in done.stderr
