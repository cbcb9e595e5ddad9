"""Wait for what a test is about: as long as a loaded machine may take, and not a moment longer than needed."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 120.0
"""Seconds after which something that is waited for will not come any more, on a machine with much else to do."""


def until[T](
    look: Callable[[], T],
    what: str,
    good: Callable[[T], object] = bool,
    *,
    despite: type[Exception] | tuple[type[Exception], ...] = (),
    patience: float = PATIENCE,
    pause: float = 0.05,
    told: Callable[[], object] = str,
) -> T:
    """Look again and again until what is seen is `good`, and return it.

    Fails with `what` was waited for, what was seen last and what `told` has to say, a log for instance. An exception of
    `despite` is something seen that is not good yet; others come through, so that `look` can end the waiting.
    """
    deadline = time.monotonic() + patience
    while True:
        began = time.monotonic()
        try:
            seen: object = (found := look())
            if good(found):
                return found
        except despite as error:
            seen = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience:.0f} s: {what}; last seen: {seen!r:.2000}\n{told()}")
        # what it is dear to look at is looked at more seldom: two thirds of the time belong to what is waited for
        time.sleep(max(pause, 2 * (time.monotonic() - began)))
