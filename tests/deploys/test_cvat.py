"""A deploy remembers what CVAT was told, and says what of it is new."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from cvat_analytics.gateway import cvat_env
from deploys.report import FILE
from tests.deploys.conftest import Deploy

NOTE = "/var/lib/cvat-analytics/cvat-environment"
SETTINGS = {"vector_listen_address": "10.0.0.5", "vector_port": 9282}


class Report:
    """What the deploys of a test have reported (deploys/report.py)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clear()

    def clear(self) -> None:
        self.path.write_text("")

    def _lines(self, what: str) -> list[dict[str, str]]:
        # twice: pyinfra asks an operation what it would do, and then to do it
        lines = [json.loads(line) for line in dict.fromkeys(self.path.read_text().splitlines())]
        return [line for line in lines if line["what"] == what]

    @property
    def settings(self) -> list[str]:
        return [line["text"] for line in self._lines("cvat setting")]

    @property
    def files(self) -> list[str]:
        return [f"{line['name']} {line['change']}" for line in self._lines("cvat file")]


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Report:
    """Return the report of this test's deploys, which is asked for as `cvat-analytics deploy` asks for it."""
    monkeypatch.setenv(FILE, str(tmp_path / "report"))
    return Report(tmp_path / "report")


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return what each deploy has found that CVAT has to be told, line by line: what it notes on the host."""
    lines: list[list[str]] = []
    as_env = cvat_env.as_env

    def noted(values: Mapping[str, str]) -> str:
        lines.append(as_env(values).splitlines())
        return as_env(values)

    monkeypatch.setattr(cvat_env, "as_env", noted)
    return lines


def test_a_first_deploy_says_everything(run_deploy: Deploy, report: Report) -> None:
    run = run_deploy(settings=SETTINGS)
    assert "DJANGO_LOG_SERVER_PORT=9282" in report.settings
    assert "CLICKHOUSE_USER=cvat" in report.settings
    assert len(run.matching(f"cat > {NOTE}")) == 1
    assert run.position(f"cat > {NOTE}") > run.position("systemctl restart vector"), "not before it is true"
    assert [value for value in run.secrets.values() if value in report.path.read_text()] == []


def test_a_later_one_says_what_has_changed(
    run_deploy: Deploy, report: Report, notes: list[list[str]]
) -> None:
    run_deploy(settings=SETTINGS)
    before = [line.replace("9282", "8282") for line in notes[-1]]
    report.clear()
    run = run_deploy(settings=SETTINGS, answers={f"cat {NOTE}": before})
    assert report.settings == ["DJANGO_LOG_SERVER_PORT=9282  (was 8282)"]
    report.clear()
    run = run_deploy(
        settings=SETTINGS, answers={f"cat {NOTE}": [line.replace("8282", "9282") for line in before]}
    )
    assert report.settings == []
    assert run.matching(f"cat > {NOTE}") == []


def test_only_the_host_of_the_store_remembers_it(run_deploy: Deploy) -> None:
    run = run_deploy(
        groups={"clickhouse": ["@fake/a"], "vector": ["@fake/b"], "grafana": ["@fake/b"]},
        host_settings={"@fake/a": {"address": "10.0.0.5"}, "@fake/b": {"address": "10.0.0.6"}},
    )
    assert run.matching(NOTE, "@fake/b") == []
    assert run.matching(f"cat > {NOTE}") != []


def test_a_rule_of_traefiks_that_has_changed_is_told_of(
    run_deploy: Deploy, report: Report, notes: list[list[str]]
) -> None:
    run_deploy(settings=SETTINGS)
    before = notes[-1]
    assert report.files == ["analytics.yml is new"]
    report.clear()
    run_deploy(settings=SETTINGS | {"grafana_port": 3001}, answers={f"cat {NOTE}": before})
    assert report.settings == ["DJANGO_LOG_VIEWER_PORT=3001  (was 3000)"]
    assert report.files == ["analytics.yml has changed"]
    report.clear()
    # CVAT's own rule does
    run_deploy(settings=SETTINGS | {"grafana_serve_from_sub_path": False}, answers={f"cat {NOTE}": before})
    assert report.settings == report.files == []


def test_an_authority_that_cvat_does_not_know_yet_is_told_of(
    run_deploy: Deploy, report: Report, notes: list[list[str]], tmp_path: Path
) -> None:
    run_deploy(settings=SETTINGS)
    before = notes[-1]
    report.clear()
    run_deploy(settings=SETTINGS | {"clickhouse_tls": True}, answers={f"cat {NOTE}": before})
    assert [line.partition("=")[0] for line in report.settings] == ["CLICKHOUSE_PORT"]
    assert report.files == ["cvat-analytics-ca.pem is new"]
    report.clear()
    # lost, and made anew
    known = notes[-1]
    shutil.rmtree(tmp_path / "certificates")
    run_deploy(settings=SETTINGS | {"clickhouse_tls": True}, answers={f"cat {NOTE}": known})
    assert report.settings == []
    assert report.files == ["cvat-analytics-ca.pem has changed"]
