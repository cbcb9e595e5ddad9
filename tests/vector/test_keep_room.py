"""What starts Vector on a host, with or without its ports, and what has it started anew: the rendered scripts, run for real.

Stand-ins: `vector` and `systemctl` write down how they were called. tests/hosts/ has systemd.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tomllib
from pathlib import Path

import pytest

from cvat_analytics.connect import volumes
from cvat_analytics.rendering import render
from tests.clickhouse import context
from tests.vector.configuration import write_configuration
from tests.waiting import until

PLENTY, NOTHING = "16MiB", "900TiB"
"""What stays free: on a disk that has room enough, and on one that has too little, whatever disk this is."""


def script(directory: Path, name: str, reserve: str) -> Path:
    """Write a rendered script whose absolute paths are below `directory`, and return where it is."""
    told = context(directory, disk_reserve=reserve)
    Path(told.paths.vector_data).mkdir(parents=True, exist_ok=True)
    (directory / "run").mkdir(exist_ok=True)
    text = render.render(f"vector/{name}.j2", told.variables())
    text = text.replace("/usr/bin/vector", f"{directory}/bin/vector").replace(
        "/run/cvat-analytics-vector", f"{directory}/run"
    )
    (directory / name).write_text(text)
    return directory / name


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file in which `vector` and `systemctl` write down how they were called."""
    (tmp_path / "bin").mkdir()
    for name in ("vector", "systemctl"):
        program = tmp_path / "bin" / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/calls\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    (tmp_path / "calls").touch()
    return tmp_path / "calls"


def test_vector_starts_with_its_ports_where_there_is_room_and_without_where_there_is_little(
    calls: Path, tmp_path: Path
) -> None:
    write_configuration(
        tmp_path, vector_extra_ports=[9001], vector_listen_address="::1", vector_metrics_port=9002
    )
    plain = tmp_path / "etc/vector/vector.toml"
    before = tomllib.loads(plain.read_text())

    subprocess.run(["sh", script(tmp_path, "start", PLENTY)], check=True)
    assert calls.read_text() == f"vector --config {plain}\n"
    opened = tmp_path / "run" / "opened"
    assert opened.exists()

    closed = tmp_path / "run" / "closed.toml"
    said = subprocess.run(
        ["sh", script(tmp_path, "start", NOTHING)], check=True, capture_output=True, text=True
    ).stderr
    assert calls.read_text().splitlines()[1] == f"vector --config {closed}"
    assert said.startswith("takes no events: ")
    assert sorted(closed.parent.iterdir()) == [closed], "nothing half written, and only one of the two"
    after = tomllib.loads(closed.read_text())
    assert "cvat_9001" in before["sources"]
    for name in [name for name in before["sources"] if name.startswith("cvat")]:
        port = before["sources"][name]["address"].rpartition(":")[2]
        assert after["sources"][name].pop("address") == f"127.255.255.254:{port}"
        assert before["sources"][name].pop("address") == f"[::1]:{port}"
    assert after == before, "all else is as it was, so that what waits is delivered"

    subprocess.run(["sh", script(tmp_path, "start", PLENTY)], check=True)
    assert sorted(closed.parent.iterdir()) == [opened]


def test_a_configuration_without_ports_is_there_whole_or_as_it_was(calls: Path, tmp_path: Path) -> None:
    """The stand-in for `sed` ends in the middle of its work."""
    write_configuration(tmp_path)
    (tmp_path / "bin" / "sed").write_text("#!/bin/sh\necho half\nexit 1\n")
    (tmp_path / "bin" / "sed").chmod(0o755)
    starting = script(tmp_path, "start", NOTHING)
    closed = tmp_path / "run" / "closed.toml"
    assert subprocess.run(["sh", starting], check=False, capture_output=True).returncode == 1
    assert not closed.exists()
    closed.write_text("of the start before")
    assert subprocess.run(["sh", starting], check=False, capture_output=True).returncode == 1
    assert closed.read_text() == "of the start before"
    assert calls.read_text() == "", "Vector is not started with it"


def test_one_look_and_another_agree_on_when_vector_opens_again(tmp_path: Path) -> None:
    text = script(tmp_path, "keep-room", "1GiB").read_text()
    (volume,) = volumes.parsed("one", ["vector 1 1 1 7 closed"], 2**30)
    assert f'"$left" -ge {volume.opens_at} ]' in text
    assert volumes.CLOSED == "/run/cvat-analytics-vector/closed.toml"


@pytest.mark.parametrize(
    ("closed", "reserve", "words"),
    [
        pytest.param(False, NOTHING, "Vector takes no more events", id="closes"),
        pytest.param(True, PLENTY, "Vector takes events again", id="opens"),
    ],
)
def test_vector_is_started_anew_when_its_disk_fills_up_or_has_room_again(
    calls: Path, tmp_path: Path, closed: bool, reserve: str, words: str
) -> None:
    watching = script(tmp_path, "keep-room", reserve)
    (tmp_path / "run" / ("closed.toml" if closed else "opened")).touch()
    with subprocess.Popen(
        ["sh", watching], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            until(calls.read_text, "a restart", lambda seen: "systemctl try-restart vector\n" in seen)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
        assert process.stdout
        assert words in process.stdout.read()


def test_what_looks_begins_after_vector(tmp_path: Path) -> None:
    unit = render.render("systemd/cvat-analytics-room.service.j2", context(tmp_path).variables())
    assert "\nAfter=vector.service\n" in unit


def test_nothing_is_done_while_all_is_as_it_must_be(calls: Path, tmp_path: Path) -> None:
    """Looking has an end where `sleep` is a program that ends it."""
    (tmp_path / "bin" / "sleep").write_text(f'#!/bin/sh\n[ "$(wc -l < {calls})" -lt 3 ]\n')
    (tmp_path / "bin" / "sleep").chmod(0o755)
    # without either file `start` has not yet decided
    for state, reserve in (("opened", PLENTY), ("closed.toml", NOTHING), ("", NOTHING), ("", PLENTY)):
        calls.write_text("")
        watching = script(tmp_path, "keep-room", reserve)
        if state:
            (tmp_path / "run" / state).touch()
        subprocess.run(["sh", watching], check=True)
        for file in (tmp_path / "run").iterdir():
            file.unlink()
        assert calls.read_text() == "systemctl -q is-active vector\n" * 3
