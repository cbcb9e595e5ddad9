"""Alerts on a host: turned on they are a file, turned off the file says that they are to go, and never had there is none."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pyinfra.api.exceptions import PyinfraError

from cvat_analytics.credentials import secrets
from deploys import operations

FILE = "/etc/grafana/provisioning/alerting/cvat-analytics.yaml"
PASSWORD = "/etc/cvat-analytics/secrets/grafana-server/smtp_password"
MAIL = {"alert_emails": ["ops@example.org"], "smtp_host": "mail.example.org:587", "smtp_user": "grafana"}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the files that a deploy sends, by path."""
    found: dict[str, str] = {}
    archive = operations.packed

    def noted(files: Any) -> str:
        found.update({file.path: file.content for file in files})
        return archive(files)

    monkeypatch.setattr(operations, "packed", noted)
    return found


def _there(*paths: str) -> dict[str, list[str]]:
    """Return what a host answers that has the files, in whatever form."""
    return {FILE: [f"{'0' * 64} 640 root grafana 1793000000 {path}" for path in paths]}


def test_never_turned_on_there_is_no_file(run_deploy: Any, sent: dict[str, str]) -> None:
    run = run_deploy()
    assert FILE not in sent
    assert run.matching(f"rm -f .*{re.escape(FILE)}") == []


def test_turned_on(run_deploy: Any, sent: dict[str, str]) -> None:
    run = run_deploy(settings={"alerts": True})
    assert "isPaused: false" in sent[FILE]
    assert "deleteRules" not in sent[FILE]
    assert run.position("rm -f /var/lib/cvat-analytics/grafana-server.applied") < run.position(
        "systemctl restart grafana-server"
    )


def test_turned_off_the_file_takes_the_rules_out_and_the_password_goes(
    run_deploy: Any, sent: dict[str, str]
) -> None:
    run = run_deploy(settings=MAIL, answers=_there(FILE, PASSWORD))
    assert "isPaused: false" not in sent[FILE]
    assert "deleteRules" in sent[FILE]
    (removal,) = run.matching(f"rm -f .*{re.escape(PASSWORD)}")
    assert run.commands["@fake/a"].index(removal) < run.position("systemctl restart grafana-server")


def test_a_missing_password_stops_the_run_before_the_first_change(run_deploy: Any) -> None:
    with pytest.raises(
        PyinfraError, match=r"the secrets file has no smtp_password.*secrets set smtp_password"
    ):
        run_deploy(settings={"alerts": True, **MAIL})


def test_a_given_password_reaches_the_unit_and_no_command(
    run_deploy: Any, sent: dict[str, str], tmp_path: Any
) -> None:
    secrets.give(tmp_path / "secrets.json", "smtp_password", "pass;word#1")
    run = run_deploy(settings={"alerts": True, **MAIL})
    assert sent[PASSWORD] == "pass;word#1"
    text = "\n".join(run.commands["@fake/a"])
    assert "pass;word#1" not in text
