"""Checks that know what they depend on, and how long they may take: one cause is one failure.

What hangs on a check that has failed is not asked, and says why. A check that fails because a part went away in the middle of it has not
failed itself: the part has.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import (
    CvatAnalyticsError,
    RefusedLoginError,
    UnreachableError,
    UnreachableHostError,
)
from cvat_analytics.connect.clickhouse_errors import NoAnswerError, error_text

STEP_SECONDS, WHOLE_SECONDS, TIDYING_SECONDS = 20.0, 50.0, 9.0
"""The most that one check may take, all of them together, and what is left of a minute for tidying up."""


class SkippedError(Exception):
    """A check has nothing to check in this stack; the text says why."""


class RefutedError(CvatAnalyticsError):
    """The opposite of what a check is about was seen: whatever else is wrong, that is its own failure."""


class UnseenError(CvatAnalyticsError):
    """What a check is about could not be seen, for another reason than a part that is away: what to do is something else."""


class TimeLimitError(CvatAnalyticsError):
    """A step has taken too long."""


@dataclass(frozen=True)
class Check:
    """One question to the stack. `do` returns what was seen, or raises SkippedError, or what was wrong."""

    name: str
    advice: str
    """What to do when it fails."""
    do: Callable[[], str]
    needs: Sequence[str] = ()
    """The checks before it that must not have failed: otherwise it is not asked."""
    suspects: Sequence[str] = ()
    """The checks before it that, when they have failed, are to blame for its failure."""
    is_part: bool = False
    """Whether it asks if a part is there at all, so that it is asked again when something that needs it fails."""
    speaks_for: str = ""
    """The check of a part that has failed, whatever it said before, when this one is not answered at all."""
    code: Code = Code.EVENT_NOT_SEEN
    """That of its failure, where what it raises has none of its own."""


@dataclass(frozen=True)
class Result:
    """The outcome of one check. `detail` says what was seen, after a failure also what to do, or why there is nothing to see."""

    name: str
    passed: bool | None
    """None where it was not asked, or this stack has nothing to check."""
    detail: str
    cause: str = ""
    """The check, or the host (`host NAME`), because of which it was not asked; empty where it was, or has nothing to check."""
    code: Code | None = None
    """What its failure is looked up by."""

    @property
    def outcome(self) -> str:
        """Return in a word or two what became of it."""
        if self.passed is None:
            return "not asked" if self.cause else "not checked"
        return "passed" if self.passed else "failed"


def results(checks: Sequence[Check], seconds: float = WHOLE_SECONDS) -> Iterator[Result]:
    """Yield the result of each check, in order, within so many seconds: what is left then is not asked."""
    end = time.monotonic() + seconds
    known = {check.name: check for check in checks}
    causes: dict[str, str] = {}
    for check in checks:
        if cause := _cause(check, known, causes):
            yield _not_asked(check, cause)
            continue
        limit = min(STEP_SECONDS, end - time.monotonic())
        try:
            result, error = _attempt(check, limit)
        except UnreachableHostError as away:
            # it says itself which host, and that once for all that is on it
            causes[check.name] = str(away).partition(":")[0]
            yield _not_asked(check, causes[check.name])
            continue
        if limit < STEP_SECONDS and isinstance(error, TimeLimitError):
            if TIME not in causes:
                causes[TIME] = TIME
                what = f"the checks have taken {seconds:.0f} s and are not done. {_SLOW}"
                yield Result(TIME, False, what, code=Code.CHECK_TOO_SLOW)
            causes[check.name] = TIME
            yield _not_asked(check, TIME)
            continue
        if error:
            is_away = _is_away(error)
            gone = _gone(check, known, end) if is_away else None
            if is_away and not gone and check.speaks_for:
                gone = Result(check.speaks_for, False, result.detail, code=result.code)
            suspects = () if isinstance(error, RefutedError) else check.suspects
            suspect = next((causes[each] for each in suspects if each in causes), "")
            cause = gone.name if gone else suspect
            causes[check.name] = cause or check.name
            if gone:
                causes[gone.name] = gone.name
                yield gone
            if cause:
                result = _not_asked(check, cause)
        yield result


TIME = "time"
_LOGS = "see the part's log, and `cvat-analytics status`"
_SLOW = "What to do: see what keeps the hosts busy (`cvat-analytics status`), then run it again"


def _cause(check: Check, known: Mapping[str, Check], causes: Mapping[str, str]) -> str:
    """Return which failure keeps `check` from being asked, its own needs' needs included; empty if none does."""
    for name in check.needs:
        if name in causes:
            return causes[name]
        if name in known and (cause := _cause(known[name], known, causes)):
            return cause
    return ""


def _not_asked(check: Check, cause: str) -> Result:
    what = "cannot be reached" if cause.startswith("host ") else "failed"
    return Result(check.name, None, f"not asked, because {cause} {what}", cause)


def _attempt(check: Check, seconds: float) -> tuple[Result, Exception | None]:
    """Return what becomes of a check, and the error with which it has failed."""
    try:
        return Result(check.name, True, within(seconds, check.do)), None
    except SkippedError as reason:
        return Result(check.name, None, str(reason)), None
    except Exception as error:
        if isinstance(error, UnreachableHostError) or not isinstance(error, _failures()):
            raise
        # of ours not only what ClickHouse says in it
        text = str(error) if isinstance(error, CvatAnalyticsError) else error_text(error)
        advice = _LOGS if isinstance(error, UnseenError | NoAnswerError) else check.advice
        code = error.code if isinstance(error, CvatAnalyticsError) else check.code
        return Result(check.name, False, f"{text}. What to do: {advice}", code=code), error


def _gone(check: Check, known: Mapping[str, Check], end: float) -> Result | None:
    """Return the failure of the first part that `check` needs and that does not answer any more, if there is one."""
    for name in check.needs:
        needed = known.get(name)
        if needed is None:
            continue
        if gone := _gone(needed, known, end):
            return gone
        if needed.is_part and (left := end - time.monotonic()) > 0:
            result, _ = _attempt(needed, min(STEP_SECONDS / 2, left))
            if result.passed is False:
                return result
    return None


def _failures() -> tuple[type[Exception], ...]:
    """Return what a check may raise to say that something is wrong."""
    import httpx
    import urllib3.exceptions
    from clickhouse_connect.driver.exceptions import ClickHouseError

    return (CvatAnalyticsError, ClickHouseError, OSError, httpx.HTTPError, urllib3.exceptions.HTTPError)


def _is_away(error: Exception) -> bool:
    """Return whether an error is one of the connection or of an answer that did not come, and not of what was answered."""
    import httpx

    if isinstance(error, RefusedLoginError):
        return False
    if isinstance(error, NoAnswerError | UnreachableError | TimeLimitError | httpx.TransportError | OSError):
        return True
    # what ClickHouse itself says has a name
    return not isinstance(error, CvatAnalyticsError | httpx.HTTPError) and not getattr(error, "name", None)


def within[T](seconds: float, work: Callable[[], T]) -> T:
    """Return what `work` returns. Raises what it raises, and TimeLimitError after so many seconds; then nobody waits for it any more.

    Each client has time limits of its own, but for every wait of a request: many short ones can be a long one.
    """
    if seconds <= 0:
        raise TimeLimitError(Code.CHECK_TOO_SLOW, "there was no time left for it")
    done: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()
    # a daemon: the process may end while it still waits
    threading.Thread(target=partial(_work, work, done.put), daemon=True).start()
    try:
        value, error = done.get(timeout=seconds)
    except queue.Empty:
        raise TimeLimitError(Code.CHECK_TOO_SLOW, f"there was no answer within {seconds:.0f} s") from None
    if error is not None:
        raise error
    return value  # type: ignore[return-value] # None only where `work` returns it


def _work(work: Callable[[], Any], tell: Callable[[tuple[Any, BaseException | None]], object]) -> None:
    try:
        tell((work(), None))
    except BaseException as error:  # it is raised where somebody waits for it
        tell((None, error))
