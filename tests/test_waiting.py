"""Waiting ends with what is waited for, or says what it saw instead."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.waiting import until


def test_what_is_good_is_returned_at_once() -> None:
    numbers = itertools.count()
    assert until(lambda: next(numbers), "a number", lambda number: number > 3, pause=0) == 4
    assert next(numbers) == 5


def test_what_does_not_come_is_named_with_what_was_seen_last() -> None:
    with pytest.raises(AssertionError, match=r"^not within 0 s: three events; last seen: 2\nthe log$"):
        until(lambda: 2, "three events", lambda number: number == 3, patience=0, told=lambda: "the log")


def test_what_fails_meanwhile_is_waited_out_only_where_that_is_said() -> None:
    answers: Iterator[str | Exception] = iter([ConnectionRefusedError("not yet"), "here"])

    def look() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert until(look, "it answers", despite=OSError, pause=0) == "here"
    with pytest.raises(StopIteration):
        until(look, "it answers", despite=OSError, pause=0)
    with pytest.raises(AssertionError, match=r"last seen: ConnectionRefusedError\('away'\)"):
        until(away, "it answers", despite=OSError, patience=0)


def away() -> None:
    raise ConnectionRefusedError("away")
