"""What CVAT has to be told, in the forms that its side takes, and no password unless it is asked for."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from cvat_analytics import inventory as inventories
from cvat_analytics import secrets, topology
from scripts.cli import main

CVAT = """
x-backend-env: &env {CVAT_ANALYTICS: 1}
services:
  cvat_db: {image: "postgres:15"}
  cvat_server: {image: "cvat/server:${CVAT_VERSION:-dev}", environment: *env}
  cvat_worker_new: {image: "cvat/server:${CVAT_VERSION:-dev}"}
  traefik: {image: "traefik:v3"}
  cvat_vector: {image: vector}
"""


SETTINGS = {
    "vector_listen_address": "10.0.0.5",
    "vector_port": 9282,
    "clickhouse_listen_addresses": ["10.0.0.5"],
    "clickhouse_allowed_addresses": ["10.0.0.9"],
    "grafana_listen_address": "0.0.0.0",
    "address": "10.0.0.5",
}


@pytest.fixture
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an inventory of one host, which is not read by pyinfra (a second each time)."""
    path = tmp_path / "hosts.py"
    secrets.init(tmp_path / "secrets.json")

    def load(path: Path) -> inventories.Stack:
        return inventories.describe([inventories.Host("analytics", topology.GROUPS, SETTINGS)], path)

    monkeypatch.setattr("scripts.cvat_env.inventories.load", load)
    return path


def run(inventory: Path, *arguments: object) -> tuple[int, str, str]:
    options = ["cvat-env", "--inventory", inventory, *arguments]
    result = CliRunner().invoke(main, [str(option) for option in options])
    return result.exit_code, result.stdout, result.stderr


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
    assert notes.count("Note:") == 1
    assert "grafana_serve_from_sub_path" in notes


def test_the_password_only_on_demand(inventory: Path, tmp_path: Path) -> None:
    assert secret(inventory) in run(inventory, "--show-password")[1]
    file = tmp_path / ".env"
    file.write_text("CVAT_HOST=cvat.example.org\nCLICKHOUSE_PASSWORD=old\n")
    code, output, notes = run(inventory, "--password-file", file)
    assert (code, secret(inventory) in output + notes) == (0, False)
    assert file.read_text() == f"CVAT_HOST=cvat.example.org\nCLICKHOUSE_PASSWORD={secret(inventory)}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


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
    assert services["traefik"]["environment"] == {
        "DJANGO_LOG_VIEWER_HOST": "10.0.0.5",
        "DJANGO_LOG_VIEWER_PORT": "3000",
    }
    assert services["cvat_vector"] == {"deploy": {"replicas": 0}}
    assert secret(inventory) not in output


def test_analytics_can_be_turned_off(inventory: Path) -> None:
    assert run(inventory, "--off")[1] == "CVAT_ANALYTICS=0\nDJANGO_LOG_SERVER_HOST=\n"
    services = yaml.safe_load(run(inventory, "--off", "--format", "compose")[1])["services"]
    assert services["cvat_server"]["environment"] == {"CVAT_ANALYTICS": "0", "DJANGO_LOG_SERVER_HOST": ""}
    assert services["cvat_grafana"] == {"deploy": {"replicas": 0}}
    assert "traefik" not in services


@pytest.mark.parametrize("strips", [True, False])
def test_a_rule_for_cvat_s_traefik(inventory: Path, monkeypatch: pytest.MonkeyPatch, strips: bool) -> None:
    monkeypatch.setitem(SETTINGS, "grafana_serve_from_sub_path", not strips)
    monkeypatch.setitem(SETTINGS, "grafana_root_url", "https://cvat.example.org/analytics")
    _, output, notes = run(inventory, "--format", "traefik")
    rule = yaml.safe_load(output)["http"]
    router = rule["routers"]["cvat-analytics"]
    assert router["rule"] == 'Host(`{{ env "CVAT_HOST" }}`) && PathPrefix(`/analytics`)'
    assert router["middlewares"][0] == "cvat-analytics-access"
    assert rule["middlewares"]["cvat-analytics-access"]["forwardAuth"] == {
        "address": "http://cvat-server:8080/analytics",
        "authRequestHeaders": ["Cookie", "Authorization"],
    }
    stripped = [each["stripPrefix"] for each in rule["middlewares"].values() if "stripPrefix" in each]
    assert stripped == ([{"prefixes": ["/analytics"]}] if strips else [])
    assert len(router["middlewares"]) == 1 + strips
    assert rule["services"]["cvat-analytics"]["loadBalancer"]["servers"] == [{"url": "http://10.0.0.5:3000"}]
    assert notes.count("Note:") == (not strips)


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
