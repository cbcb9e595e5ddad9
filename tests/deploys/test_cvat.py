"""A deploy remembers what CVAT was told, and says what of it is new."""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path

import pytest

from tests.deploys.conftest import Deploy

NOTE = "/var/lib/cvat-analytics/cvat-environment"
SETTINGS = {"vector_listen_address": "10.0.0.5", "vector_port": 9282}


@pytest.fixture(autouse=True)
def _plugin_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvat_analytics.plugin.archive", lambda settings, architecture: b"archive")


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    # twice: pyinfra asks an operation what it would do, and then to do it
    return list(dict.fromkeys(re.findall(r"CVAT setting: (.*)", caplog.text)))


def test_a_first_deploy_says_everything(run_deploy: Deploy, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run = run_deploy(settings=SETTINGS)
    assert "DJANGO_LOG_SERVER_PORT=9282" in said(caplog)
    assert "CLICKHOUSE_USER=cvat" in said(caplog)
    assert len(run.matching(f"cat > {NOTE}")) == 1
    assert run.position(f"cat > {NOTE}") > run.position("systemctl restart vector"), "not before it is true"
    assert [value for value in run.secrets.values() if value in caplog.text] == []


def test_a_later_one_says_what_has_changed(run_deploy: Deploy, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run_deploy(settings=SETTINGS)
    before = [line.replace("9282", "8282") for line in said(caplog)]
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


def test_a_rule_of_traefiks_that_has_changed_is_to_be_printed_again(
    run_deploy: Deploy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run_deploy(settings=SETTINGS)
    before = said(caplog)
    assert [line.partition("=")[0] for line in before if "--format traefik" in line] == ["analytics.yml"]
    caplog.clear()
    run_deploy(settings=SETTINGS | {"grafana_port": 3001}, answers={f"cat {NOTE}": before})
    assert [line.partition("=")[0] for line in said(caplog)] == ["DJANGO_LOG_VIEWER_PORT", "analytics.yml"]
    caplog.clear()
    # CVAT's own rule does
    run_deploy(settings=SETTINGS | {"grafana_serve_from_sub_path": False}, answers={f"cat {NOTE}": before})
    assert said(caplog) == []


def test_an_authority_that_cvat_does_not_know_yet_is_told_of(
    run_deploy: Deploy, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.INFO)
    run_deploy(settings=SETTINGS)
    before = said(caplog)
    caplog.clear()
    run_deploy(settings=SETTINGS | {"clickhouse_tls": True}, answers={f"cat {NOTE}": before})
    changed = said(caplog)
    assert [line.partition("=")[0] for line in changed] == ["CLICKHOUSE_PORT", "cvat-analytics-ca.pem"]
    caplog.clear()
    # lost, and made anew
    shutil.rmtree(tmp_path / "certificates")
    known = [line for line in before if "CLICKHOUSE_PORT" not in line] + [
        line.partition("  (was")[0] for line in changed
    ]
    run_deploy(settings=SETTINGS | {"clickhouse_tls": True}, answers={f"cat {NOTE}": known})
    assert [line.partition("=")[0] for line in said(caplog)] == ["cvat-analytics-ca.pem"]
