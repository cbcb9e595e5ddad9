"""A proxy in the environment is never asked for an address of the stack itself, by whatever command and whichever client."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from socketserver import BaseRequestHandler

import pytest

from cvat_analytics.base.errors import UnreachableError
from cvat_analytics.base.project import LIBRARY, ROOT
from cvat_analytics.checks import health
from cvat_analytics.connect import remote
from cvat_analytics.dashboards import exchange
from cvat_analytics.dashboards.grafana import Grafana
from cvat_analytics.embedded import stack
from cvat_analytics.pipeline import events
from tests import patient
from tests.clickhouse import context
from tests.connect.test_remote import inventory
from tests.dashboards.grafana import running as running_grafana
from tests.serving import QuietServer, served
from tests.ssh_server import ssh_server

PROGRAM = Path(sys.executable).with_name("cvat-analytics")
TO_THE_PROXY = ("http_proxy", "https_proxy", "all_proxy")


class Hangs(BaseRequestHandler):
    """Counts who comes, and hangs up."""

    def handle(self) -> None:
        self.server.seen.append(self.request.recv(200).decode(errors="replace").partition("\r")[0])  # type: ignore[attr-defined]


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Have a proxy in the environment, in every spelling, and yield the first lines of what it is asked."""
    server = QuietServer(("127.0.0.1", 0), Hangs)
    server.seen = seen = list[str]()  # type: ignore[attr-defined]
    with served(server):
        for name in TO_THE_PROXY:
            for spelling in (name, name.upper()):
                monkeypatch.setenv(spelling, f"http://127.0.0.1:{server.server_port}")
        # what companies set; it names none of our addresses the way in which clients read it
        monkeypatch.setenv("no_proxy", "localhost,127.0.0.0/8")
        monkeypatch.delenv("NO_PROXY", raising=False)
        yield seen


def run(*arguments: object, code: int = 0) -> str:
    """Run a command in a process of its own and return its output."""
    program = patient.COMMAND if arguments[0] in ("smoke", "status") else (PROGRAM,)
    done = subprocess.run(
        [*program, *map(str, arguments)], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == code, (arguments, done.stdout, done.stderr)
    return done.stdout


def test_the_proxy_of_these_tests_is_asked_by_whoever_obeys_the_environment(proxy: list[str]) -> None:
    with pytest.raises(OSError, match=r"."):
        # not `urlopen`: it keeps the proxies that its first call in this process has found
        urllib.request.build_opener().open("http://127.0.0.1:1/", timeout=10)
    assert proxy == ["GET http://127.0.0.1:1/ HTTP/1.1"]


def test_an_embedded_stack_is_asked_directly_by_every_command(proxy: list[str], tmp_path: Path) -> None:
    directory = tmp_path / "stack"
    to = ("--dir", directory)
    first = json.loads(run("up", *to, "--detach", "--json"))
    try:
        for pid in first["pids"].values():
            inherited = Path(f"/proc/{pid}/environ").read_text().lower()
            assert "_proxy=" not in inherited, "Vector would insert through it"
        assert json.loads(run("up", *to, "--detach", "--json")) == first, "what is healthy goes on running"
        parts = json.loads(run("status", *to, "--json"))["parts"]
        assert [part["state"] for part in parts] == ["running"] * 4
        assert "FAIL" not in run("smoke", *to)
        events.send(
            [{"scope": "load:cvat", "timestamp": "never"}], *stack.find(directory).access().vector.address
        )
        deadline = time.monotonic() + 120
        while not json.loads(run("dead-letters", "list", *to, "--json"))["letters"]:
            assert time.monotonic() < deadline
        assert json.loads(run("dead-letters", "retry", *to, "--json", code=1))["failed"] == 1
        run("dead-letters", "purge", *to, "--all", "--yes")
        run("replay", *to, "--since", "2020-01-01")
        run("export", *to, "--output", tmp_path / "events.csv")
        run("working-time", "compare", *to)
        run("working-time", "refresh", *to)
        run("secrets", "rotate", "grafana", *to)
        run("import", *to, "--from", first["clickhouse"]["http"], "--user", "admin", code=3)
        # there is no Grafana to pull from: the viewer has said so itself
        done = subprocess.run(
            [PROGRAM, "dashboards", "pull", *to], capture_output=True, text=True, check=False
        )
        assert "this stack runs the viewer" in done.stderr
    finally:
        run("down", *to)
    assert proxy == []


def test_grafana_is_asked_directly_for_its_dashboards(proxy: list[str], tmp_path: Path) -> None:
    with running_grafana(context(tmp_path)) as access:
        grafana = Grafana(access)
        site = exchange.site_of(access.grafana.settings)
        assert list(exchange.push(grafana, site, None)) != []
        assert list(exchange.pull(grafana, site, None)) != []
    assert proxy == []


def test_hosts_are_asked_through_ssh_only(proxy: list[str], tmp_path: Path) -> None:
    with ssh_server() as server, remote.reach(inventory(tmp_path, server)) as access:
        for part in ("clickhouse", "vector", "grafana"):
            assert health.of(access, part).state == "not answering"
        for ask in (
            access.client,
            lambda: Grafana(access),
            lambda: events.send([{}], *access.vector.address),
        ):
            with pytest.raises(UnreachableError):
                ask()
        assert server.forwarded >= 6
    assert proxy == []


def test_whoever_makes_a_client_says_whether_the_environment_has_a_part_in_it() -> None:
    clients, wrong = [], []
    for file in [
        *LIBRARY.rglob("*.py"),
        *(ROOT / "scripts").rglob("*.py"),
        *(ROOT / "deploys").rglob("*.py"),
    ]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("httpx.Client", "httpx.AsyncClient"):
                clients.append(file)
                if not any(
                    each.arg == "trust_env" and ast.unparse(each.value) == "False" for each in node.keywords
                ):
                    wrong.append(f"{file.relative_to(ROOT)}:{node.lineno}: say trust_env=False")
    assert clients
    assert wrong == []
