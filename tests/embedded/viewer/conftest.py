"""A viewer over a small engine, started as the stack starts it: a process that reads what was rendered for Grafana."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cvat_analytics.base.project import ROOT
from cvat_analytics.rendering.context import Context
from cvat_analytics.rendering.render import grafana_files
from tests.browser import Page, chromium
from tests.clickhouse import Store
from tests.dashboards.events import team
from tests.waiting import PATIENCE, until


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    text: str
    headers: Any


def get(url: str, login: tuple[str, str] | None = None) -> Answer:
    """Return the answer, whatever its status; redirects are followed."""
    request = urllib.request.Request(url)
    if login:
        request.add_header("Authorization", "Basic " + base64.b64encode(":".join(login).encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return Answer(answer.status, answer.read().decode(), answer.headers)
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.read().decode(), error.headers)


@dataclass(frozen=True)
class Viewer:
    """A running viewer."""

    context: Context
    process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        """Return the address without the sub-path."""
        return f"http://127.0.0.1:{self.context.settings.grafana_port}"

    @property
    def login(self) -> tuple[str, str]:
        """Return the administrator's name and password."""
        return "admin", self.context.secrets["grafana_admin"]


def write_configuration(context: Context) -> Path:
    """Write what Grafana would find on a host, the credentials as systemd lays them out, and return the ini file."""
    for file in grafana_files(context):
        if file.path.startswith(context.paths.root):
            path = Path(file.path)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file.content)
    credentials = Path(context.paths.grafana_credentials)
    credentials.mkdir(parents=True, exist_ok=True)
    for secret in Path(context.paths.secrets, "grafana-server").iterdir():
        (credentials / secret.name).write_text(secret.read_text() + "\n")
    return Path(context.paths.grafana_config) / "cvat-analytics.ini"


def start(ini: Path, *options: str) -> subprocess.Popen[str]:
    """Start a viewer; its messages are in `stderr`."""
    return subprocess.Popen(
        [sys.executable, "-m", "cvat_analytics.embedded.viewer", f"--config={ini}", *options],
        stderr=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@contextmanager
def serving(context: Context, ini: Path, options: Sequence[str]) -> Iterator[Viewer]:
    """Run a viewer until it answers, and end it afterwards."""
    process = start(ini, *options)
    viewer = Viewer(context, process)

    def answers() -> bool:
        assert process.poll() is None, process.communicate()[1]
        with urllib.request.urlopen(f"{viewer.url}/api/health", timeout=10):
            return True

    try:
        until(answers, "the viewer answers", despite=OSError)
        yield viewer
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture(scope="session")
def store(shared_engine: Store) -> Iterator[Store]:
    """Return an engine with the team's events."""
    with shared_engine.another() as engine:
        engine.insert(team())
        # otherwise whoever looks before ClickHouse has computed by itself sees no working time
        engine.refresh()
        yield engine


@pytest.fixture(scope="session")
def ini(store: Store) -> Path:
    """Return the rendered ini file."""
    return write_configuration(store.context)


@pytest.fixture(scope="session")
def viewer(store: Store, ini: Path) -> Iterator[Viewer]:
    """Return a viewer whose pages are open, as in the embedded stack."""
    with serving(
        store.context, ini, [f"--clickhouse-http-port={store.http_port}", "--no-login"]
    ) as running_viewer:
        yield running_viewer


@pytest.fixture(scope="session")
def page(viewer: Viewer) -> Iterator[Page]:
    """Return the viewer in a browser."""
    with chromium() as browser:
        yield Page(browser, f"{viewer.url}/analytics")
