"""Hosts are asked at the same time: each that hangs would otherwise hold up a command by its own time limit.

Whoever is asked here waits for the other, which comes only where both are asked at once.
"""

from __future__ import annotations

from threading import Barrier
from typing import Any

import pytest

from cvat_analytics.base.errors import UnreachableHostError
from cvat_analytics.config.topology import COMPONENTS, Topology
from cvat_analytics.config.validation import validate
from cvat_analytics.connect import remote, volumes
from cvat_analytics.connect.shell import Shell
from cvat_analytics.connect.volumes import Volume
from tests.waiting import PATIENCE


def test_how_much_is_free_is_asked_of_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    both = Barrier(2)

    def ask(shell: Shell, components: Any, reserve: int) -> list[Volume]:
        both.wait(PATIENCE)
        return [Volume(shell.host, tuple(components), "/", 1, 1, reserve, reserve)]

    monkeypatch.setattr(volumes, "of_host", ask)
    reserves = {"one": "1GiB", "two": "2GiB"}
    groups = {name: ("one",) if name == "clickhouse" else ("two",) for name in COMPONENTS}
    described = Topology(
        groups,
        {host: validate({"disk_reserve": reserve}, where="test") for host, reserve in reserves.items()},
    )
    found = remote._volumes({host: Shell(host, {}, None) for host in described.settings}, described)
    assert [(each.host, each.components[0], each.reserve) for each in found] == [
        ("one", "clickhouse", 2**30),
        ("two", "vector", 2**31),
    ]
    assert remote._volumes({}, described) == []


def test_whether_they_are_still_there_is_asked_of_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    both = Barrier(2)

    def answers(client: Any) -> bool:
        both.wait(PATIENCE)
        return False

    monkeypatch.setattr(remote, "_answers", answers)
    clients: Any = {"two": object(), "here": None, "one": object()}
    with pytest.raises(
        UnreachableHostError, match=r"^hosts one, two: the SSH connection was lost.*`ssh 10\.0\.0\.1` works"
    ):
        remote._ensure_connected(clients, {"one": "ssh 10.0.0.1", "two": "ssh 10.0.0.2"})
    remote._ensure_connected({"here": None}, {})
