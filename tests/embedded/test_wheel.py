"""The wheel, installed into an environment of its own: everything is in it that the commands need, and nothing lies about."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cvat_analytics.base.project import ROOT
from cvat_analytics.config.validation import validate
from cvat_analytics.embedded import engine
from cvat_analytics.rendering import plugin
from tests.clickhouse import free_row
from tests.deploys.conftest import DEBIAN_12, OFFERS

UV = Path(sys.executable).with_name("uv")


def run(*command: object, exit_code: int = 0, **environment: str) -> str:
    """Run a command away from the checkout and return what it printed, having checked how it ended."""
    done = subprocess.run(
        list(map(str, command)),
        cwd="/",
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == exit_code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an environment with the wheel and the packages of the lock file, and nothing of the checkout."""
    place = tmp_path_factory.mktemp("wheel")
    run(UV, "build", "--wheel", "--no-build-isolation", "-p", sys.executable, "-o", place / "dist", ROOT)
    (wheel,) = (place / "dist").glob("*.whl")
    run(UV, "venv", "-q", "-p", sys.executable, place / "venv")
    python = place / "venv" / "bin" / "python"
    run(UV, "pip", "install", "-q", "-p", python, "--require-hashes", "-r", ROOT / "requirements.lock")
    run(UV, "pip", "install", "-q", "-p", python, "--no-deps", wheel)
    return place / "venv"


def test_nothing_but_the_library_is_at_the_top_of_site_packages(environment: Path) -> None:
    (installed,) = environment.glob("lib/python*/site-packages/cvat_analytics-*.dist-info/RECORD")
    tops = {line.split("/")[0] for line in installed.read_text().splitlines()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"..", "cvat_analytics"}
    assert [line for line in installed.read_text().splitlines() if line.startswith("..")] == [
        line for line in installed.read_text().splitlines() if line.startswith("../../../bin/cvat-analytics,")
    ]


def test_an_inventory_to_start_from_is_written_once(environment: Path, tmp_path: Path) -> None:
    program = environment / "bin" / "cvat-analytics"
    text = run(program, "init", tmp_path / "analytics")
    assert text.splitlines()[-1] == f"  {program} deploy --inventory {tmp_path}/analytics/hosts.py --dry"
    assert (tmp_path / "analytics/hosts.py").read_text() == (ROOT / "inventory/hosts.py").read_text()
    settings = tmp_path / "analytics/group_data/all.py"
    settings.write_text("mine = True\n")
    run(program, "init", tmp_path / "analytics", exit_code=2)
    assert settings.read_text() == "mine = True\n"


def test_a_deploy_of_the_wheel_finds_its_templates_its_sql_and_its_dashboards(
    environment: Path, tmp_path: Path
) -> None:
    answers = {
        "os-release": DEBIAN_12.splitlines(),
        "apt-cache": OFFERS.splitlines(),
        # where it is there already, it need not be fetched
        f"{plugin.NAME}.sha256": [plugin.sha256(validate({}, where="test"), "amd64")],
    }
    data = {"fake_responses": answers, "fake_delay": 0, "fake_delay_jitter": 0, "_sudo": False}
    (tmp_path / "hosts.py").write_text(f"clickhouse = vector = grafana = [('@fake/a', {data!r})]\n")
    program = environment / "bin" / "cvat-analytics"
    shown = run(program, "deploy", "--inventory", tmp_path / "hosts.py", "--dry")
    for change in (
        "clickhouse: configuration",
        "clickhouse: schema",
        "vector: configuration",
        "grafana: configuration",
    ):
        assert f"would change  {change}  on @fake/a" in shown


@pytest.fixture
def directory(environment: Path, tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "stack"
    run(environment / "bin" / "cvat-analytics", "down", "--dir", tmp_path / "stack")


def test_the_stack_of_the_wheel_runs(environment: Path, directory: Path) -> None:
    program = environment / "bin" / "cvat-analytics"
    # fetching it is the business of the test below: it is large
    library: dict[str, Any] = {"CVAT_ANALYTICS_ENGINE": str(engine.library())}
    up = run(program, "up", "--dir", directory, "--port-base", free_row(), "--detach", "--json", **library)
    page = f"{json.loads(up)['viewer']['http']}/public/echarts.js"
    assert "PASS grafana-datasource" in run(program, "smoke", "--dir", directory)
    run(
        environment / "bin" / "python",
        "-c",
        f"import httpx; httpx.get({page!r}, trust_env=False).raise_for_status()",
    )


def test_the_engine_is_fetched_by_its_lock_file_when_it_is_first_needed(
    environment: Path, tmp_path: Path
) -> None:
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    library = f"node_modules/{engine.LIBRARY_PACKAGE}"
    # a substitute: it shows what npm is asked for, and when
    npm.write_text(
        f'#!/bin/sh\n[ -e ok ] || [ -e "$FAIL" ] && exit 1\ntest -s package-lock.json && mkdir -p {library} && touch {library}/libchdb.so && echo "$@"\n'
    )
    npm.chmod(0o755)
    ask = "from cvat_analytics.embedded import engine; print(engine.command('x')[2], engine.library())"
    python = environment / "bin" / "python"
    where: dict[str, Any] = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": f"{npm.parent}:/usr/bin:/bin"}
    (tmp_path / "fail").touch()
    run(python, "-c", ask, exit_code=1, FAIL=str(tmp_path / "fail"), **where)
    assert list((tmp_path / "cache" / "cvat-analytics").iterdir()) == [], "nothing half-done stays"
    asked, found = run(python, "-c", ask, FAIL="", **where).splitlines()
    assert asked == "ci --silent --no-audit --no-fund --ignore-scripts"
    assert found.endswith(f"/{library}/libchdb.so")
    assert run(python, "-c", ask, FAIL="", **where).splitlines() == [found], "once"
