"""What the doctor asks a host and what is at CVAT's side: the scripts run for real, on this machine."""

from __future__ import annotations

import hashlib
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cvat_analytics.checks.doctor import examination, machine
from cvat_analytics.checks.doctor.machine import Route, State
from cvat_analytics.checks.finding import Finding
from cvat_analytics.checks.flow import Sources
from cvat_analytics.checks.status import Report
from cvat_analytics.config import deployed, topology
from cvat_analytics.config.settings import Settings
from cvat_analytics.credentials.certificates import Authority
from tests.checks.test_doctor import GIB, PARTS, WELL, flow


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Return a port of loopback that nobody listens at, kept for that."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        yield kept.getsockname()[1]


def test_a_host_is_asked_by_a_script_that_any_host_understands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    """This machine is the host: real files, real ports, names that there are and are not."""
    note, left = tmp_path / "note", tmp_path / "a file"
    left.write_text("as it was left")
    digest = hashlib.sha256(b"as it was left").hexdigest()
    left.chmod(0o640)
    owner = f"{left.owner()} {left.group()}"
    note.write_text(f"{digest} 640 {owner} {left}\n{digest} 640 {owner} {tmp_path}/gone\n")
    monkeypatch.setattr(deployed, "FILES", str(note))
    shown = tmp_path / "shown.pem"
    pair = Authority(tmp_path / "authority").issue("one", ["10.0.0.5"])
    shown.write_text(pair.certificate)
    with socket.create_server(("127.0.0.1", 0)) as server:
        routes = [
            Route("a", "127.0.0.1", server.getsockname()[1]),
            Route("b", "127.0.0.1", closed_port),
            Route("c", "nowhere.invalid", 1),
        ]
        script = machine.question(PARTS, routes, [str(shown)])
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    found = machine.parsed(done.stdout, routes)
    assert [route.outcome for route in found.routes] == ["ok", "refused", "no name"]
    assert found.memory > GIB // 4
    assert abs(found.now - datetime.now(UTC).timestamp()) < 600
    assert found.files == [
        State(str(left), f"{digest} 640 {owner}", f"{digest} 640 {owner}"),
        State(f"{tmp_path}/gone", f"{digest} 640 {owner}", ""),
    ]
    assert found.certificates == {str(shown): pair.certificate}
    assert set(found.units) <= {"clickhouse-server.service", "vector.service", "grafana-server.service"}


@pytest.mark.parametrize(
    "address",
    [
        "h';id>{file};'",
        'h";id>{file};"',
        "h&id>{file}&",
        "$(id>{file})",
        "`id>{file}`",
        "h;id>{file};",
        "h\nid>{file}\n",
    ],
    ids=["quote", "double", "background", "substituted", "backquote", "next", "line"],
)
def test_no_address_is_a_command_on_a_host(address: str, tmp_path: Path) -> None:
    """Wherever it comes from, and whether settings let it be one or not."""
    written, here = tmp_path / "written", tmp_path / "getent"
    here.write_text("#!/bin/sh\nexit 0\n")  # it knows every name, so that the next step is taken
    here.chmod(0o755)
    routes = [Route("a", address.format(file=written), 80)]
    script = f"PATH={tmp_path}:$PATH\n{machine.question(PARTS, routes)}"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert not written.exists()
    assert machine.parsed(done.stdout, routes).routes[0].outcome in ("refused", "silent")


def test_a_journal_that_takes_too_long_is_not_known_and_not_well(tmp_path: Path) -> None:
    (tmp_path / "timeout").write_text("#!/bin/sh\nexit 124\n")
    (tmp_path / "timeout").chmod(0o755)
    script = f"PATH={tmp_path}:$PATH\n{machine.question(['vector'])}"
    found = machine.parsed(
        subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    )
    assert found.units["vector.service"].killed_for_memory is None
    place = examination.Place(("vector",), Settings(), 0, found)
    (line,) = examination._not_said("one", place)
    assert line.startswith("host one: whether vector.service was killed for want of memory")
    assert list(examination._not_said("one", replace(place, machine=WELL))) == []


def cvat_side(
    last: datetime | None, name: str = "10.0.0.5", *, embedded: bool = False, **settings: Any
) -> list[Finding]:
    """Return what is said of CVAT's side of a stack at `name` that has heard CVAT's server last at a moment."""
    values = {"vector_listen_address": "0.0.0.0", "open_to_network": ["vector"], "clickhouse_listen_addresses": ["127.0.0.1", "10.0.0.5"],
              "clickhouse_allowed_addresses": ["10.0.0.9"], **settings}  # fmt: skip
    described = topology.build(
        {part: [name] for part in ("clickhouse", "vector", "grafana")}, {name: values}, where="test"
    )
    sources = Sources({"server": last} if last else {}, False, 0, 0)
    return list(examination._cvat_side(Report([], flow(sources=sources)), described, embedded=embedded))


def test_a_cvat_that_is_heard_needs_no_word_and_an_embedded_stack_has_none() -> None:
    now = datetime.now(UTC)
    assert cvat_side(now - timedelta(hours=23), vector_tls=True) == []
    assert cvat_side(None, embedded=True) == []


def test_a_cvat_that_was_never_heard_is_given_what_to_try(tmp_path: Path) -> None:
    """The command can be pasted as it stands, and asks what CVAT is told to send to."""
    found = cvat_side(None, vector_port=8299)
    never = found[-1]
    assert (never.weight, never.check, never.why) == (
        "know",
        "cvat-side",
        "CVAT's server has not been heard in 30 days",
    )
    _, command, words = never.next.split("`")
    assert "on CVAT's host" in words
    (tmp_path / "curl").write_text(f'#!/bin/sh\nfor each; do echo "$each"; done > {tmp_path}/asked\n')
    (tmp_path / "curl").chmod(0o755)
    for shell in ("sh", "bash"):
        subprocess.run([shell, "-c", f"PATH={tmp_path}:$PATH; {command}"], check=True)
        assert (tmp_path / "asked").read_text().splitlines() == ["-sS", "http://10.0.0.5:8299/ping"]
    six = cvat_side(None, vector_listen_address="fd00::5")[-1]
    assert (
        "`curl -sS 'http://[fd00::5]:8282/ping'`" in six.next
        or "`curl -sS http://[fd00::5]:8282/ping`" in six.next
    )


def test_what_cvat_is_told_that_stands_in_the_way_is_said() -> None:
    old = datetime.now(UTC) - timedelta(days=2)
    changes: list[dict[str, Any]] = [
        {},
        {"vector_listen_address": "127.0.0.1", "open_to_network": []},
        {"clickhouse_allowed_addresses": []},
    ]
    open_, closed, shut = (
        [each.why for each in cvat_side(old, **change) if each.command == ("cvat-env",)] for change in changes
    )
    assert not [why for why in open_ if "Vector" in why or "ClickHouse" in why]
    assert closed[0].startswith(
        "Vector listens on 127.0.0.1 only, which a CVAT on another machine or in a container does not reach"
    )
    assert any("ClickHouse lets nobody from another machine in as cvat" in why for why in shut)


def test_a_name_that_nobody_knows_here_is_said_with_how_to_look_there() -> None:
    (unknown,) = (
        each
        for each in cvat_side(datetime.now(UTC) - timedelta(days=2), "store.invalid")
        if each.weight == "soon"
    )
    assert unknown.why == "no address is known here for the name store.invalid, which CVAT is told"
    assert unknown.next == "`getent ahosts store.invalid` on CVAT's host"
