"""Two deploys at once: the second is refused and names the first, and one that was killed is in nobody's way; an upgrade has the lock over all its turns.

The host is this machine, on pyinfra's own connector; tests/hosts/test_deploy.py has it on a host behind SSH.
"""

from __future__ import annotations

import getpass
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from pyinfra.api import Config, Inventory, State
from pyinfra.api.connect import connect_all

from cvat_analytics.base.errors import InputError
from cvat_analytics.base.project import ROOT
from cvat_analytics.operate import deploy_lock
from deploys import lock
from deploys.report import HELD
from tests.waiting import until

DEPLOY = """
import sys
from pathlib import Path
from tests.deploys import test_lock
test_lock.lock._FILE = sys.argv[1]
test_lock.take()
print("at work", flush=True)
sys.stdin.read()
"""

UPGRADE = """
import sys
from pathlib import Path
from cvat_analytics.operate import deploy_lock
deploy_lock.LOCK = sys.argv[1]
deploy_lock.holder.__defaults__ = (sys.argv[1], 0)
with deploy_lock.held(Path(sys.argv[2])) as lock:
    print(lock.name, flush=True)
    sys.stdin.read()
"""


def take() -> None:
    """Take the lock of this machine, as a deploy does."""
    inventory = Inventory((["@local"], {}))
    state = State(inventory, Config())
    connect_all(state)
    lock.take(inventory.get_host("@local"))


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the lock's file, which nobody who is not root could have in its own place."""
    monkeypatch.setattr(lock, "_FILE", str(tmp_path / "lock"))
    monkeypatch.setattr(lock, "_MOMENT", 0)
    with ExitStack() as held:
        monkeypatch.setattr(lock, "_held", held)
        yield tmp_path / "lock"


@contextmanager
def another(file: Path) -> Iterator[subprocess.Popen[str]]:
    """Yield another deploy, of another process, that is at work."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", DEPLOY, file], cwd=ROOT, stdin=pipe, stdout=pipe, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "at work\n"
            yield process
        finally:
            process.kill()


@contextmanager
def upgrade(file: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yield an upgrade, of another process, that is between two turns, and its name."""
    inventory = file.parent / "hosts.py"
    inventory.write_text("clickhouse = vector = grafana = ['@local']\n")
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", UPGRADE, file, inventory], cwd=ROOT, stdin=pipe, stdout=pipe, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def refusal() -> str | None:
    try:
        take()
    except InputError as error:
        return str(error)
    return None


def test_the_second_deploy_is_refused_and_told_whose_the_first_is(file: Path) -> None:
    with another(file):
        text = str(refusal())
    who = f"{getpass.getuser()}@{socket.gethostname()}"
    assert re.match(
        rf"host @local: another deploy is at work there: {re.escape(who)}, since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC\. Wait until",
        text,
    )


def test_a_deploy_that_was_killed_leaves_no_lock_behind(file: Path) -> None:
    with another(file) as first:
        first.kill()
        until(refusal, "the lock of a deploy that was killed", lambda text: text is None)


def test_one_that_ends_while_the_second_looks_is_waited_for(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_MOMENT", 60)
    with another(file) as first, ThreadPoolExecutor(1) as pool:
        second = pool.submit(take)
        waiting = f"-> FLOCK .*:{file.stat().st_ino} "
        until(lambda: re.search(waiting, Path("/proc/locks").read_text()), "the second deploy waits")
        assert not second.done()
        first.kill()
        second.result(60)


def test_a_locale_that_the_host_lacks_is_no_answer(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "xx_XX.UTF-8")
    take()


def test_what_a_former_deploy_has_left_names_nobody(file: Path) -> None:
    with another(file):
        assert file.read_text()
    until(file.read_text, "nobody is named", lambda text: not text)


def test_hosts_are_locked_in_the_order_of_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    inventory = Inventory((["c", "a", "b"], {}))
    state = State(inventory, Config())
    state.active_hosts = set(inventory)
    order: list[str] = []
    monkeypatch.setattr(lock, "_take", lambda host: order.append(host.name))
    monkeypatch.setattr(lock, "_taken", defaultdict(threading.Event))
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lock.take, sorted(inventory, key=lambda host: host.name, reverse=True)))
    assert order == sorted(order)
    assert len(order) == 3


def test_the_command_that_is_named_ends_the_lock_of_a_deploy_that_is_gone_for_good(file: Path) -> None:
    with another(file):
        words = shlex.split(str(refusal()).split("`")[1])
        assert words[:2] == ["sudo", "kill"]
        subprocess.run(words[1:], check=True)
        until(refusal, "the lock of a killed holder", lambda text: text is None)


def test_a_lock_that_cannot_be_taken_is_said_with_its_file(file: Path) -> None:
    file.mkdir()
    assert re.search(
        rf"its lock {file}, which keeps other deploys away, cannot be taken: .*Is a directory", str(refusal())
    )


def test_an_upgrade_keeps_others_away_between_its_turns_and_lets_its_own_runs_in(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with upgrade(file) as (process, name):
        assert f"another deploy is at work there: {name}, since " in str(refusal())
        monkeypatch.setenv(HELD, name)
        take()
        # of two at the same time neither goes on with the other's hosts
        monkeypatch.setenv(HELD, "somebody else's")
        assert "this command has lost its lock there" in str(refusal())
        monkeypatch.delenv(HELD)
        assert refusal()
        process.kill()


def test_an_upgrade_that_was_killed_leaves_no_lock_behind_but_while_its_run_is_at_work(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as run:
        with upgrade(file) as (process, name):
            monkeypatch.setenv(HELD, name)
            with monkeypatch.context() as patched:
                patched.setattr(lock, "_held", run)
                take()
            monkeypatch.delenv(HELD)
            of_run = file.read_text()
            process.kill()
        # its own holder ends, and leaves the note of the run
        until_only_the_run_is_left(file)
        assert file.read_text() == of_run
        assert f"another deploy is at work there: {name}, since " in str(refusal())
    until(refusal, "the lock of an upgrade that was killed", lambda text: text is None)


def until_only_the_run_is_left(file: Path) -> None:
    until(
        lambda: subprocess.run(
            ["flock", "-s", "-n", file, "cat", "/proc/locks"], capture_output=True, text=True, check=False
        ).stdout.count(f":{file.stat().st_ino} "),
        "the run's lock, and that of whoever looks",
        lambda count: count == 2,
    )


def test_a_lock_that_was_lost_while_a_run_was_at_work_is_noticed_by_the_next_one(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as run:
        with upgrade(file) as (process, name):
            monkeypatch.setenv(HELD, name)
            with monkeypatch.context() as patched:
                patched.setattr(lock, "_held", run)
                take()
            process.kill()
        until_only_the_run_is_left(file)
    until(file.read_text, "the note of the run", lambda text: not text)
    assert "has lost its lock there" in str(refusal())


def test_a_lock_whose_holder_had_no_time_for_its_note_is_lost_for_the_runs_and_for_the_upgrade(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploy_lock.holder, "__defaults__", (str(file), 0))
    inventory = file.parent / "hosts.py"
    inventory.write_text("clickhouse = vector = grafana = ['@local']\n")
    with deploy_lock.held(inventory) as held:
        held.look()
        os.kill(int(file.read_text().split()[-1]), signal.SIGKILL)

        def lost() -> str:
            try:
                held.look()
            except InputError as error:
                return str(error)
            return ""

        assert "host @local: this command has lost its lock there" in until(lost, "it is noticed")
        assert held.name in file.read_text()
        monkeypatch.setenv(HELD, held.name)
        assert "has lost its lock there" in str(refusal())


def test_the_command_that_is_named_ends_both_locks_of_an_upgrade_that_is_gone_for_good(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with upgrade(file) as (_, name):
        monkeypatch.setenv(HELD, name)
        with ExitStack() as run:
            with monkeypatch.context() as patched:
                patched.setattr(lock, "_held", run)
                take()
            monkeypatch.delenv(HELD)
            words = shlex.split(str(refusal()).split("`")[1])
            assert words[:2] == ["sudo", "kill"]
            assert len(words) == 4
            subprocess.run(words[1:], check=True)
            until(refusal, "the locks of killed holders", lambda text: text is None)


def test_a_run_of_an_upgrade_that_has_lost_its_lock_is_refused(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with upgrade(file) as (process, name):
        process.kill()
    monkeypatch.setenv(HELD, name)
    until(refusal, "a lock that is lost", lambda text: "has lost its lock there" in str(text))
    monkeypatch.delenv(HELD)
    until(refusal, "the lock of whoever runs it again", lambda text: text is None)
