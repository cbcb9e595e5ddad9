"""A deploy remembers what CVAT was told, and says what of it is new."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from cvat_analytics.front_door import cvat_env
from tests.deploys.conftest import Deploy

NOTE = "/var/lib/cvat-analytics/cvat-environment"
SETTINGS = {"vector_listen_address": "10.0.0.5", "vector_port": 9282}


@pytest.fixture(autouse=True)
def _plugin_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvat_analytics.plugin.archive", lambda settings, architecture: b"archive")


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    # twice: pyinfra asks an operation what it would do, and then to do it
    return list(dict.fromkeys(re.findall(r"CVAT setting: (.*)", caplog.text)))


def files(caplog: pytest.LogCaptureFixture) -> list[str]:
    return list(dict.fromkeys(re.findall(r"CVAT file: (.*)", caplog.text)))


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return what each deploy has found that CVAT has to be told, line by line: what it notes on the host."""
    found: list[list[str]] = []
    as_env = cvat_env.as_env

    def noted(values: Mapping[str, str]) -> str:
        found.append(as_env(values).splitlines())
        return as_env(values)

    monkeypatch.setattr(cvat_env, "as_env", noted)
    return found


def test_a_first_deploy_says_everything(run_deploy: Deploy, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run = run_deploy(settings=SETTINGS)
    assert "DJANGO_LOG_SERVER_PORT=9282" in said(caplog)
    assert "CLICKHOUSE_USER=cvat" in said(caplog)
    assert len(run.matching(f"cat > {NOTE}")) == 1
    assert run.position(f"cat > {NOTE}") > run.position("systemctl restart vector"), "not before it is true"
    assert [value for value in run.secrets.values() if value in caplog.text] == []


def test_a_later_one_says_what_has_changed(
    run_deploy: Deploy, caplog: pytest.LogCaptureFixture, notes: list[list[str]]
) -> None:
    caplog.set_level(logging.INFO)
    run_deploy(settings=SETTINGS)
    before = [line.replace("9282", "8282") for line in notes[-1]]
    caplog.clear()
    run = run_deploy(settings=SETTINGS, answers={f"cat {NOTE}": before})
    assert said(caplog) == ["DJANGO_LOG_SERVER_PORT=9282  (was 8282)"]
    caplog.clear()
    run = run_deploy(
        settings=SETTINGS, answers={f"cat {NOTE}": [line.replace("8282", "9282") for line in before]}
    )
    assert said(caplog) == []
    assert run.matching(f"cat > {NOTE}") == []


def test_only_the_host_of_the_store_remembers_it(run_deploy: Deploy) -> None:
    run = run_deploy(
        groups={"clickhouse": ["@fake/a"], "vector": ["@fake/b"], "grafana": ["@fake/b"]},
        host_settings={"@fake/a": {"address": "10.0.0.5"}, "@fake/b": {"address": "10.0.0.6"}},
    )
    assert run.matching(NOTE, "@fake/b") == []
    assert run.matching(f"cat > {NOTE}") != []


def test_a_rule_of_traefiks_that_has_changed_is_told_of(
    run_deploy: Deploy, caplog: pytest.LogCaptureFixture, notes: list[list[str]]
) -> None:
    caplog.set_level(logging.INFO)
    run_deploy(settings=SETTINGS)
    before = notes[-1]
    assert files(caplog) == ["analytics.yml is new"]
    caplog.clear()
    run_deploy(settings=SETTINGS | {"grafana_port": 3001}, answers={f"cat {NOTE}": before})
    assert said(caplog) == ["DJANGO_LOG_VIEWER_PORT=3001  (was 3000)"]
    assert files(caplog) == ["analytics.yml has changed"]
    caplog.clear()
    # CVAT's own rule does
    run_deploy(settings=SETTINGS | {"grafana_serve_from_sub_path": False}, answers={f"cat {NOTE}": before})
    assert said(caplog) == files(caplog) == []


def test_an_authority_that_cvat_does_not_know_yet_is_told_of(
    run_deploy: Deploy, caplog: pytest.LogCaptureFixture, notes: list[list[str]], tmp_path: Path
) -> None:
    caplog.set_level(logging.INFO)
    run_deploy(settings=SETTINGS)
    before = notes[-1]
    caplog.clear()
    run_deploy(settings=SETTINGS | {"clickhouse_tls": True}, answers={f"cat {NOTE}": before})
    assert [line.partition("=")[0] for line in said(caplog)] == ["CLICKHOUSE_PORT"]
    assert files(caplog) == ["cvat-analytics-ca.pem is new"]
    caplog.clear()
    # lost, and made anew
    known = notes[-1]
    shutil.rmtree(tmp_path / "certificates")
    run_deploy(settings=SETTINGS | {"clickhouse_tls": True}, answers={f"cat {NOTE}": known})
    assert said(caplog) == []
    assert files(caplog) == ["cvat-analytics-ca.pem has changed"]
