"""Bring working time up to date at once, and say where the computed and the reported time differ, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError, InputError
from cvat_analytics.connect.access import Access
from cvat_analytics.connect.clickhouse_errors import only_row, plain_errors
from cvat_analytics.store.smoke_events import NOT_IN_MONTH

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

LATE = timedelta(minutes=10)
"""An event that arrives later than this after it happened may have missed the request that the server looked at."""


def refresh(access: Access, since: date | None = None) -> Iterator[int]:
    """Compute what is not up to date, and every day from `since` on; yield how many days of users remain, down to 0.

    Raises CvatAnalyticsError when a round brings nothing on.
    """
    with plain_errors():
        yield from _refresh(_client(access), since)


def _refresh(client: Client, since: date | None) -> Iterator[int]:
    if since is not None:
        client.command(
            "INSERT INTO working_time_days (user_id, day, touched_at) "
            "SELECT DISTINCT user_id, day, now64(3) FROM working_time_days WHERE day >= {since:Date}",
            parameters={"since": since},
        )
    remaining = _pending(client)
    yield remaining
    while True:
        for word in ("REFRESH", "WAIT"):
            client.command(f"SYSTEM {word} VIEW working_time_refresh")
        before, remaining = remaining, _pending(client)
        yield remaining
        if remaining == 0:
            return
        if remaining >= before > 0:
            raise CvatAnalyticsError(
                Code.WORKING_TIME_STALE,
                f"working time: {remaining} days of users stay out of date; see `SELECT * FROM system.view_refreshes`",
            )


def _pending(client: Client) -> int:
    return int(
        only_row(client.query("SELECT count() FROM working_time_stale WHERE is_pending").result_rows)[0]
    )


@dataclass(frozen=True)
class Difference:
    """A user's time in a job. Times are milliseconds; `reason` is the likeliest cause of the difference."""

    user_id: int | None
    user_name: str
    task_id: int | None
    job_id: int | None
    computed_ms: int
    reported_ms: int
    reason: str


def compare(
    access: Access, since: date, until: date, at_least: timedelta, user: int | None = None
) -> list[Difference]:
    """Return where computed and reported time differ by `at_least`, largest first, for the days `since` to `until`.

    Days are those of the settings' time zone. Raises InputError when `since` is after `until`.
    """
    if since > until:
        raise InputError(
            Code.OPTION_VALUE, f"--since {since} is after --until {until}: give the earlier day first"
        )
    parameters = {
        "since": since,
        "until": until,
        "user": user,
        "least": at_least // timedelta(milliseconds=1),
        "late": int(LATE.total_seconds()),
    }
    with plain_errors():
        rows = _client(access).query(_COMPARE, parameters=parameters).result_rows
    differences = []
    for user_id, name, task_id, job_id, computed, reported, *traces in rows:
        reason = _reason(computed, reported, *traces)
        differences.append(Difference(user_id, name, task_id, job_id, computed, reported, reason))
    return differences


def _client(access: Access) -> Client:
    client = access.client()
    client.database = access.database
    return client


def _reason(computed: int, reported: int, events: int, late: int, tabs: int, pauses: int) -> str:
    if not reported:
        return "the server has reported nothing for it"
    if not events:
        return "no event of the browser is stored for it; the server counted signs of life"
    reasons = []
    if late:
        reasons.append(f"{late} events arrived more than {LATE // timedelta(minutes=1)} minutes late")
    if tabs:
        reasons.append(f"two tabs at once (in {tabs} times 5 minutes), which the server counts twice")
    if pauses and computed < reported:
        reasons.append(f"pauses just over the threshold ({pauses}), which signs of life may have shortened")
    if reasons:
        return "; ".join(reasons)
    if computed < reported:
        return "signs of life that the server counts and nobody stores"
    return "pauses between two requests, which the server does not see"


_COMPARE = (
    """
WITH
    (SELECT argMax(threshold_ms, changed_at) / 1000 FROM working_time_settings) AS threshold,
    (SELECT argMax(time_zone, changed_at) FROM working_time_settings) AS zone,
    sums AS
    (
        SELECT user_id, task_id, job_id, sum(computed_ms) AS computed, sum(reported_ms) AS reported
        FROM working_time_local
        WHERE day BETWEEN {since:Date} AND {until:Date} AND ({user:Nullable(UInt64)} IS NULL OR user_id = {user:Nullable(UInt64)})
        GROUP BY user_id, task_id, job_id
        HAVING abs(toInt64(computed) - toInt64(reported)) >= {least:UInt64}
    ),
    traces AS
    (
        SELECT
            user_id, task_id, job_id,
            count() AS events,
            countIf(dateDiff('second', timestamp, received_at) > {late:Int64}) AS late,
            countIf(pause > threshold AND pause < 2 * threshold) AS pauses,
            uniqExactIf(toStartOfFiveMinutes(timestamp), tabs > 1) AS double
        FROM
        (
            SELECT
                user_id, task_id, job_id, timestamp, received_at,
                dateDiff('millisecond', lagInFrame(timestamp, 1, timestamp) OVER one_user, timestamp) / 1000 AS pause,
                uniqExact(JSONExtractString(ifNull(payload, ''), 'client_id')) OVER (PARTITION BY user_id, toStartOfFiveMinutes(timestamp)) AS tabs
            FROM events FINAL
            WHERE source = 'client'
                AND toDate(toTimeZone(timestamp, zone)) BETWEEN {since:Date} AND {until:Date}
                AND timestamp BETWEEN toDateTime64({since:Date}, 3, 'UTC') - INTERVAL 1 DAY AND toDateTime64({until:Date}, 3, 'UTC') + INTERVAL 2 DAY
                AND (ifNull(user_id, 0), isNull(user_id)) IN (SELECT ifNull(user_id, 0), isNull(user_id) FROM sums)
            WINDOW one_user AS (PARTITION BY user_id ORDER BY timestamp ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
        )
        GROUP BY user_id, task_id, job_id
    ),
    names AS (SELECT user_id, argMax(user_name, timestamp) AS latest FROM events WHERE user_name IS NOT NULL AND """
    + NOT_IN_MONTH
    + """ GROUP BY user_id)
SELECT
    sums.user_id, ifNull(names.latest, ''), sums.task_id, sums.job_id, computed, reported,
    traces.events, traces.late, traces.double, traces.pauses
FROM sums
LEFT JOIN traces ON sums.user_id <=> traces.user_id AND sums.task_id <=> traces.task_id AND sums.job_id <=> traces.job_id
LEFT JOIN names ON sums.user_id <=> names.user_id
ORDER BY abs(toInt64(computed) - toInt64(reported)) DESC, sums.user_id, sums.job_id
"""
)
