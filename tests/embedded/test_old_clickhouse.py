"""A `clickhouse` on PATH that does not run the tables' SQL is refused before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvat_analytics.base.errors import InputError
from cvat_analytics.embedded import engine, starting


def on_path(directory: Path, monkeypatch: pytest.MonkeyPatch, says: str) -> None:
    program = directory / "clickhouse"
    program.write_text(f"#!/bin/sh\n{says}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")


def test_a_clickhouse_that_is_too_old_is_refused_with_nothing_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path(tmp_path, monkeypatch, "echo 'ClickHouse server version 25.8.1.1 (official build).'")
    with pytest.raises(InputError) as refused:
        starting.up(tmp_path / "stack")
    assert str(refused.value) == (
        f"{tmp_path}/clickhouse: ClickHouse 25.8.1.1 does not run the SQL of this version of cvat-analytics, which needs 25.10 or newer. Install "
        "one, or take it from PATH: the engine's library is used then"
    )
    assert not list((tmp_path / "stack").glob("*.json"))


@pytest.mark.parametrize(
    "says",
    ["echo 'ClickHouse server version 26.8.19.9 (official build).'", "exit 1"],
    ids=["new enough", "says nothing"],
)
def test_one_that_does_or_does_not_say_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str
) -> None:
    on_path(tmp_path, monkeypatch, says)
    engine.refuse_old()
