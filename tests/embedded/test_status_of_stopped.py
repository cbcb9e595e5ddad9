"""A stack that is stopped is looked at without asking anybody: another program may have its ports by now."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from cvat_analytics.credentials import secrets
from cvat_analytics.embedded import stack, status


def test_who_has_the_port_of_a_stopped_clickhouse_is_not_asked(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.setblocking(False)
        (tmp_path / "stack.json").write_text(f'{{"port_base": {other.getsockname()[1]}}}')
        secrets.init(tmp_path / "secrets.json")
        report = status.report(stack.find(tmp_path))
        with pytest.raises(BlockingIOError):
            other.accept()
    assert report.states == dict.fromkeys(stack.PARTS, "stopped")
    assert (report.flow, report.fine) == (None, False)
    assert report.problems == ["the pipeline cannot be looked at: ClickHouse does not run"]
