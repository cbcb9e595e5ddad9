"""The harness itself: it must see a loss and a double, and count right."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cvat_analytics.pipeline.journal_text import Damage
from tests.faults import client, harness, proxy
from tests.faults.account import Account, Found, Kept
from tests.faults.embedded import Embedded
from tests.faults.harness import Fault, Scene
from tests.faults.kinds import FAULTS
from tests.faults.ledger import Ledger
from tests.serving import served

# the stack's processes outlive whoever starts them
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


KEPT = Kept(frozenset({1, 2, 3}))


def account(found: Found, acknowledged: set[int], sent: int = 10, kept: Kept = KEPT) -> Account:
    sendings = Counter({1: 2, 2: 1})
    return Account.of(
        sent=sent, sendings=sendings, acknowledged=acknowledged, found=found, kept=kept, malformed={5}
    )


def found(events: list[int], letters: list[int] | None = None) -> Found:
    originals = [json.dumps({"obj_id": number}) for number in letters or []]
    return Found.of(events, originals, len(events) + 3)


def test_everything_once_is_faultless() -> None:
    result = account(found([1, 2, 3], [5]), {1, 2, 3, 5})
    assert result.faultless
    assert (result.stored, result.dead, result.unacknowledged, result.resent, result.copies) == (
        3,
        1,
        6,
        1,
        3,
    )


def test_an_event_that_was_stored_and_not_acknowledged_is_no_fault() -> None:
    assert account(found([1, 2], [5]), {1, 5}).faultless


@pytest.mark.parametrize(
    ("seen", "wrong"),
    [
        (found([1, 3], [5]), {"lost": (2,)}),
        (found([1, 2, 3]), {"lost": (5,)}),
        (found([1, 2, 2, 3], [5]), {"duplicate": (2,)}),
        (found([1, 2, 3], [5, 5]), {"duplicate": (5,)}),
        (found([1, 2, 3], [3, 5]), {"duplicate": (3,), "misplaced": (3,)}),
        (found([1, 2, 3, 5]), {"misplaced": (5,)}),
        (found([1, 2], [3, 5]), {"misplaced": (3,)}),
    ],
)
def test_what_is_wrong_is_named(seen: Found, wrong: dict[str, tuple[int, ...]]) -> None:
    result = account(seen, {1, 2, 3, 5})
    figures = {name: getattr(result, name) for name in ("lost", "duplicate", "misplaced")}
    assert {name: value for name, value in figures.items() if value} == wrong
    assert not result.faultless
    assert ", ".join(map(str, next(iter(wrong.values())))) in result.text()


def test_an_acknowledged_event_that_the_journal_lacks_is_named() -> None:
    result = account(found([1, 2, 3], [5]), {1, 2, 3, 5}, kept=Kept(frozenset({1, 9}), torn=2))
    assert (result.unkept, result.kept, result.torn, result.faultless) == ((2, 3), 2, 2, False)
    assert "not in it             2   2, 3" in result.text()


def test_what_was_cut_off_is_no_fault_and_what_cannot_be_read_is_one() -> None:
    damages = [Damage("a", 1, "cut", expected=True)]
    kept = Kept.of([b'{"obj_id":1}', b'{"obj_id":2}', b'{"obj_id":3}'], damages)
    assert (kept.torn, account(found([1, 2, 3], [5]), {1, 2, 3}, kept=kept).faultless) == (1, True)
    for bad in (
        Kept.of([b'{"obj_id":1}', b'{"obj_id":2}', b'{"obj_id":3}'], [Damage("a", 1, "gone")]),
        Kept.of([b'{"obj_id":1}', b'{"obj_id":2}', b'{"obj_id":3}', b'{"obj_id":4'], []),
    ):
        assert not account(found([1, 2, 3], [5]), {1, 2, 3}, kept=bad).faultless


def test_a_run_in_which_nothing_was_acknowledged_proves_nothing() -> None:
    assert not account(found([]), set()).faultless


def test_events_are_numbered_and_some_are_malformed() -> None:
    made = [client.make(number) for number in range(1, 101)]
    assert [event["obj_id"] for event in made] == list(range(1, 101))
    bad = [e["obj_id"] for e in made if -1 in (e["count"], e["task_id"], e["timestamp"])]
    assert bad == [25, 50, 75, 100] == [n for n in range(1, 101) if client.is_malformed(n)]


def post(port: int, body: bytes) -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@contextmanager
def answering(*statuses: int) -> Iterator[int]:
    """Run a server that answers so, and yield its port."""
    waiting = list(statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(waiting.pop(0))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with served(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        yield server.server_port


def test_the_ledger_knows_what_was_acknowledged_even_when_the_client_does_not() -> None:
    with answering(200, 503, 200) as port, closing(Ledger([("127.0.0.1", port)])) as ledger:
        assert post(ledger.port, b'[{"obj_id": 1}, {"obj_id": 2}]') == 200
        assert post(ledger.port, b'[{"obj_id": 3}]') == 503
        assert ledger.snapshot() == {1, 2}
        ledger.lose_answers = True
        with pytest.raises(OSError, match="closed"):
            post(ledger.port, b'[{"obj_id": 3}]')
        ledger.lose_answers, ledger.cut_requests = False, True
        with pytest.raises(OSError, match="closed"):
            post(ledger.port, b'[{"obj_id": 4}]')
        assert ledger.snapshot() == {1, 2, 3}
        assert ledger.sendings == {1: 1, 2: 1, 3: 2, 4: 1}
        assert ledger.answers == {"200": 2, "503": 1, "none": 1}


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Embedded]:
    running = Embedded(tmp_path / "stack")
    yield running
    running.close()


def test_what_the_buffer_of_the_real_vector_has_lost_is_brought_back_by_replay_and_named(
    stage: Embedded,
) -> None:
    stage.gap = True
    outcome = harness.run(stage, planted(SWALLOWED), seed=1, rate=100, patience=30)
    assert outcome.account.replayed, outcome.text()
    assert not outcome.account.unkept


def planted(mode: str) -> dict[str, Fault]:
    def play(scene: Scene) -> None:
        scene.stage.proxy.set(mode)
        try:
            assert scene.stage.proxy.wait_for_hit(mode, scene.stage.proxy.hits[mode], 60)
        finally:
            scene.stage.proxy.set("")

    return {mode: play}


SWALLOWED, DOUBLED = proxy.PLANTED


def test_a_planted_loss_is_found(stage: Embedded) -> None:
    stage.gap = False
    outcome = harness.run(stage, planted(SWALLOWED), seed=1, rate=100, patience=5)
    assert not outcome.passed
    assert outcome.account.lost
    assert not outcome.account.duplicate
    assert outcome.text().endswith("FAIL: repeat it with --seed 1")


def test_a_planted_double_is_found(stage: Embedded) -> None:
    outcome = harness.run(stage, planted(DOUBLED), seed=1, rate=100, patience=90)
    assert not outcome.passed
    assert outcome.account.duplicate
    assert not outcome.account.lost


def test_writes_that_are_refused_lose_nothing_also_where_nothing_can_be_mounted(tmp_path: Path) -> None:
    with closing(Embedded(tmp_path / "stack", mount=False)) as stage:
        faults = {name: FAULTS[name] for name in FAULTS if name.startswith("the disk is full")}
        outcome = harness.run(stage, faults, seed=1, rate=100, hold=(1.5, 2.0), patience=120)
    assert outcome.passed, outcome.text()
    assert outcome.not_taken > 0, outcome.text()


def test_a_journal_that_loses_events_is_found(stage: Embedded) -> None:
    def lose(scene: Scene) -> None:
        seen = len(scene.ledger.snapshot())
        while len(scene.ledger.snapshot()) == seen:
            scene.pause()
        for file in scene.stage.journal.iterdir():
            file.unlink()

    outcome = harness.run(stage, {"the journal is removed": lose}, seed=1, rate=100, hold=(0.1, 0.2))
    assert not outcome.passed
    assert outcome.account.unkept
    assert not outcome.account.lost


def test_after_any_kills_every_acknowledged_event_is_in_the_journal(stage: Embedded) -> None:
    faults = {name: FAULTS[name] for name in FAULTS if "kill -9 Vector" in name and "disk" not in name}
    outcome = harness.run(stage, faults, seed=1, rate=200, hold=(0.1, 0.3), patience=180)
    assert outcome.passed, outcome.text()
    assert outcome.account.kept >= outcome.account.acknowledged - outcome.account.dead > 100
