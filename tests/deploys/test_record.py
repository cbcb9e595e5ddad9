"""What a deploy notes of the files that it has left: all that it wrote, as it wrote it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import pytest

from cvat_analytics.config import deployed
from cvat_analytics.rendering.files import RenderedFile
from deploys import operations, report
from tests.deploys.conftest import Deploy


def test_every_file_that_a_deploy_writes_is_noted(
    run_deploy: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: dict[str, RenderedFile] = {}
    packed = operations.packed

    def noticing(files: Sequence[RenderedFile]) -> str:
        # what is only tried lies in /run
        written.update({file.path: file for file in files if not file.path.startswith("/run/")})
        return packed(files)

    monkeypatch.setattr(operations, "packed", noticing)
    parts = ("clickhouse", "vector", "grafana", "events_api", "gateway")
    settings = {
        "firewall": True,
        "backup_target": "/srv/backups",
        "grafana_root_url": "https://analytics.example.org/analytics/",
    }
    run_deploy({part: ["@fake/a"] for part in parts}, settings)
    note = written.pop(deployed.FILES)
    del written[deployed.NOTE]
    fields = [line.split(" ", 4) for line in note.content.splitlines()]
    noted = {path: digest for digest, *_, path in fields}
    assert sorted(noted) == sorted(written)
    assert {path: sha256(file.content.encode()).hexdigest() for path, file in written.items()} == noted
    assert (note.mode, note.secret) == ("600", False)


def test_a_host_that_has_left_the_inventory_is_noted_on_until_it_is_uninstalled(
    run_deploy: Deploy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sent: list[str] = []
    packed = operations.packed

    def noticing(files: Sequence[RenderedFile]) -> str:
        sent.extend(file.content for file in files if file.path == deployed.NOTE)
        return packed(files)

    monkeypatch.setattr(operations, "packed", noticing)
    (told := tmp_path / "report").touch()
    monkeypatch.setenv(report.FILE, str(told))
    gone = {"b": {"ssh_hostname": "10.0.0.2"}}
    before = json.dumps({"components": ["vector"], "settings": {}, "hosts": {"@fake/a": {}, **gone}})
    parts = ("clickhouse", "vector", "grafana")
    run_deploy({part: ["@fake/a"] for part in parts}, answers={f"cat {deployed.NOTE}": [before]})
    assert [deployed.noted_hosts(text) for text in sent] == [{"@fake/a": {}, **gone}]
    notes = [json.loads(line) for line in told.read_text().splitlines()]
    assert [each["text"] for each in notes if each["what"] == "note"] == [deployed.has_left("b")]
