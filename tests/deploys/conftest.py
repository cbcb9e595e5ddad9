"""A host that pyinfra's fake connector stands for: it answers facts, and records the commands."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api import Config, Inventory, State
from pyinfra.api.connect import connect_all
from pyinfra.api.deploy import add_deploy, deploy
from pyinfra.api.operations import run_ops
from pyinfra.context import ctx_inventory

from cvat_analytics.base.project import ROOT
from cvat_analytics.credentials import secrets

DEBIAN_12 = """os_id=debian
os_version=12
os_name=Debian GNU/Linux 12 (bookworm)
architecture=amd64
memory=4294967296
free_disk=107374182400
cpu_flags= fpu sse4_2 avx2
uid=0
systemd=yes"""

OFFERS = """offers clickhouse-common-static 26.8.19.9
offers clickhouse-server 26.8.19.9
offers clickhouse-client 26.8.19.9
offers vector 0.58.0-1
offers grafana 13.2.3"""


@dataclass
class Run:
    """What a deploy did to its fake hosts."""

    commands: dict[str, list[str]]
    failed: set[str]
    secrets: secrets.Secrets

    def matching(self, pattern: str, host: str = "@fake/a") -> list[str]:
        """Return the host's commands that match `pattern`."""
        return [command for command in self.commands[host] if re.search(pattern, command)]

    def position(self, pattern: str, host: str = "@fake/a") -> int:
        """Return where the first command that matches `pattern` stands."""
        return next(
            number for number, command in enumerate(self.commands[host]) if re.search(pattern, command)
        )


Deploy = Callable[..., Run]


@pytest.fixture
def run_deploy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deploy:
    """Return a function that runs the whole deploy.py against fake hosts.

    `groups`: component to hosts; `settings`: for all hosts; `host_settings`: by host; `answers`: command part to output;
    `limit`: the hosts that it comes to.
    """
    monkeypatch.setattr("sys.argv", ["pyinfra", str(tmp_path / "hosts.py"), "deploy.py"])
    secrets.init(tmp_path / "secrets.json")
    for archive in ("events_api_archive", "plugin"):
        monkeypatch.setattr(f"cvat_analytics.rendering.{archive}.archive", lambda *about: b"archive")
    monkeypatch.setattr("cvat_analytics.rendering.plugin.checked", lambda *about: (b"zip", "test"))
    # here one host follows another, in whatever order, and nobody else deploys to them
    monkeypatch.setattr("deploys.lock.take", lambda host: None)

    def run(
        groups: dict[str, list[str]] | None = None,
        settings: dict[str, Any] | None = None,
        host_settings: dict[str, dict[str, Any]] | None = None,
        answers: dict[str, Any] | None = None,
        limit: list[str] | None = None,
    ) -> Run:
        groups = groups or {name: ["@fake/a"] for name in ("clickhouse", "vector", "grafana")}
        names = sorted({name for hosts in groups.values() for name in hosts})
        usual = {
            "os-release": DEBIAN_12.splitlines(),
            "apt-cache": OFFERS.splitlines(),
            # a ClickHouse that is new
            "FORMAT TSV; SELECT": ["applied"],
        }
        responses = (answers or {}) | {
            part: text for part, text in usual.items() if part not in (answers or {})
        }
        data = {
            "fake_responses": responses,
            "fake_delay": 0,
            "fake_delay_jitter": 0,
            # nobody reaches them, wherever they listen; test_exposure.py has what is refused without
            "open_to_network": ["clickhouse", "vector", "grafana", "events_api"],
            **(settings or {}),
        }
        hosts = [(name, (host_settings or {}).get(name, {})) for name in names]
        inventory = Inventory((hosts, data), **{group: (members, {}) for group, members in groups.items()})
        limited = [inventory.get_host(name) for name in limit] if limit else None
        state = State(inventory, Config(FAIL_PERCENT=0), initial_limit=limited)
        connect_all(state)

        @deploy("everything")
        def everything() -> None:
            runpy.run_path(str(ROOT / "deploy.py"))

        with ctx_inventory.use(inventory):
            add_deploy(state, everything)
            run_ops(state)
        return Run(
            {host.name: list(host.connector.executed_commands) for host in inventory},  # type: ignore[attr-defined]
            {host.name for host in state.failed_hosts},
            secrets.load(tmp_path / "secrets.json"),
        )

    return run
