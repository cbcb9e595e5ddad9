"""A password changes while events flow: none is lost, the old one is worth nothing afterwards, and what is cut off goes on."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError, InputError, UnreachableError
from cvat_analytics.credentials import secrets
from cvat_analytics.embedded import stack
from cvat_analytics.operate import rotation
from cvat_analytics.pipeline import events
from scripts.cli import main
from tests.faults import client
from tests.pipeline.conftest import PROGRAM
from tests.waiting import PATIENCE, until


def passwords(running: stack.Stack) -> dict[str, str]:
    values: dict[str, str] = json.loads((running.directory / "secrets.json").read_text())
    return values


@contextmanager
def flow(running: stack.Stack) -> Iterator[tuple[str, list[int]]]:
    """Send numbered events, each until it is acknowledged, and yield their mark and the numbers acknowledged so far."""
    mark, acknowledged, stop = uuid.uuid4().hex, list[int](), threading.Event()

    def send() -> None:
        for number in itertools.count():
            event = {
                "scope": "draw:object",
                "source": "client",
                "timestamp": f"{time.time():.6f}",
                "count": number % 60000,
                "org_slug": mark,
            }
            while True:
                try:
                    events.send([event], *running.access().vector.address)
                    acknowledged.append(number)
                    break
                except UnreachableError:
                    stop.wait(0.05)
            if stop.wait(0.01):
                return

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield mark, acknowledged
    finally:
        stop.set()
        thread.join(PATIENCE)


def stored(running: stack.Stack, mark: str, expected: int) -> int:
    query = f"SELECT count() FROM cvat.events FINAL WHERE org_slug = '{mark}'"
    return until(
        lambda: int(running.access().client().query(query).result_rows[0][0]),
        f"{expected} events",
        lambda found: found >= expected,
    )


def nowhere() -> Any:
    """Reach what is never asked."""
    return nullcontext()


def inside(running: stack.Stack, *arguments: str) -> tuple[int, str]:
    """Run a command in this process; return its exit code, and what it printed."""
    done = CliRunner().invoke(main, [*arguments, "--dir", str(running.directory)])
    return done.exit_code, f"{done.output}{done.exception or ''}"


def rotate(running: stack.Stack, *arguments: str) -> tuple[int, str]:
    return inside(running, "secrets", "rotate", *arguments)


def rotate_by_the_program(running: stack.Stack, *arguments: str) -> tuple[int, str]:
    """Rotate in a process of its own, which the parts that it starts outlive."""
    command: list[str | Path] = [PROGRAM, "secrets", "rotate", *arguments, "--dir", running.directory]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    return done.returncode, done.stdout + done.stderr


def test_vector_gets_a_new_password_and_no_event_is_lost(running: stack.Stack) -> None:
    before = passwords(running)
    with flow(running) as (mark, acknowledged):
        code, output = rotate_by_the_program(running, "vector")
    after = passwords(running)
    assert code == 0, output
    assert {name for name in after.keys() | before.keys() if after.get(name) != before.get(name)} == {
        "clickhouse_vector"
    }
    access = running.access()
    assert rotation.login(access, "vector", before["clickhouse_vector"]) == 403
    assert rotation.login(access, "vector", after["clickhouse_vector"]) == 200
    assert [value for value in (*before.values(), *after.values()) if value in output] == []
    assert len(acknowledged) > 20
    assert stored(running, mark, len(acknowledged)) == len(acknowledged)


@pytest.mark.usefixtures("patience")
def test_what_reads_goes_on_with_its_new_password(running: stack.Stack) -> None:
    before = passwords(running)
    for user in ("grafana", "events_api"):
        code, output = rotate(running, user)
        assert code == 0, output
    access, after = running.access(), passwords(running)
    for user in ("grafana", "events_api"):
        name = f"clickhouse_{user}"
        logins = [rotation.login(access, user, values[name]) for values in (before, after)]
        assert logins == [403, 200], user
    code, output = inside(running, "smoke")
    assert code == 0, output


@contextmanager
def cvats_client(running: stack.Stack, directory: Path) -> Iterator[list[int]]:
    """Have CVAT's own client send in a process of its own; yield a list that has, after it, how many events it was given."""
    port, count, made = running.access().vector.address[1], directory / "count", list[int]()
    command = [sys.executable, "-m", "tests.faults.client", "--port", str(port), "--queue", str(directory / "queue"),
               "--count", str(count), "--first", str(FIRST), "--rate", "30"]  # fmt: skip
    process = subprocess.Popen(command)
    try:
        until(lambda: count.exists() and int(count.read_text() or 0), "it sends", lambda number: number > 10)
        yield made
    finally:
        process.terminate()  # it ends when its queue is empty
        process.wait(PATIENCE)
    made.append(int(count.read_text()))


FIRST = 7_000_000_000
"""The number of the first event of that client: no other test has it."""


def test_the_administrator_gets_a_new_password_while_cvats_own_client_sends(
    running: stack.Stack, tmp_path: Path
) -> None:
    old = passwords(running)["clickhouse_admin"]
    with cvats_client(running, tmp_path) as made:
        code, output = rotate(running, "admin")
        # this one restarts Vector, which refuses connections meanwhile: they are in the client's queue
        of_vector = rotate(running, "vector")
    assert (code, of_vector[0]) == (0, 0), output + of_vector[1]
    new = passwords(running)["clickhouse_admin"]
    logins = [rotation.login(running.access(), "admin", password) for password in (old, new)]
    assert logins == [403, 200]
    good = sum(not client.is_malformed(FIRST + number) for number in range(made[0]))
    query = f"SELECT count() FROM cvat.events FINAL WHERE obj_id BETWEEN {FIRST} AND {FIRST + made[0]}"
    until(
        lambda: int(running.access().client().query(query).result_rows[0][0]),
        "all that it was given",
        lambda found: found == good,
    )


def test_the_password_of_the_events_api_ends_at_once(running: stack.Stack) -> None:
    def status(password: str) -> int:
        api = running.access().events_api
        assert api
        return httpx.get(
            f"{api.url}/api/events?query_id=none", auth=("admin", password), trust_env=False
        ).status_code

    old = passwords(running)["events_api_admin"]
    assert status(old) != 401
    code, output = rotate(running, "events_api_admin")
    assert code == 0, output
    new = passwords(running)["events_api_admin"]
    assert (status(old), status(new) != 401, new in output) == (401, True, False)


def test_that_of_grafana_is_changed_where_there_is_one_and_vectors_where_it_asks_for_one(
    running: stack.Stack,
) -> None:
    old = passwords(running)["grafana_admin"]
    code, output = rotate(running, "grafana_admin")
    assert code == 0, output
    assert passwords(running)["grafana_admin"] != old
    code, output = rotate(running, "vector_ingest")
    assert (code, "as there is no 'vector_username'" in output) == (2, True)


def test_both_passwords_of_cvat_work_until_it_is_finished(running: stack.Stack) -> None:
    code, output = rotate(running, "cvat", "--finish")
    assert (code, "there is no change of the password of cvat to finish" in output) == (2, True)
    old = passwords(running)["clickhouse_cvat"]
    code, output = rotate(running, "cvat")
    new = passwords(running)["clickhouse_cvat"]
    assert (code, "CLICKHOUSE_PASSWORD" in output, old == new) == (0, True, False)
    logins = [rotation.login(running.access(), "cvat", password) for password in (old, new)]
    assert logins == [200, 200]
    assert rotate(running, "cvat")[0] == 0
    assert passwords(running)["clickhouse_cvat"] == new, "a change that is under way is not begun again"
    assert rotate(running, "cvat", "--finish")[0] == 0
    logins = [rotation.login(running.access(), "cvat", password) for password in (old, new)]
    assert logins == [403, 200]
    assert rotate(running, "grafana", "--finish")[0] == 2


class _Store:
    """Stands for ClickHouse and the hosts: accepts what was in the secrets file when it was last applied."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch, fail_at: int = 0) -> None:
        self.path, self.calls, self.fail_at = path, 0, fail_at
        self.accepted: set[str] = set()
        self.used = ""
        monkeypatch.setattr(
            rotation, "login", lambda access, user, password: 200 if password in self.accepted else 403
        )

    def apply(self) -> None:
        self.calls += 1
        values = secrets.load(self.path)
        names = ["clickhouse_vector", *(f"clickhouse_vector{suffix}" for suffix in secrets.ACCEPTED)]
        self.accepted = {values[name] for name in names if name in values}
        self.used = values["clickhouse_vector"]
        assert self.used in self.accepted
        if self.calls == self.fail_at:
            raise CvatAnalyticsError(Code.DEPLOY_STEP_FAILED, "a step failed")


@pytest.mark.parametrize("fail_at", [1, 2, 3])
def test_a_change_that_is_cut_off_is_completed_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail_at: int
) -> None:
    path = tmp_path / "secrets.json"
    secrets.init(path)
    old = secrets.load(path)["clickhouse_vector"]
    store = _Store(path, monkeypatch, fail_at)
    change = rotation.Rotation("vector", path, store.apply, nowhere, lambda text: None)
    with pytest.raises(CvatAnalyticsError, match="a step failed"):
        change.run()
    assert change.begun
    under_way = {
        value for name, value in json.loads(path.read_text()).items() if name.startswith("clickhouse_vector")
    }
    assert change.run()
    new = secrets.load(path)["clickhouse_vector"]
    assert (new in under_way, new != old, store.accepted, store.used) == (True, True, {new}, new)
    assert not change.begun
    assert set(json.loads(path.read_text())) == set(secrets.NAMES)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_password_that_does_not_come_into_force_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secrets.json"
    secrets.init(path)
    monkeypatch.setattr(rotation, "PATIENCE", 0.0)
    monkeypatch.setattr(rotation, "login", lambda access, user, password: 403)
    change = rotation.Rotation("vector", path, lambda: None, nowhere, lambda text: None)
    with pytest.raises(CvatAnalyticsError, match="does not accept the new password of vector"):
        change.run()
    assert secrets.load(path)["clickhouse_vector"] != secrets.load(path)["clickhouse_vector_next"]


def test_a_clickhouse_that_cannot_have_two_passwords_is_refused() -> None:
    rotation.refuse_old("26.8.19.9")
    with pytest.raises(InputError, match="is not known to accept two passwords"):
        rotation.refuse_old("25.8.1.1")
