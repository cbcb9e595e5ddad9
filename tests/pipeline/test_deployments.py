"""Dashboards can mark when something was deployed, and only when something was."""

from __future__ import annotations

import importlib.metadata
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.connect.access import Access
from cvat_analytics.embedded import stack
from cvat_analytics.store import deployments
from tests.pipeline.conftest import PROGRAM


def marks(access: Access) -> list[tuple[str, str, int]]:
    query = "SELECT version, host, changes FROM cvat.deployments ORDER BY at"
    client = access.client("grafana")  # whose dashboards show them
    return [
        (str(version), str(host), int(changes)) for version, host, changes in client.query(query).result_rows
    ]


def test_starting_a_new_stack_is_one_mark_and_starting_it_again_none(
    running: stack.Stack, access: Access
) -> None:
    before = marks(access)
    version = importlib.metadata.version("cvat-analytics")
    assert before[0][:2] == (version, stack.HOST)
    assert before[0][2] > 5, "every script of the schema"
    subprocess.run(
        [PROGRAM, "up", "--dir", running.directory, "--detach"], check=True, capture_output=True, timeout=600
    )
    assert marks(access) == before


def test_a_deploy_names_hosts_and_changes(access: Access) -> None:
    deployments.record(access, ["b", "a", "b"], 3)
    assert marks(access)[-1][1:] == ("a, b", 3)


def test_a_mark_that_cannot_be_made_is_told(access: Access) -> None:
    away = replace(access, clickhouse=replace(access.clickhouse, port=1))
    with pytest.raises(CvatAnalyticsError, match="cannot be reached"):
        deployments.record(away, ["a"], 1)


def test_a_checkout_without_git_has_no_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployments, "ROOT", tmp_path)
    assert deployments.revision() == ""
