"""An event is one exactly when its date can be: from 2018 on, and no more than a day ahead."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cvat_analytics.store import event_dates
from tests.vector.conftest import Run

FIRST = datetime(2018, 1, 1, tzinfo=UTC).timestamp()
DAY = 86_400
NEAR = 600
"""Seconds around the border of the future that nothing is said of, however slow the machine."""

moments = (
    st.integers(0, 2**32 - 10_000_000)
    | st.integers(int(FIRST) - 5, int(FIRST) + 5)
    | st.integers(-40 * DAY, 40 * DAY).map(lambda ahead: int(time.time()) + ahead)
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(sent=[0, 1, int(FIRST) - 1, int(FIRST), 4_000_000_000])
@given(sent=st.lists(moments, min_size=1, max_size=12, unique=True))
def test_the_date_decides(sent: list[int], run: Run) -> None:
    before = time.time()
    outputs = run(json.dumps([{"scope": "x", "timestamp": moment} for moment in sent]))
    stored = {
        int(datetime.fromisoformat(f"{row['timestamp']}+00:00").timestamp()) for row in outputs["normalise"]
    }
    letters = {json.loads(each["original"])["timestamp"]: each for each in outputs["dead_letter"]}
    assert stored | letters.keys() == set(sent), "nothing is lost"
    assert not stored & letters.keys()
    assert {each["reason"] for each in letters.values()} <= {event_dates.REASON}
    for moment in sent:
        if moment < FIRST:
            assert letters[moment]["message"] == "before 2018, when there was no CVAT"
        elif moment > before + DAY + NEAR:
            assert letters[moment]["message"] == "more than a day after it arrived"
        elif moment < before + DAY - NEAR:
            assert moment in stored
