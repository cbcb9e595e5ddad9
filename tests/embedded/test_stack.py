"""The embedded stack as its users start, stop and break it. ClickHouse is the real engine here."""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cvat_analytics import dashboards, demo
from cvat_analytics.checks import smoke
from cvat_analytics.embedded import processes, stack
from cvat_analytics.pipeline import events
from cvat_analytics.store.smoke_events import LETTER, PARTITION
from scripts.cli import main
from tests import patient
from tests.clickhouse import free_row
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("patience")
DAYS = 10
PROGRAM = Path(sys.executable).with_name("cvat-analytics")


def inside(*arguments: object, exit_code: int = 0) -> str:
    """Run a command in this process, which takes half as long, and return what it printed to stdout."""
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == exit_code, done.output
    return done.stdout


def command(*arguments: object, exit_code: int = 0) -> str:
    """Run `cvat-analytics` as a process of its own and return what it printed, having checked how it ended."""
    program = patient.COMMAND if arguments[0] == "smoke" else (PROGRAM,)
    done = subprocess.run(
        [*program, *map(str, arguments)], capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == exit_code, done.stdout + done.stderr
    return done.stdout if exit_code == 0 else done.stdout + done.stderr


def up(directory: Path, *arguments: object) -> dict[str, Any]:
    """Start the stack and return its description, which must be all that is printed."""
    description: dict[str, Any] = json.loads(
        command("up", "--dir", directory, "--detach", "--json", *arguments)
    )
    return description


def complete(directory: Path) -> dict[str, Any]:
    """Start what is missing of a stack, as `up` does, in this process, and return its description."""
    description: dict[str, Any] = json.loads(inside("up", "--dir", directory, "--detach", "--json"))
    return description


def is_running(pid: int) -> bool:
    """Return whether a process runs: anything of it, also when its first thread is dead."""
    return processes._started(pid) is not None


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "stack"
    if (tmp_path / "stack" / "stack.json").exists():
        stack.down(tmp_path / "stack")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the directory of a stack for all tests that leave it as they have found it."""
    directory = tmp_path_factory.mktemp("shared") / "stack"
    up(directory)
    yield directory
    stack.down(directory)


@pytest.fixture
def one_dashboard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the smoke tests of this process ask the queries of one dashboard only: for what is about another check than those."""
    first = dashboards.load()[:1]
    monkeypatch.setattr(dashboards, "load", lambda: first)


def count(directory: Path, marker: str) -> int:
    client = stack.find(directory).access().client("grafana")
    client.database = "cvat"
    return int(
        client.query(
            "SELECT count() FROM events WHERE user_name = {m:String}", parameters={"m": marker}
        ).result_rows[0][0]
    )


def send(directory: Path, marker: str, number: int = 1) -> None:
    """Send `number` events and wait until they are readable."""
    access = stack.find(directory).access()
    before = count(directory, marker)
    batch = [
        {
            "scope": "load:cvat",
            "source": "test",
            "timestamp": f"{time.time():.6f}",
            "user_name": marker,
            "obj_id": n + before,
        }
        for n in range(number)
    ]
    events.send(batch, *access.vector.address)
    arrived(directory, marker, before + number)


def arrived(directory: Path, marker: str, number: int) -> None:
    """Wait until `number` events can be read."""
    until(lambda: count(directory, marker), f"{number} events", lambda found: found == number)


def test_a_stack_from_its_first_start_over_smoke_test_and_down_to_other_ports(directory: Path) -> None:
    # a stack that is down for a moment could find ports taken that everybody chooses from
    base, other = free_row(), free_row()
    first = up(directory, "--port-base", base)
    assert set(first) == {"clickhouse", "vector", "viewer", "events_api", "pids"}
    assert set(first["events_api"]) == {"http", "user", "password"}
    assert set(first["clickhouse"]) == {"http", "native_port", "database", "user", "password"}
    assert set(first["pids"]) == set(stack.PARTS)
    assert (first["clickhouse"]["http"], first["clickhouse"]["native_port"]) == (
        f"http://127.0.0.1:{base}",
        base + 1,
    )
    assert (first["vector"]["http"], first["viewer"]["http"]) == (
        f"http://127.0.0.1:{base + 2}",
        f"http://127.0.0.1:{base + 3}",
    )

    client = stack.find(directory).access().client()
    # a migration has made some
    mutations = "SELECT mutation_id FROM system.mutations WHERE table = 'events' ORDER BY ALL"
    before = client.query(mutations).result_rows
    lines = command("smoke", "--dir", directory).splitlines()
    assert len([line for line in lines if line.startswith("PASS ")]) >= 15
    # what it does not have, only the gateway, is no check
    assert [line for line in lines if not line.startswith("PASS ")] == []
    assert not any("gateway" in line for line in lines)
    leaves_nothing_behind(directory)
    assert client.query(mutations).result_rows == before

    send(directory, "kept", 5)
    assert command("down", "--dir", directory) == "Stopped: events_api, vector, viewer, clickhouse\n"
    assert "stopped" in inside("status", "--dir", directory, exit_code=1)
    assert [name for name, pid in first["pids"].items() if is_running(pid)] == []
    again = up(directory)
    assert again["clickhouse"] == first["clickhouse"]
    assert count(directory, "kept") == 5

    moved = up(directory, "--port-base", other)
    assert moved["vector"]["http"] == f"http://127.0.0.1:{other + 2}"
    assert count(directory, "kept") == 5
    results = json.loads(inside("smoke", "--dir", directory, "--json"))
    assert {result["outcome"] for result in results} == {"passed", "not checked"}, "it has no gateway"


def leaves_nothing_behind(directory: Path) -> None:
    """Check that of a smoke test over an empty store nothing is left but its letter, which no list has."""
    client = stack.find(directory).access().client()
    assert client.query("SELECT count() FROM cvat.events").result_rows == [(0,)]
    assert client.query("SELECT original FROM cvat.events_dead_letter FINAL").result_rows == [(LETTER,)]
    assert LETTER not in inside("dead-letters", "list", "--dir", directory)
    assert client.query("SELECT count() FROM cvat.event_counts").result_rows == [(0,)]
    exports = Path(stack.find(directory).paths.events_api_data) / "exports"
    assert [*exports.iterdir()] == []


@pytest.mark.parametrize("part", stack.PARTS)
@pytest.mark.usefixtures("one_dashboard")
def test_a_killed_part_is_revived_alone_and_nothing_is_lost(shared: Path, part: str) -> None:
    first = complete(shared)
    send(shared, f"before {part}", 3)
    os.kill(first["pids"][part], signal.SIGKILL)
    until(lambda: not is_running(first["pids"][part]), "it has ended")
    assert json.loads(inside("status", "--dir", shared, "--json", exit_code=1))[part] == "stopped"

    second = complete(shared)
    assert {name for name in stack.PARTS if first["pids"][name] != second["pids"][name]} == {part}
    assert count(shared, f"before {part}") == 3
    send(shared, f"after {part}", 2)
    inside("smoke", "--dir", shared)


def test_events_accepted_while_clickhouse_is_down_arrive_when_it_is_back(shared: Path) -> None:
    first = complete(shared)
    os.kill(first["pids"]["clickhouse"], signal.SIGKILL)
    access = stack.find(shared).access()
    events.send(
        [{"scope": "load:cvat", "source": "test", "timestamp": "1733480873.1", "user_name": "early"}],
        *access.vector.address,
    )
    complete(shared)
    arrived(shared, "early", 1)


def test_two_stacks_live_side_by_side(shared: Path, directory: Path) -> None:
    one = complete(shared)
    other = up(directory)
    assert one["clickhouse"]["http"] != other["clickhouse"]["http"]
    send(shared, "one", 2)
    assert count(directory, "one") == 0


def test_nobody_else_can_read_the_files_with_passwords(shared: Path) -> None:
    complete(shared)
    passwords = json.loads((shared / "secrets.json").read_text()).values()
    holders = [
        path
        for path in shared.rglob("*")
        if path.is_file()
        and path.stat().st_size < 10**6
        and any(value.encode() in path.read_bytes() for value in passwords)
    ]
    assert holders
    assert [path for path in holders if path.stat().st_mode & 0o077] == []
    shown = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    assert [value for value in passwords if value in shown] == []


@pytest.mark.parametrize("offset", range(len(stack.PORTS)))
def test_a_taken_port_is_refused_by_name(directory: Path, offset: int) -> None:
    base = free_row()
    with socket.create_server(("127.0.0.1", base + offset)):
        message = command("up", "--dir", directory, "--port-base", base, "--detach", exit_code=2)
    assert message == (
        f"cvat-analytics: port {base + offset} ({stack.PORTS[offset]}) is in use by another program. "
        "Stop it, or give other ports with --port-base [CVA3404]\n"
    )


def test_what_cannot_be_used_is_refused_in_one_line(directory: Path, tmp_path: Path) -> None:
    assert command("status", "--dir", directory, exit_code=2) == (
        f"cvat-analytics: {directory}: there is no stack. Start one with `{PROGRAM} up --dir {directory}` [CVA3401]\n"
    )
    assert "choose a number between" in command("up", "--dir", directory, "--port-base", 70000, exit_code=2)
    (tmp_path / "file").write_text("")
    assert "Usage" in command("up", "--dir", tmp_path / "file", exit_code=2)
    directory.mkdir(exist_ok=True)
    (directory / "stack.json").write_text("{")
    assert "is damaged" in command("up", "--dir", directory, exit_code=2)
    (directory / "stack.json").unlink()


def test_nobody_else_reads_the_directory(shared: Path) -> None:
    complete(shared)
    found = [path for path in (shared, *shared.rglob("*")) if not path.is_symlink()]
    assert [str(path) for path in found if stat.S_IMODE(path.stat().st_mode) & 0o077] == []


def test_a_data_directory_in_use_by_another_clickhouse_is_refused(shared: Path) -> None:
    complete(shared)
    config = shared / "etc" / "clickhouse-server" / "config.xml"
    done = subprocess.run(
        [sys.executable, "-m", "cvat_analytics.embedded.engine", f"--config-file={config}"],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "another ClickHouse is using it" in done.stderr


def test_an_older_checkout_leaves_a_stack_that_runs_as_it_is(shared: Path) -> None:
    """What a newer one has made of it goes on: rights that only older tables need would stop what is inserted."""
    before = complete(shared)
    access = stack.find(shared).access()
    client = access.client()
    users = shared / "etc" / "clickhouse-server" / "users.d" / "cvat-analytics.xml"
    ours = users.read_text()
    newer = ours + "<!-- of a newer version -->"
    ledger = f"{access.database}.schema_migrations"
    client.command(
        f"INSERT INTO {ledger} (name, kind, checksum) VALUES ('migrations/9999_newer.sql', 'once', 'x')"
    )
    users.write_text(newer)
    try:
        said = command("up", "--dir", shared, "--detach", exit_code=2)
        assert "migrations/9999_newer.sql, which this checkout lacks" in said
        assert users.read_text() == newer
    finally:
        users.write_text(ours)
        client.command(
            f"ALTER TABLE {ledger} DELETE WHERE name = 'migrations/9999_newer.sql' SETTINGS mutations_sync = 1"
        )
    assert complete(shared) == before
    marker = f"back-{time.time_ns()}"
    send(shared, marker)


@pytest.mark.usefixtures("one_dashboard")
def test_a_smoke_check_that_fails_says_what_to_do_and_ends_with_1(shared: Path) -> None:
    """Each part that is stopped is one failure, and no right of anybody's."""
    complete(shared)
    running = stack.find(shared)
    names = {"vector": "vector", "viewer": "grafana", "events_api": "events-api", "clickhouse": "clickhouse"}
    for part, name in names.items():
        running.processes.stop(part)
        found = {result.name: result for result in smoke.run(running.access())}
        (failed,) = [result for result in found.values() if result.outcome == "failed"]
        assert failed.name == name
        assert "does not answer" in failed.detail
        assert "What to do: " in failed.detail
        assert {each.cause for each in found.values() if each.outcome == "not asked"} == {name}
        if part != "clickhouse":
            complete(shared)
    text = command("smoke", "--dir", shared, exit_code=1)
    assert "\nFAIL clickhouse: http://127.0.0.1:" in text
    assert "\nnot asked, because clickhouse failed: login-admin, " in text
    results = json.loads(inside("smoke", "--dir", shared, "--json", exit_code=1))
    assert {(each["outcome"], each["passed"], each["cause"]) for each in results} == {
        ("passed", True, ""),
        ("failed", False, ""),
        ("not asked", None, "clickhouse"),
        ("not checked", None, ""),
    }


@pytest.mark.usefixtures("one_dashboard")
def test_a_wrong_password_of_one_user_is_one_failure(shared: Path) -> None:
    complete(shared)
    access = stack.find(shared).access()
    for secret, name, words in (
        ("clickhouse_admin", "login-admin", "cannot be reached as admin"),
        ("clickhouse_vector", "login-vector", "cannot be reached as vector"),
        ("clickhouse_grafana", "login-grafana", "cannot be reached as grafana"),
        ("clickhouse_events_api", "login-events_api", "cannot be reached as events_api"),
        ("events_api_admin", "events-api-export", "does not let in its local user"),
    ):
        wrong = replace(access, secrets={**access.secrets, secret: "wrong"})
        failed = [result for result in smoke.run(wrong) if result.passed is False]
        assert [result.name for result in failed] == [name]
        assert words in failed[0].detail
    # who cannot log in to remove what was sent leaves it to the next run
    until(lambda: _of_smoke_tests(shared) == 0, "the next run removes it", pause=5)


def _of_smoke_tests(directory: Path) -> int:
    """Run the smoke test and return what there is of its events afterwards."""
    inside("smoke", "--dir", directory)
    client = stack.find(directory).access().client()
    return int(
        client.query(f"SELECT count() FROM cvat.events WHERE toYYYYMM(timestamp) = {PARTITION}").result_rows[
            0
        ][0]
    )


def test_the_demo_shows_a_team_at_work(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # a third of its weeks show all that four do: the rest of the history is more of the same (tests/demo)
    for module in ("cvat_analytics.demo.history", "scripts.demo"):
        monkeypatch.setattr(importlib.import_module(module), "DAYS", DAYS)
    text = inside("demo", "--dir", directory, "--once", "--port-base", free_row())
    assert "FAIL" not in text
    assert "Look at the dashboards:" in text
    up(directory)
    client = stack.find(directory).access().client()
    people, scopes, active, days = client.query(
        "SELECT uniqExact(user_id), uniqExact(scope), uniqExactIf(user_id, timestamp > now() - 900), "
        "uniqExact(toDate(timestamp)) FROM cvat.events"
    ).result_rows[0]
    assert people == len(demo.MEMBERS)
    assert scopes >= 30
    assert active >= 3
    assert days > DAYS * 0.75  # not on every Sunday
    (named,) = client.query(
        "SELECT countIf(name != '') = count() AND count() > 15 FROM (SELECT DISTINCT task_id FROM cvat.events WHERE task_id IS NOT NULL) AS seen "
        "LEFT JOIN cvat.task_names AS names ON names.task_id = seen.task_id"
    ).result_rows[0]
    assert named
    # the smoke test's own stays, and no list has it
    dead = client.query(
        f"SELECT reason FROM cvat.events_dead_letter FINAL WHERE original != '{LETTER}' ORDER BY reason"
    ).result_rows
    assert len(dead) == 3, dead
    computed, reported = client.query(
        "SELECT sum(computed_ms), sum(reported_ms) FROM cvat.working_time"
    ).result_rows[0]
    assert 1 < reported / computed < 1.2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stack_in_the_foreground_stops_with_its_command(directory: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [PROGRAM, "up", "--dir", directory], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert "Ctrl-C stops the stack" in process.stderr.readline()
        assert set(stack.status(directory).values()) == {"running"}
        process.send_signal(number)
        assert process.wait(120) == 0
    assert set(stack.status(directory).values()) == {"stopped"}
