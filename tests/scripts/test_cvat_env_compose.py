"""The override of `cvat-env --format compose`: for whom it is, what it keeps off a company's proxy, and that Compose takes it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
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
from cvat_analytics.gateway import cvat_env
from scripts.cli import main
from tests import missing
from tests.serving import QuietServer, served

PROGRAMS = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
ABSENT = "Docker Compose is not installed: `make .venv/.dev` brings it"
REAL = shutil.which("docker-compose", path=PROGRAMS)
STOCK = "clickhouse,grafana,vector,nuclio,opa,${no_proxy:-}"
CVAT = f"""
x-backend-env: &env
  DJANGO_LOG_SERVER_HOST: vector
  no_proxy: {STOCK}
services:
  cvat_db: {{image: "postgres:15"}}
  cvat_server: {{image: "cvat/server:${{CVAT_VERSION:-dev}}", environment: {{<<: *env, NUMPROCS: 1}}}}
  cvat_worker_new: {{image: "cvat/server:${{CVAT_VERSION:-dev}}", environment: *env}}
  traefik: {{image: "traefik:v3"}}
  cvat_vector: {{image: vector}}
"""
Asked = tuple[int, dict[str, Any], str]
"""The exit code, the services of the override, and what is said."""


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Asked]:
    """Return what asks for the override, or for other words of `cvat-env`, of a stack with these settings."""
    secrets.init(tmp_path / "secrets.json")
    Authority(tmp_path / "certificates").make()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    # no Docker Compose of this machine, unless a test says so
    monkeypatch.setattr("cvat_analytics.gateway.compose_check._PROGRAMS", ())
    monkeypatch.chdir(tmp_path)

    def asked(*words: str, groups: tuple[str, ...] = topology.GROUPS, **settings: object) -> Asked:
        host = inventories.Host("analytics", groups, {**SETTINGS, **settings})
        monkeypatch.setattr(
            "scripts.cvat_env.inventories.load", lambda path: inventories.describe([host], path)
        )
        options = ["cvat-env", "--inventory", "hosts.py", "--format", "compose", *words]
        result = CliRunner().invoke(main, options)
        Path("docker-compose.analytics.yml").write_text(result.stdout)
        services = yaml.safe_load(result.stdout)["services"] if result.exit_code == 0 else {}
        return result.exit_code, services, result.stderr

    return asked


SETTINGS: dict[str, object] = {
    "vector_listen_address": "10.0.0.5",
    "clickhouse_listen_addresses": ["10.0.0.6"],
    "clickhouse_allowed_addresses": ["10.0.0.9"],
    "grafana_listen_address": "10.0.0.7",
}
EACH = "10.0.0.5,10.0.0.6,"
PRIVATE = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,${no_proxy:-${NO_PROXY:-}}"


def lists(service: dict[str, Any]) -> tuple[str, str]:
    return service["environment"]["no_proxy"], service["environment"]["NO_PROXY"]


def test_every_service_that_gets_addresses_keeps_them_off_a_proxy(ask: Callable[..., Asked]) -> None:
    code, services, notes = ask()
    assert code == 0
    for name in cvat_env.CLIENTS:
        assert lists(services[name]) == (EACH + STOCK, EACH + STOCK)
    # Go's clients look at NO_PROXY first; the rule has traefik ask CVAT's server too
    assert lists(services["traefik"]) == (f"10.0.0.7,cvat-server,{PRIVATE}",) * 2
    assert "traefik: has no no_proxy in CVAT's files and gets one" in notes
    assert "proxy" not in str(ask("--off")[1]).lower()


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        pytest.param("{no_proxy: 'a,10.0.0.5'}", ("10.0.0.6,a,10.0.0.5",) * 2, id="an address that is there already"),
        pytest.param("['no_proxy=a', 'NO_PROXY=b']", (f"{EACH}a", f"{EACH}b"), id="a list in each spelling"),
        pytest.param("{NO_PROXY: b}", (f"{EACH}b",) * 2, id="only the great one"),
        pytest.param("[no_proxy]", (EACH + "${no_proxy:-}",) * 2, id="that of the shell"),
        pytest.param("{no_proxy: ''}", (EACH[:-1],) * 2, id="an empty one"),
        pytest.param("{no_proxy: '*'}", ("*",) * 2, id="all addresses"),
        pytest.param("{X: 1}", (EACH + "${no_proxy:-${NO_PROXY:-}}",) * 2, id="none"),
        pytest.param("{X: 1}\n    env_file: own.env", (f"{EACH}$$a,b",) * 2, id="a file's"),
    ],
)  # fmt: skip
def test_an_operator_s_own_list_is_kept(
    ask: Callable[..., Asked], stated: str, expected: tuple[str, str]
) -> None:
    Path("own.env").write_text("no_proxy='$a,b'\n")
    Path("cvat.yml").write_text(f"services:\n  cvat_server:\n    image: x\n    environment: {stated}\n")
    code, services, _ = ask("--cvat-compose", "cvat.yml")
    assert (code, lists(services["cvat_server"])) == (0, expected)


def test_what_docker_itself_keeps_off_is_kept(ask: Callable[..., Asked], tmp_path: Path) -> None:
    Path("cvat.yml").write_text(CVAT)
    mine = tmp_path / "home" / ".docker" / "config.json"
    mine.parent.mkdir(parents=True)
    mine.write_text('{"proxies": {"default": {"httpProxy": "http://p", "noProxy": "*.corp,172.20.0.0/16"}}}')
    _, services, notes = ask("--cvat-compose", "cvat.yml")
    assert lists(services["traefik"]) == ("10.0.0.7,cvat-server,*.corp,172.20.0.0/16",) * 2
    assert f"with the noProxy of {mine}" in notes
    # CVAT's own list hides docker's from its backend, with and without this override
    assert lists(services["cvat_server"]) == (EACH + STOCK,) * 2

    other = tmp_path / "other.json"
    other.write_text('{"proxies": {"default": {"noProxy": "a$b"}}}')
    _, services, notes = ask("--docker-config", str(other))
    assert lists(services["traefik"])[1] == "10.0.0.7,cvat-server,a$$b"
    assert "no_proxy" not in notes

    for text in ("[]", "{"):
        other.write_text(text)
        code, _, error = ask("--docker-config", str(other))
        assert (code, "is not docker's config.json" in error) == (2, True)


CLIENTS = """
import json, sys
import clickhouse_connect
from logstash_async.transport import HttpTransport
events, exports = sys.argv[1:]
try:
    HttpTransport(events, 9, timeout=2, ssl_enable=False).send([json.dumps({"scope": "save:job"})])
except Exception as error:
    print(type(error).__name__, error)
try:
    clickhouse_connect.get_client(host=exports, port=9, connect_timeout=2, username="cvat", password="x")
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("address", ["127.0.0.2", "::ffff:7f00:2"])
def test_cvat_s_own_clients_pass_a_proxy_by(ask: Callable[..., Asked], address: str) -> None:
    """They are handed to a company's proxy without the override, and with it they try the address itself."""
    asked: list[str] = []

    class Proxy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.send_response(403)
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    services = ask(vector_listen_address=address, clickhouse_listen_addresses=[address])[1]
    environment = services["cvat_server"]["environment"]
    hosts = (environment["DJANGO_LOG_SERVER_HOST"], environment["CLICKHOUSE_HOST"])
    with served(QuietServer(("127.0.0.1", 0), Proxy)) as proxy:
        before = {
            name: value
            for name, value in os.environ.items()
            if not name.lower().endswith(("_proxy", "proxy"))
        }
        before |= {"http_proxy": f"http://127.0.0.1:{proxy.server_port}", "no_proxy": STOCK.partition("$")[0]}
        for with_override in (False, True):
            asked.clear()
            direct = {name: environment[name].partition("$")[0] for name in ("no_proxy", "NO_PROXY")}
            done = subprocess.run(
                [sys.executable, "-c", CLIENTS, *hosts],
                env=before | (direct if with_override else {}), capture_output=True, text=True, check=False,
            )  # fmt: skip
            in_url = f"[{address}]" if ":" in address else address
            assert done.stdout.count("\n") == 2, done.stderr
            # an address in a form that a client cannot take is none of which it makes a request
            assert "parse" not in done.stdout
            assert {path.rpartition(":")[0] for path in asked} == (
                set() if with_override else {f"http://{in_url}"}
            )


def test_an_ipv6_address_stands_in_brackets_where_a_client_puts_it_into_a_url(
    ask: Callable[..., Asked],
) -> None:
    address = {"vector_listen_address": "fd00::5", "clickhouse_listen_addresses": ["fd00::5"]}
    _, services, _ = ask(**address, grafana_listen_address="fd00::5")
    environment = services["cvat_worker_export"]["environment"]
    assert environment["DJANGO_LOG_SERVER_HOST"] == "[fd00::5]"
    # the drivers before 1.8 put no brackets around it, the later ones leave them
    assert environment["CLICKHOUSE_HOST"] == "[fd00::5]"
    assert services["traefik"]["environment"]["DJANGO_LOG_VIEWER_HOST"] == "[fd00::5]"
    assert environment["no_proxy"] == f"fd00::5,[fd00::5],{STOCK}"


@pytest.mark.parametrize(
    "settings",
    [
        {"vector_listen_address": "fe80::1%eth0"},
        {"clickhouse_listen_addresses": ["fe80::1"]},
        {"grafana_listen_address": "fe80::1"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_a_link_local_address_is_refused(ask: Callable[..., Asked], settings: dict[str, object]) -> None:
    for form in ("compose", "env", "traefik"):
        code, services, error = ask("--format", form, **settings)
        assert (code, services, Path("docker-compose.analytics.yml").read_text()) == (2, {}, "")
        assert f"({next(iter(settings))!r}), a link-local address" in error
    assert ask("--off", **settings)[0] == 0


def test_the_override_is_for_the_services_of_all_files(ask: Callable[..., Asked], tmp_path: Path) -> None:
    cvat = tmp_path / "cvat"
    cvat.mkdir()
    (cvat / "docker-compose.yml").write_bytes(b"\xff\xfe" + CVAT.encode("utf-16-le"))
    (cvat / "more.yml").write_text(
        "include: [own.yml]\n"
        "services:\n"
        "  cvat_worker_new: !reset null\n"
        "  mine:\n"
        "    extends: {file: docker-compose.yml, service: cvat_server}\n"
        "    environment: {no_proxy: mine}\n"
    )
    (cvat / "own.yml").write_text(
        "services:\n"
        "  older: {image: 'cvat/server:v2.1'}\n"
        "  sender: {image: mine, environment: {DJANGO_LOG_SERVER_HOST: vector}}\n"
        "  other: {image: 'mine/server:1'}\n"
    )
    files = ("--cvat-compose", str(cvat / "docker-compose.yml"), "--cvat-compose", str(cvat / "more.yml"))
    code, services, _ = ask(*files)
    expected = {"cvat_server", "mine", "older", "sender", "traefik", "cvat_vector"}
    assert (code, set(services)) == (0, expected)
    assert lists(services["mine"]) == (f"{EACH}mine",) * 2
    (cvat / ".env").write_text("COMPOSE_FILE=docker-compose.yml:more.yml\n")
    assert set(ask("--cvat-compose", str(cvat))[1]) == expected


def test_a_backend_that_is_built_here_is_known_by_how(ask: Callable[..., Asked]) -> None:
    Path("cvat.yml").write_text(
        "services:\n"
        "  cvat_server: {build: {context: a}}\n"
        "  worker: {build: {context: a}}\n"
        "  other: {build: {context: b}}\n"
        "  db: {image: 'registry:5000/cvat/db@sha256:0'}\n"
    )
    assert set(ask("--cvat-compose", "cvat.yml")[1]) == {"cvat_server", "worker"}
    Path("more.yml").write_text(
        "services: {cvat_server: {image: 'registry:5000/cvat/server:1'}, db: {image: 'registry:5000/cvat/server'}}"
    )
    both = ("--cvat-compose", "cvat.yml", "--cvat-compose", "more.yml")
    assert set(ask(*both)[1]) == {"cvat_server", "db"}


def test_a_second_run_makes_the_same_of_its_own_override(ask: Callable[..., Asked], tmp_path: Path) -> None:
    cvat = tmp_path / "cvat"
    cvat.mkdir()
    (cvat / "docker-compose.yml").write_text(CVAT)
    first = ask("--cvat-compose", str(cvat), vector_listen_address="10.0.0.4")[1]
    shutil.copy("docker-compose.analytics.yml", cvat / "docker-compose.override.yml")
    assert "10.0.0.4" in str(first)
    assert ask("--cvat-compose", str(cvat))[1]["cvat_server"]["environment"]["no_proxy"] == EACH + STOCK


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("services: {db: {image: x}}", "has no service cvat_server"),
        ("services: {cvat_server: {environment: {A: 1}}}", "give all the files"),
        ("services:\n  cvat_server: {image: x}\n  db: 5\n", "cvat.yml: line 3: services.db is not a mapping"),
        ("include: [gone.yml]\nservices: {cvat_server: {image: x}}", "gone.yml: cannot be read"),
    ],
)
def test_what_cannot_be_understood_is_said(ask: Callable[..., Asked], text: str, reason: str) -> None:
    Path("cvat.yml").write_text(text)
    code, services, error = ask("--cvat-compose", "cvat.yml")
    assert (code, services, reason in error) == (2, {}, True), error


FORMS: list[tuple[str, dict[str, Any]]] = [
    ("", {}),
    ("--off", {}),
    ("", {"clickhouse_tls": True, "vector_listen_address": "fd00::5"}),
    ("", {"groups": topology.COMPONENTS, "gateway_listen_address": "0.0.0.0", "address": "10.0.0.7"}),
]


def test_compose_s_own_schema_takes_every_override(ask: Callable[..., Asked], tmp_path: Path) -> None:
    files = []
    for number, (option, settings) in enumerate(FORMS):
        assert ask(*option.split(), **settings)[0] == 0
        files.append(shutil.copy("docker-compose.analytics.yml", tmp_path / f"{number}.yml"))
    wrong = tmp_path / "wrong.yml"
    wrong.write_text("services: {a: {environment: 5}}")
    check = [shutil.which("check-jsonschema", path=PROGRAMS) or "", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*check, *files, wrong], capture_output=True, text=True, check=False)
    assert {line.partition("::")[0].strip() for line in done.stdout.splitlines() if "::" in line} == {
        str(wrong)
    }, done.stdout + done.stderr


@pytest.mark.parametrize(("option", "settings"), FORMS)
def test_docker_compose_itself_takes_the_override(
    ask: Callable[..., Asked], tmp_path: Path, option: str, settings: dict[str, Any]
) -> None:
    (tmp_path / "cvat.yml").write_text(CVAT)
    assert ask("--cvat-compose", "cvat.yml", *option.split(), **settings)[0] == 0
    words = [
        REAL or missing.give_up(ABSENT),
        "-f",
        "cvat.yml",
        "-f",
        "docker-compose.analytics.yml",
        "config",
        "--format",
        "json",
    ]
    shell = {"no_proxy": "corp", "CLICKHOUSE_PASSWORD": "x", "HOME": str(tmp_path)}
    done = subprocess.run(words, env=shell, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    services = json.loads(done.stdout)["services"]
    assert services["cvat_worker_new"]["environment"]["DJANGO_LOG_SERVER_HOST"] == {
        "--off": "", "": "[fd00::5]" if "clickhouse_tls" in settings else "10.0.0.5"
    }[option]  # fmt: skip
    kept = services["cvat_server"]["environment"]["no_proxy"]
    assert kept.endswith("clickhouse,grafana,vector,nuclio,opa,corp")
    assert ("10.0.0.6" in kept, services["cvat_vector"]["deploy"]["replicas"]) == (not option, 0)


def test_the_docker_compose_of_this_machine_has_the_last_word(
    ask: Callable[..., Asked], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A substitute for `docker compose`, which refuses what another word in the file says."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(
        '#!/bin/sh\n[ "$2" = version ] && { echo 5.6.1; exit 0; }\n'
        'echo "$@" > asked\ncat > given\ngrep -q broken cvat.yml || exit 0\necho "no such thing" >&2; exit 1\n'
    )
    program.chmod(0o755)
    monkeypatch.setattr("cvat_analytics.gateway.compose_check._PROGRAMS", (("docker", "compose"),))
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    Path("cvat.yml").write_text(CVAT)
    assert "Docker Compose" not in ask("--cvat-compose", "cvat.yml")[2]
    assert Path("asked").read_text() == "compose -f cvat.yml -f - --profile * config --quiet\n"
    assert Path("given").read_text() == Path("docker-compose.analytics.yml").read_text()
    Path("cvat.yml").write_text(f"# broken{CVAT}")
    assert (
        "Note: Docker Compose does not take it after these files: no such thing."
        in ask("--cvat-compose", "cvat.yml")[2].splitlines()
    )


@pytest.mark.parametrize("option", [("--cvat-compose", __file__), ("--docker-config", __file__)])
def test_options_of_the_override_go_with_no_other_format(
    ask: Callable[..., Asked], option: tuple[str, str]
) -> None:
    assert ask("--format", "env", *option)[0] == 2
