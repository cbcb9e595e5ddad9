"""Alerts on a real host: turned on by settings and a password, turned off by one line, and never more than that."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from .command import PROGRAM, cvat_analytics, deploy
from .host import Host

RULES = "/etc/grafana/provisioning/alerting/cvat-analytics.yaml"
PASSWORD = "/etc/cvat-analytics/secrets/grafana-server/smtp_password"
CREDENTIAL = "/run/credentials/grafana-server.service/smtp_password"
MAIL = {"alert_emails": ["ops@example.org"], "smtp_host": "127.0.0.1:25", "smtp_user": "grafana"}


def test_alerts_are_turned_on_and_off_by_one_line(
    deployed_host: Host, inventory: Callable[..., Path]
) -> None:
    host = deployed_host
    assert host.run(f"test -e {RULES}", check=False).exit_code == 1

    path = inventory(host, alerts=True, **MAIL)
    refused = cvat_analytics("deploy", "--inventory", path)
    assert (refused.exit_code, "secrets set smtp_password" in refused.text) == (2, True)
    give: list[str | Path] = [PROGRAM, "secrets", "set", "smtp_password", "--inventory", path]
    subprocess.run(give, input="mail;pass#1\n", text=True, check=True, capture_output=True)
    outcome = deploy(path, "-v", "--diff")
    assert "mail;pass#1" not in outcome.text
    assert "isPaused: false" in host.run(f"cat {RULES}").output
    assert host.run(f"stat -c '%a %U' {PASSWORD}").output.split() == ["600", "root"]
    assert host.run(f"cat {CREDENTIAL}").output == "mail;pass#1"
    assert "password = $__file{" + CREDENTIAL + "}" in host.run("cat /etc/grafana/cvat-analytics.ini").output

    path = inventory(host, alerts=False, **MAIL)
    deploy(path)
    assert "deleteRules:" in host.run(f"cat {RULES}").output
    assert host.run(f"test -e {PASSWORD} || test -e {CREDENTIAL}", check=False).exit_code == 1
    assert json.loads((path.parent / "secrets.json").read_text())["smtp_password"] == "mail;pass#1"
    assert "Nothing to change" in deploy(path).output
