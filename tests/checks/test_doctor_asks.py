"""What the doctor asks a host and what is at CVAT's side: the scripts run for real, on this machine."""

from __future__ import annotations

import hashlib
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cvat_analytics.checks.doctor import examination, machine
from cvat_analytics.checks.doctor.machine import Route, State
from cvat_analytics.config import deployed
from cvat_analytics.config.settings import Settings
from cvat_analytics.credentials.certificates import Authority
from tests.checks.test_doctor import GIB, PARTS, WELL


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
