"""What ClickHouse's own history tells: when a disk will be full, whether more is refused than before, who has fallen silent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import PurePosixPath as Path
from typing import TYPE_CHECKING

from cvat_analytics.checks.finding import Finding, Weight
from cvat_analytics.checks.said import age, length
from cvat_analytics.connect.clickhouse_errors import only_row
from cvat_analytics.connect.volumes import DIRECTORIES, RECIPE, size
from cvat_analytics.pipeline.dead_letters import OUR_OWN
from cvat_analytics.rendering import memory

if TYPE_CHECKING:
    from cvat_analytics.config.settings import Settings
    from cvat_analytics.store.rights import Rows

HISTORY_DAYS = 3
"""From how many days on a trend says something of weeks."""
_SOON_DAYS, _KNOW_DAYS = 30, 90
_NOW_DAYS = 3
_LETTERS = 20
"""Dead letters of a day that are worth a word of their own."""
_QUIET_SECONDS = 3600


@dataclass(frozen=True)
class Forecast:
    """A disk, by its own history. `days` until it is full: None where it does not fill, or not within the retention."""

    host: str
    disk: str
    days: float | None
    history_days: float
    """How much history that is from; below HISTORY_DAYS nothing is said by it."""

    @property
    def is_known(self) -> bool:
        """Return whether there is enough history."""
        return self.history_days >= HISTORY_DAYS

    def __str__(self) -> str:
        """Return it in a sentence."""
        if not self.is_known:
            return f"{self.disk}: too little history for a forecast ({self.history_days:.1f} days, {HISTORY_DAYS} are needed)"
        return f"{self.disk}: {'does not fill up' if self.days is None else f'full in {self.days:.0f} days'} as things go"


def forecasts(rows: Rows, host: str) -> list[Forecast]:
    """Return when each disk with data will be full: ClickHouse's by what events take, each of a Vector's hosts by what was free."""
    (history,) = only_row(
        rows(
            "SELECT ifNull(dateDiff('hour', minOrNull(day), now()), 0) / 24 FROM event_days WHERE day > today() - 8 AND inserted > 0"
        )
    )
    found = [
        # the same as the alert and the dashboard say
        Forecast(host, f"ClickHouse's disk ({path})", None if days is None else float(days), float(history))
        for path, days in rows(
            "SELECT path, days FROM storage_forecast(since = now() - INTERVAL 7 DAY, until = now())"
        )
    ]
    trends = rows(_TREND)
    for name, mount, free, slope, seconds in trends:
        if mount in _of_data([each[1] for each in trends if each[0] == name]):
            days = free / -slope / 86400 if slope < 0 else None
            found.append(Forecast(str(name), f"the disk {mount} of {name}", days, seconds / 86400))
    # what is too little to be believed is not handed on either
    return [each if each.is_known else replace(each, days=None) for each in found]


def _of_data(mounts: Sequence[str]) -> set[str]:
    """Return on which of these disks a part may have its data: a host has others, too."""
    holding = (
        [mount for mount in mounts if Path(place).is_relative_to(mount)] for place in DIRECTORIES.values()
    )
    return {max(each, key=len) for each in holding if each}


_TREND = """
SELECT host, tags['mountpoint'] AS mountpoint, argMax(value, time), simpleLinearRegression(toFloat64(toUnixTimestamp(time)) - toUnixTimestamp(now()), value).1,
    dateDiff('second', min(time), max(time))
FROM pipeline_metrics
WHERE name = 'filesystem_free_bytes' AND time > now() - INTERVAL 7 DAY
GROUP BY host, mountpoint
HAVING max(time) > now() - 3600
ORDER BY host, mountpoint
"""


def disks(found: list[Forecast]) -> Iterator[Finding]:
    """Yield which disk will be full."""
    for each in found:
        if each.is_known and each.days is not None and each.days < _KNOW_DAYS:
            weight: Weight = "now" if each.days < _NOW_DAYS else "soon" if each.days < _SOON_DAYS else "know"
            yield Finding(
                weight,
                "disk-forecast",
                str(each),
                f"a retention (docs/how-to/change-the-retention.md), a larger disk, or {RECIPE}",
                host=each.host,
            )


def dead_letters(rows: Rows) -> Iterator[Finding]:
    """Yield whether more is refused than in the week before."""
    today, before, reason = only_row(
        rows(
            "SELECT countIf(received_at > now() - 86400) AS today, countIf(received_at <= now() - 86400) / 7, "
            "topKIf(1)(reason, received_at > now() - 86400)[1] FROM events_dead_letter FINAL "
            f"WHERE received_at > now() - 8 * 86400 AND NOT startsWith(original, '{OUR_OWN}')"
        )
    )
    if today >= _LETTERS and today > 3 * before:
        yield Finding(
            "soon",
            "dead-letters",
            f"{today:,} dead letters in the last day, {before:,.0f} a day in the week before; most for: {reason}",
            "docs/how-to/retry-dead-letters.md",
            ("dead-letters", "list"),
        )
    elif today:
        yield Finding(
            "know",
            "dead-letters",
            f"{today:,} dead letters in the last day",
            "docs/how-to/retry-dead-letters.md",
            ("dead-letters", "list"),
        )


def silence(rows: Rows, last_event: datetime | None) -> Iterator[Finding]:
    """Yield whether nothing comes at an hour of the week at which something has come in each of the four weeks before."""
    if last_event is None:
        (ever,) = only_row(rows("SELECT countIf(inserted > 0) FROM event_days"))
        why = "no event has come in 30 days" if ever else "no event has come yet"
        yield Finding("soon" if ever else "know", "silence", why, "docs/how-to/connect-cvat.md")
        return
    quiet = age(last_event)
    if quiet < _QUIET_SECONDS:
        return
    # the hour before this one: the present one may just have begun
    hours = ", ".join(
        f"toStartOfHour(now('UTC')) - INTERVAL 1 HOUR - INTERVAL {week} WEEK" for week in (1, 2, 3, 4)
    )
    (heard,) = only_row(
        rows(f"SELECT uniqExact(hour) FROM event_counts WHERE hour IN ({hours}) AND events > 0")
    )
    if heard == 4:
        yield Finding(
            "soon",  # it may be a holiday
            "silence",
            f"no event for {length(quiet)}, and at this hour of the week there were some in each of the four weeks before",
            "on CVAT's host `docker logs cvat_server`; docs/how-to/connect-cvat.md",
        )


def memory_in_use(rows: Rows, settings: Settings, machine: int, host: str) -> Iterator[Finding]:
    """Yield whether ClickHouse runs with a limit that was chosen for another size of machine."""
    found = rows("SELECT toUInt64(value) FROM system.server_settings WHERE name = 'max_server_memory_usage'")
    wanted = memory.profile(settings, machine).server_limit
    if found and machine and abs(found[0][0] - wanted) > wanted // 10:
        yield Finding(
            "soon",
            "memory",
            f"ClickHouse runs with a limit of {size(found[0][0])}, and for the {size(machine)} that the host has now it would be {size(wanted)}",
            "a deploy sets it and restarts ClickHouse",
            ("deploy",),
            host,
        )
