"""No test is in neither lane, none in both, and the order leaves none out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cvat_analytics.base.project import ROOT
from tests import lanes


@dataclass
class Item:
    """What is known of a test here."""

    nodeid: str

    @property
    def fixturenames(self) -> tuple[str, ...]:
        return ("deployed_host",) if self.nodeid.startswith("tests/hosts/test_d") else ()


@dataclass
class Config:
    """The options of a run, and what it left out."""

    options: tuple[str, ...]
    left_out: list[Any] = field(default_factory=list)

    @property
    def hook(self) -> Config:
        return self

    def getoption(self, name: str) -> bool:
        return name in self.options

    def pytest_deselected(self, items: list[Any]) -> None:
        self.left_out += items


def everything() -> Iterator[str]:
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for number in range(3):
            yield f"{file.relative_to(ROOT)}::test_{number}"
    yield from (name for name in lanes.LONG if "::" in name)


def run(*options: str) -> list[str]:
    config, items = Config(options), [Item(name) for name in everything()]
    before = len(items)
    lanes.pytest_collection_modifyitems(config, items)  # type: ignore[arg-type]
    assert len(items) + len(config.left_out) == before
    return [item.nodeid for item in items]


@pytest.mark.parametrize("workers", ["1", "2", "3", "5"])
def test_each_test_is_in_one_lane(monkeypatch: pytest.MonkeyPatch, workers: str) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", workers)
    fast, long, both = run("--fast"), run("--long"), run()
    assert sorted([*fast, *long]) == sorted(both) == sorted(everything())
    assert [name for name in fast if name.startswith("tests/hosts/")] == []
    assert long


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_what_is_long_begins_in_each_share(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", str(workers))
    tests = run()
    ends = [len(tests) * number // workers for number in range(workers + 1)]
    for begin, end in itertools.pairwise(ends):
        kinds = [lanes.is_long(name) for name in tests[begin:end]]
        assert kinds == sorted(kinds, reverse=True)
        assert set(kinds) == {True, False}


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_shares_take_about_as_long_and_a_folder_is_in_one(
    monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", str(workers))
    tests = run()
    ends = [len(tests) * number // workers for number in range(workers + 1)]
    shares = [tests[begin:end] for begin, end in itertools.pairwise(ends)]
    cost = [lanes.seconds(share) for share in shares]
    assert max(cost) < 1.15 * sum(cost) / workers, cost
    for folder in ("dashboards", "embedded", "importing", "store"):
        holding = [
            share for share in shares if any(lanes.is_long(name) and f"/{folder}/" in name for name in share)
        ]
        assert len(holding) == 1, folder


@pytest.mark.parametrize("name", lanes.LONG)
def test_what_is_long_is_there(name: str) -> None:
    path, _, test = name.partition("::")
    assert (ROOT / path).exists(), f"{path} has moved: name it in tests/lanes.py as it is called now"
    assert not test or f"def {test}(" in Path(ROOT / path).read_text()


def test_the_whole_suite_has_no_lane() -> None:
    last = (ROOT / "tests" / "run").read_text().splitlines()[-1]
    assert last == '"$bin/pytest" -n 3 --dist worksteal'


def test_no_two_files_are_called_alike() -> None:
    """Python would take one for the other, and nothing of the whole suite could be collected."""
    names = [
        file.name
        for file in (ROOT / "tests").rglob("test_*.py")
        if not (file.parent / "__init__.py").exists()
    ]
    assert sorted(set(names)) == sorted(names)
