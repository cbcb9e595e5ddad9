"""The benchmark of a small host: its control group holds what is started in it, and its people do what they say."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import small
from benchmarks.report import BenchmarkError, Report
from benchmarks.small import load
from benchmarks.small.group import Cage, cage
from tests.missing import give_up
from tests.waiting import until


def test_what_takes_too_much_memory_is_killed_in_the_group_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = 64 * 2**20
    monkeypatch.setattr("benchmarks.small.group.MEMORY", memory)
    with ExitStack() as made:
        try:
            group = made.enter_context(cage())
        except BenchmarkError as error:
            give_up(str(error))
        assert group.kills == 0
        greedy = [sys.executable, "-c", f"bytearray(b'x') * {2 * memory}"]
        assert subprocess.run(group.inside(greedy), check=False, timeout=120).returncode != 0
        assert group.kills == 1
    assert not group.memory.exists()


def test_a_group_that_is_made_in_part_is_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()  # of version 1, and without the other controller
    monkeypatch.setattr("benchmarks.small.group._ROOT", tmp_path)
    with pytest.raises(BenchmarkError), cage():
        pass
    assert not list((tmp_path / "memory").iterdir())


def test_without_the_right_to_make_a_group_it_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("benchmarks.small.group._ROOT", tmp_path / "not mounted")
    with pytest.raises(BenchmarkError, match="run this section as root"), cage():
        pass


@pytest.mark.parametrize(
    ("stat", "bytes_"),
    [("anon 7\nfile 99\n", 7), ("cache 99\ntotal_cache 99\ntotal_rss 5\n", 5)],
    ids=["version 2", "version 1"],
)
def test_memory_is_what_is_not_page_cache(tmp_path: Path, stat: str, bytes_: int) -> None:
    (tmp_path / "memory.stat").write_text(stat)
    group = Cage(tmp_path, tmp_path)
    group.look(NOTHING_RUNS)  # type: ignore[arg-type]
    assert group.used == bytes_


class _Processes:
    def pid(self, _: str) -> None:
        return None


class _Nothing:
    processes = _Processes()


NOTHING_RUNS: object = _Nothing()


class _Vector(http.server.ThreadingHTTPServer):
    """Substitute for Vector: its first answer is none, and after that it answers when `needed` requests wait for it at once."""

    def __init__(self, needed: int) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.begun = 0
        self.together = threading.Barrier(needed)


class _Answer(http.server.BaseHTTPRequestHandler):
    server: _Vector

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.begun += 1
        if self.server.begun == 1:
            self.wfile.write(b"nonsense\r\n")
            return
        self.server.together.wait(60)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def vector() -> Iterator[_Vector]:
    with _Vector(3) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.together.abort()
        server.shutdown()
        thread.join()


class _Engine:
    """Substitute for an engine: there is nothing in it."""

    def value(self, _: str) -> str:
        return "0"


@pytest.fixture
def work(vector: _Vector, monkeypatch: pytest.MonkeyPatch) -> load.Load:
    monkeypatch.setattr(load, "_events", lambda *_: [{"obj_id": number} for number in range(100)])
    access = SimpleNamespace(vector=SimpleNamespace(address=vector.server_address))
    running: Any = SimpleNamespace(access=lambda: access)
    engine: Any = _Engine()
    return load.Load(running, engine, 1)


def test_a_slow_vector_makes_the_load_no_lighter(vector: _Vector, work: load.Load) -> None:
    """It answers three at once or nobody: one sender would wait for ever. And an answer that is none ends no sender."""
    senders = threading.Thread(target=work._steadily)
    senders.start()
    try:
        until(lambda: work.steady >= 4 * load.BATCH_SIZE, "events were sent")
    finally:
        work._done.set()
        vector.together.abort()
        # who waits now is answered, as nobody comes any more
        vector.together = threading.Barrier(1)
        senders.join()
    assert work.steady == work.taken


@pytest.mark.parametrize(
    "error", [IndexError, AssertionError, BenchmarkError], ids=lambda each: each.__name__
)
def test_whatever_goes_wrong_is_counted_and_the_work_goes_on(work: load.Load, error: type[Exception]) -> None:
    turns: list[int] = []

    def step(turn: int) -> None:
        turns.append(turn)
        if len(turns) == 4:
            work._done.set()
        if len(turns) != 2:
            raise error(f"elapsed 60{turn}.{turn}1 ms")

    work._repeat(step, 0, 7)

    assert turns == [7, 8, 9, 10]
    assert dict(work.refused) == {f"step: {error.__name__}: elapsed … ms": 3}


def report(work: load.Load) -> dict[str, str]:
    running: Any = SimpleNamespace(processes=SimpleNamespace(pid=lambda _: 1))
    work.failures = lambda: 0  # type: ignore[method-assign]
    made: Report = small._report(running, _cage_of_nothing(), work, 0, "small", 60, 60)
    assert json.dumps(made.as_json())
    return {target.name: target.verdict for target in made.targets}


def _cage_of_nothing() -> Any:
    return SimpleNamespace(used=0, highest={}, kills=0)


def test_without_a_load_no_run_is_good(work: load.Load) -> None:
    missed = {name for name, verdict in report(work).items() if verdict != "met"}
    assert missed == {"events sent steadily", "dashboards opened", "exports"}


def test_with_nine_tenths_of_the_load_a_run_is_good(work: load.Load) -> None:
    work.steady = 162_000
    work.looks = {"7 days": [1.0] * 324, "everything": [1.0] * 324}
    work.exports = [1.0] * 5
    assert set(report(work).values()) == {"met"}
    work.steady -= 1
    assert report(work)["events sent steadily"] == "missed"


def test_memory_is_looked_at_while_something_is_done(tmp_path: Path) -> None:
    (tmp_path / "memory.stat").write_text("anon 7\n")
    group = Cage(tmp_path, tmp_path)
    with small._looking(group, NOTHING_RUNS):  # type: ignore[arg-type]
        until(lambda: group.used == 7, "the group was looked at")
