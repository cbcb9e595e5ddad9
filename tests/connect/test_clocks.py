"""Whose clock is wrong is found by one question to each host, whatever the way there takes.

The hosts here are this machine's own shell with stand-ins for `date`, `timedatectl` and `systemd-detect-virt`: they prove what
is made of their answers, and nothing about them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import UnreachableError
from cvat_analytics.connect import clocks
from cvat_analytics.connect.clocks import Clock, warnings
from cvat_analytics.connect.shell import Shell

StandIn = Callable[..., Shell]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Return a function that makes a host whose clock is ahead by some seconds, and says that of it."""
    date, usual = tmp_path / "date", Path("/bin/date").resolve()

    def make(ahead: float = 0.0, synchronised: str = "NTPSynchronized=yes", container: bool = False) -> Shell:
        program = f'#!/bin/sh\nexec {usual} -d "now {ahead:+f} seconds" "$@"\n'
        for name, text in {
            "date": program,
            "timedatectl": f"#!/bin/sh\necho '{synchronised}'\n",
            "systemd-detect-virt": f"#!/bin/sh\nexit {0 if container else 1}\n",
        }.items():
            (tmp_path / name).write_text(text)
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{date.parent}:/usr/bin:/bin")
        return Shell("one", {}, None)

    return make


@pytest.mark.parametrize("ahead", [0, 3600, -3600])
def test_a_clock_is_compared_with_this_machines(host: StandIn, ahead: float) -> None:
    (clock,) = clocks.of({"one": host(ahead)})
    assert clock.least <= ahead <= clock.most
    said = warnings([clock])
    if not ahead:
        assert said == []
    else:
        (line,) = said
        assert line.startswith(
            f"host one: its clock is {'60 min ahead of' if ahead > 0 else '60 min behind'} this machine's"
        )


@pytest.mark.parametrize(
    ("first", "last", "ahead"),
    [
        (1501.5, 1501.5, 0.0),  # three seconds of way, either half of them or not: nothing is wrong
        (1500.1, 1502.9, 0.0),  # three seconds of thinking
        (1505.0, 1512.0, 9.0),  # ahead, whatever the way took
        (1492.0, 1492.0, -8.0),
    ],
)
def test_what_the_way_takes_is_no_wrong_clock(
    monkeypatch: pytest.MonkeyPatch, first: float, last: float, ahead: float
) -> None:
    moments = iter((1500.0, 1503.0))
    monkeypatch.setattr("cvat_analytics.connect.clocks.time.time", lambda: next(moments))
    found = clocks.measured("one", lambda command: f"clock={first}\nNTPSynchronized=no\nclock={last}\n")
    assert found
    assert found.ahead == pytest.approx(ahead)
    assert found.synchronised is False


def test_a_clock_that_nobody_sets_is_said(host: StandIn) -> None:
    (clock,) = clocks.of({"one": host(synchronised="NTPSynchronized=no")})
    (line,) = warnings([clock])
    assert line.startswith("host one: its clock is not synchronised")


@pytest.mark.parametrize(("synchronised", "container"), [("", False), ("NTPSynchronized=no", True)])
def test_what_nothing_can_tell_is_not_said(host: StandIn, synchronised: str, container: bool) -> None:
    (clock,) = clocks.of({"one": host(synchronised=synchronised, container=container)})
    assert clock.synchronised is None
    assert warnings([clock]) == []


def test_a_host_that_tells_no_time_is_none_whose_clock_is_right() -> None:
    class Silent(Shell):
        def run(self, command: str, patience: float | None = None) -> str:
            raise UnreachableError(Code.CONNECTION_LOST, "host one: gone")

    assert clocks.of({"one": Silent("one", {}, None)}) == []
    assert clocks.of({}) == []
    assert clocks.measured("one", lambda command: "sh: date: not found\n") is None


@pytest.mark.parametrize(
    ("seen", "lines"),
    [
        ({"a": 0.0, "b": 0.9}, []),
        ({"a": 0.0, "b": 1.2}, ["host b: its clock is 1.2 s ahead of this machine's (see `timedatectl` on both)"]),
        ({"a": -0.7, "b": 0.7}, ["host b: its clock is 1.4 s ahead of that of host a: see `timedatectl` on both"]),
        ({"a": 9.0, "b": 9.1}, ["this machine's clock is 9.0 s behind those of all 2 hosts, which agree: set it right"]),
        ({"a": 9.0, "b": -9.0}, ["host a: its clock is 9.0 s ahead of this machine's (see `timedatectl` on both)",
                                 "host b: its clock is 9.0 s behind this machine's (see `timedatectl` on both)"]),
        ({"a": -300.0}, ["host a: its clock is 5 min behind this machine's (see `timedatectl` on both)"]),
        ({"a": 86400.0, "b": 0.0}, ["host a: its clock is 24.0 h ahead of this machine's (see `timedatectl` on both)"]),
    ],
    ids=lambda value: "-".join(f"{name}{ahead}" for name, ahead in value.items()) if isinstance(value, dict) else "",
)  # fmt: skip
def test_which_clock_is_wrong_is_said(seen: dict[str, float], lines: list[str]) -> None:
    assert warnings([Clock(host, ahead, ahead, None) for host, ahead in seen.items()]) == lines


def test_a_synchronised_host_lets_one_ask_for_ones_own_clock() -> None:
    (line,) = warnings([Clock("a", 4, 5, True)])
    assert (
        line == "host a: its clock is 4.0 s ahead of this machine's (it is synchronised: is this machine's?)"
    )
