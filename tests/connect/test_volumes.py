"""How much is free where the data lies: what a host prints, what is said of it, and what is refused."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from cvat_analytics.base.errors import CvatAnalyticsError, InputError
from cvat_analytics.connect import volumes
from cvat_analytics.connect.clickhouse_errors import only_row

GIB = 2**30
PRINTED = f"""clickhouse {GIB} 1 {40 * GIB} 7
vector {GIB} 1 {40 * GIB} 7
grafana {5 * GIB} 1 {40 * GIB} 8
"""


def test_parts_on_one_disk_are_one_volume() -> None:
    here, other = volumes.parsed("one", PRINTED.splitlines(), GIB)
    assert (here.components, here.directory, here.free, here.size) == (
        ("clickhouse", "vector"),
        "/var/lib/clickhouse",
        GIB,
        40 * GIB,
    )
    assert (here.is_little, here.refuses, other.is_little, other.refuses) == (True, [], False, [])


@pytest.mark.parametrize(
    ("free", "refuses"),
    [
        (GIB, []),
        (GIB - 1, ["clickhouse"]),
        (GIB // 2, ["clickhouse"]),
        (GIB // 2 - 1, ["clickhouse", "vector"]),
    ],
)
def test_who_takes_nothing_any_more(free: int, refuses: list[str]) -> None:
    parts = ("clickhouse", "vector", "grafana")
    volume = volumes.Volume("one", parts, "/", free, 40 * GIB, GIB, GIB * 3 // 4)
    assert volume.refuses == refuses


def test_a_vector_that_has_closed_its_ports_takes_nothing_until_it_opens_them_again() -> None:
    def of(free: int) -> volumes.Volume:
        (volume,) = volumes.parsed("one", [f"vector {free} 1 {40 * GIB} 7 closed"], GIB)
        return volume

    assert of(GIB // 2).refuses == ["vector"]
    assert of(GIB * 3 // 4 - 1).refuses == ["vector"]
    assert "Vector takes no events, which CVAT keeps, until 768 MiB are free; make room" in str(of(GIB // 2))
    assert of(GIB * 3 // 4).refuses == [], "it is just being opened"
    (both,) = volumes.parsed(
        "one", [f"clickhouse {GIB} 1 {40 * GIB} 7", f"vector {GIB // 2} 1 {40 * GIB} 7 closed"], GIB
    )
    assert both.closed


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "open"])
def test_a_host_says_whether_its_vector_has_closed_its_ports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: bool
) -> None:
    monkeypatch.setattr(volumes, "CLOSED", str(tmp_path / "closed.toml"))
    monkeypatch.setattr(volumes, "DIRECTORIES", {"clickhouse": str(tmp_path), "vector": str(tmp_path)})
    if closed:
        (tmp_path / "closed.toml").touch()
    printed = subprocess.run(
        ["sh", "-c", volumes.command(["clickhouse", "vector"])], capture_output=True, text=True, check=True
    ).stdout
    (volume,) = volumes.parsed("one", printed.splitlines(), 1)
    assert (volume.components, volume.closed) == (("clickhouse", "vector"), closed)


def test_an_embedded_vector_opens_where_it_closes(tmp_path: Path) -> None:
    (volume,) = volumes.local("one", {"vector": str(tmp_path)}, 2**60)
    assert volume.refuses == ["vector"]
    assert f"until {volumes.size(2**59)} are free" in str(volume)


def test_the_shell_and_the_operating_system_say_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volumes, "DIRECTORIES", {"clickhouse": str(tmp_path), "vector": "/nowhere/at/all"})
    printed = subprocess.run(
        ["sh", "-c", volumes.command(["clickhouse", "gateway", "vector"])],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    first = volumes.parsed("one", printed.splitlines(), 1)[0]
    disk = os.statvfs(tmp_path)
    assert (
        first.size
        == disk.f_blocks * disk.f_frsize
        == volumes.local("one", {"clickhouse": str(tmp_path)}, 1)[0].size
    )
    assert printed.splitlines()[1].startswith("vector "), "what is not there yet will be below /var/lib"


def test_what_needs_room_is_refused_with_the_reason_and_the_next_step() -> None:
    little = volumes.parsed("one", PRINTED.splitlines(), GIB)
    with pytest.raises(InputError) as caught:
        volumes.refuse_without_room(little, "the import")
    assert str(caught.value) == (
        "the import is not begun: it needs room on the disk of ClickHouse (host one, /var/lib/clickhouse), which has 1.0 GiB free, less than "
        "2.0 GiB (twice the setting 'disk_reserve'). Make room (docs/how-to/disk-is-full.md), then run the same command again"
    )
    volumes.refuse_without_room(volumes.parsed("one", PRINTED.splitlines(), GIB // 2), "the import")


def test_an_answer_without_its_row_is_said_to_be_one() -> None:
    assert only_row([(7,)]) == (7,)
    with pytest.raises(
        CvatAnalyticsError,
        match="answered with nothing where a row was due, as it does when its disk is full",
    ):
        only_row([])
