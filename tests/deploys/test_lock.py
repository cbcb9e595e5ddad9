"""Two deploys at once: the second is refused and names the first, and one that was killed is in nobody's way.

The host is this machine, on pyinfra's own connector; tests/hosts/test_deploy.py has it on a host behind SSH.
"""

from __future__ import annotations

import getpass
import re
import shlex
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
from deploys import lock
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
