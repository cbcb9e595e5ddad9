"""One cause is one failure, what hangs on it is not asked, and nothing takes longer than it may."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace

import httpx
import pytest

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import (
    CvatAnalyticsError,
    RefusedLoginError,
    UnreachableError,
    UnreachableHostError,
)
from cvat_analytics.checks import causes
from cvat_analytics.checks.causes import (
    Check,
    RefutedError,
    Result,
    SkippedError,
    TimeLimitError,
    results,
    within,
)


def fine() -> str:
    return "seen"


def wrong(text: str = "wrong", kind: type[Exception] = CvatAnalyticsError) -> Callable[[], str]:
    def fail() -> str:
        if issubclass(kind, CvatAnalyticsError):
            raise kind(Code.PORT_TAKEN, text)
        raise kind(text)

    return fail


def check(name: str, do: Callable[[], str] = fine, *needs: str, part: bool = False, suspects: tuple[str, ...] = ()) -> Check:  # fmt: skip
    return Check(name, f"mend {name}", do, needs, suspects, part)


def outcomes(*checks: Check, seconds: float = causes.WHOLE_SECONDS) -> dict[str, str]:
    """Return what became of each check, with the cause of what was not asked."""
    return {
        each.name: f"{each.outcome} {each.cause}".strip() for each in results(checks, seconds)
    }  # fmt: skip


def test_what_hangs_on_a_failure_is_not_asked_however_far_down() -> None:
    found = [
        *results(
            [
                check("store", wrong("closed"), part=True),
                check("login", fine, "store"),
                check("query", fine, "login"),
                check("other"),
            ]
        )
    ]
    assert found == [
        Result("store", False, "closed. What to do: mend store", code=Code.PORT_TAKEN),
        Result("login", None, "not asked, because store failed", "store"),
        Result("query", None, "not asked, because store failed", "store"),
        Result("other", True, "seen"),
    ]


def test_a_failure_has_the_code_of_its_cause_or_else_that_of_the_check() -> None:
    login = Check("login", "mend it", wrong("refused", OSError), code=Code.CLICKHOUSE_LOGIN)
    assert [each.code for each in results([login, check("other", wrong()), check("fine")])] == [
        Code.CLICKHOUSE_LOGIN,
        Code.PORT_TAKEN,
        None,
    ]


def test_what_a_stack_has_nothing_of_holds_up_nothing() -> None:
    assert outcomes(check("gateway", wrong("none", SkippedError)), check("next", fine, "gateway")) == {
        "gateway": "not checked",
        "next": "passed",
    }


def test_a_failure_is_charged_to_a_suspect_that_has_failed() -> None:
    query = check("query", wrong("no such table"), suspects=("schema",))
    assert outcomes(check("schema", wrong()), query) == {"schema": "failed", "query": "not asked schema"}
    assert outcomes(check("schema"), query) == {"schema": "passed", "query": "failed"}
    assert outcomes(check("schema", wrong()), check("query", suspects=("schema",)))["query"] == "passed"


@pytest.mark.parametrize(
    "error", [UnreachableError, httpx.ConnectError, httpx.ReadTimeout, ConnectionResetError]
)
def test_a_part_that_goes_away_in_the_middle_has_failed_and_not_the_check(error: type[Exception]) -> None:
    answers = iter((fine, wrong("gone", UnreachableError)))
    part = check("store", lambda: next(answers)(), part=True)
    found = [
        *results(
            [
                part,
                check("login", fine, "store"),
                check("right", wrong("closed", error), "login"),
                check("dashboard", fine, "login"),
                check("datasource", fine, "store"),
            ]
        )
    ]
    assert [(each.name, each.outcome, each.cause) for each in found] == [
        ("store", "passed", ""),
        ("login", "passed", ""),
        ("store", "failed", ""),
        ("right", "not asked", "store"),
        ("dashboard", "not asked", "store"),
        ("datasource", "not asked", "store"),
    ]


def test_a_right_that_is_too_wide_is_a_failure_of_its_own_whatever_else_is_wrong() -> None:
    right = check("right", wrong("it was allowed", RefutedError), suspects=("schema",))
    assert outcomes(check("schema", wrong()), right) == {"schema": "failed", "right": "failed"}


def test_a_part_that_says_it_is_there_and_answers_nothing_has_failed() -> None:
    part, query = check("store", fine, part=True), check("query", fine, "store")
    for error in (TimeLimitError, httpx.ReadTimeout):
        silent = Check("login", "mend login", wrong("silence", error), ["store"], speaks_for="store")
        found = [(each.name, each.outcome, each.cause) for each in results([part, silent, query])]
        assert found == [
            ("store", "passed", ""),
            ("store", "failed", ""),
            ("login", "not asked", "store"),
            ("query", "not asked", "store"),
        ]
    refused = Check(
        "login", "mend login", wrong("password", RefusedLoginError), ["store"], speaks_for="store"
    )
    assert outcomes(part, refused, query) == {"store": "passed", "login": "failed", "query": "passed"}


def test_a_host_that_is_away_is_the_cause_for_all_that_is_on_it() -> None:
    away = wrong("host b: cannot be reached: no route", UnreachableHostError)
    checks = [check("vector", away, part=True), check("event", fine, "vector")]
    found = {each.name: each for each in results(checks)}
    assert found["event"] == Result("event", None, "not asked, because host b cannot be reached", "host b")
    assert found["vector"].cause == "host b"


def test_a_step_and_the_whole_have_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(causes, "STEP_SECONDS", 0.2)
    never = threading.Event()

    def hang() -> str:
        never.wait()
        return "never"

    try:
        found = results([check("hangs", hang), check("next")])
        hangs = next(found)
        assert hangs.passed is False
        assert "there was no answer within 0 s" in hangs.detail
        monkeypatch.setattr(causes, "STEP_SECONDS", 60)  # what answers may be slow on a busy machine
        assert next(found).passed
        late = outcomes(check("hangs", hang), check("a", fine), check("b", fine), seconds=0.1)
        assert late == {
            "hangs": "not asked time", "time": "failed", "a": "not asked time", "b": "not asked time",
        }  # fmt: skip
    finally:
        never.set()


def test_all_of_it_is_a_minute_however_much_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step takes all the time that it is given, by a clock of the test's own; the part answers at the last moment."""
    passed = 0.0

    def hang(seconds: float, work: Callable[[], str]) -> str:
        nonlocal passed
        passed += max(seconds, 0)
        if seconds > 0 and work is fine:
            return work()
        raise TimeLimitError(Code.CHECK_TOO_SLOW, "no time")

    monkeypatch.setattr(causes, "within", hang)
    monkeypatch.setattr(causes, "time", SimpleNamespace(monotonic=lambda: passed))
    found = outcomes(check("part", part=True), check("query", wrong(), "part"), check("another"))
    assert found == {"part": "passed", "query": "failed", "time": "failed", "another": "not asked time"}
    assert 50 <= passed <= 60 - causes.TIDYING_SECONDS


def test_within_hands_on_what_comes() -> None:
    assert within(60, lambda: 7) == 7
    with pytest.raises(KeyError):
        within(60, lambda: dict[int, int]()[1])
    begin = time.monotonic()
    with pytest.raises(TimeLimitError):
        within(0.05, lambda: time.sleep(30))
    assert time.monotonic() - begin < 25


def test_a_fault_of_the_program_is_no_failure_of_a_check() -> None:
    with pytest.raises(KeyError):
        outcomes(check("broken", wrong("key", KeyError)))
