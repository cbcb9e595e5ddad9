"""What ClickHouse knows of the pipeline: what arrives at which port, what waits, what is refused, who is silent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cvat_analytics.checks import cvat_refusals, two_cvats
from cvat_analytics.checks.cvat_refusals import CvatRefusal
from cvat_analytics.checks.two_cvats import TwoCvats
from cvat_analytics.connect.access import Access
from cvat_analytics.connect.clickhouse_errors import STORE, explained, only_row
from cvat_analytics.pipeline.dead_letters import OUR_OWN
from cvat_analytics.store import event_dates, rights
from cvat_analytics.store.rights import Rows
from cvat_analytics.store.smoke_events import NOT_IN_MONTH

RECENT_MINUTES = 15
LIVE_SECONDS = (-5, 600)
"""An event whose moment lies in this distance before its arrival came straight from CVAT. Any other is out of a queue, an
import or a replay, or a clock is wrong: how long that took says nothing of the pipeline."""
_KNOWN_SECONDS = 45
"""For how long a reading says something of now: Vector says every 15 seconds what waits and what has come."""
TIMEOUT = 10
"""Seconds for each answer of ClickHouse's."""


@dataclass(frozen=True)
class Port:
    """A port on which Vector takes events: what came lately, and when the last request did (None: not since `counted_since`)."""

    port: int
    extra: bool
    recent_requests: int | None
    """None: not known, as Vector has said nothing of itself (yet)."""
    last: datetime | None
    counted_since: datetime | None = None
    """Since when requests are known by port, of the last 30 days."""


@dataclass(frozen=True)
class Buffer:
    """What waits between Vector and ClickHouse. `capacity` and `size` are bytes."""

    name: str
    host: str
    events: int | None
    """None: not known, as Vector says nothing of itself (any more); so is `size`."""
    size: int | None
    capacity: int


@dataclass(frozen=True)
class Refusal:
    """A sink whose batch ClickHouse refuses, again and again."""

    sink: str
    """`everything`: ClickHouse refuses Vector's readings of itself too, so that more is not known."""
    host: str
    since: datetime
    times: int
    unanswered: int
    """How often ClickHouse gave no answer at all in that time."""
    statuses: str
    """ClickHouse's HTTP statuses."""
    words: str
    """ClickHouse's own; empty when they are not known."""
    delivered: datetime | None
    """When the sink last delivered something, if it has in seven days."""


@dataclass(frozen=True)
class Sources:
    """Who sends: CVAT's server of itself, and the browsers through it."""

    last: Mapping[str, datetime]
    """When the last event of `client` and of `server` arrived; one that sent nothing in 30 days is absent."""
    client_silent: bool
    """Whether people change annotations with a browser, and nothing of any browser arrives."""
    people: int
    """How many have changed annotations with a browser in the last day."""
    people_without: int
    """Of whose browsers nothing has arrived."""


@dataclass(frozen=True)
class Flow:
    """What ClickHouse knows of the pipeline."""

    recent_events: int
    last_event: datetime | None
    """When the last event arrived."""
    delay_seconds: tuple[float, float] | None
    """From the moment at which CVAT's server recorded an event until it was received by ClickHouse, of those that came lately
    and live: median and 95th percentile. A client's event waits in the browser before, for a minute or two."""
    not_live: int
    """How many of `recent_events` did not come live (LIVE_SECONDS)."""
    from_future: int
    """How many events of the last day are dated later than they arrived, by more than clocks that are set differ."""
    future_seconds: int
    """By how much at most."""
    sources: Sources
    ports: Sequence[Port]
    buffers: Sequence[Buffer]
    refusals: Sequence[Refusal]
    measured_at: datetime | None
    """When Vector last said anything of itself."""
    silent: Mapping[str, datetime]
    """On which hosts Vector has said something in the last day and does not any more, and when it last did."""
    dead_letters: int
    """Of the last day."""
    implausible: int
    """How many of these are events whose date cannot be."""
    journal_bytes: int | None
    """None: not known."""
    two_cvats: TwoCvats | None
    """What tells that two CVATs send into this stack."""
    cvat_refusals: Sequence[CvatRefusal]
    other_users: Sequence[str]
    """Users of ClickHouse's that are in no file."""


@explained(STORE)
def of(access: Access) -> Flow:
    """Return what ClickHouse knows of the pipeline. Raises CvatAnalyticsError when it cannot be asked."""
    rows = _asking(access)
    live = "delay BETWEEN {} AND {}".format(*LIVE_SECONDS)
    events, not_live, timed, delays = only_row(
        rows(
            f"SELECT count(), countIf(NOT ({live})), countIf({live} AND source = 'server'), "
            f"quantilesExactIf(0.5, 0.95)(greatest(delay, 0), {live} AND source = 'server') "
            "FROM (SELECT source, toFloat64(toDateTime64(received_at, 3, 'UTC') - timestamp) AS delay FROM events "
            f"WHERE received_at > now() - {60 * RECENT_MINUTES} AND timestamp > now() - 30 * 86400 AND {NOT_IN_MONTH})"
        )
    )
    future, furthest = only_row(
        rows(
            "SELECT count(), max(dateDiff('second', received_at, timestamp)) FROM events "
            f"WHERE received_at > now() - 86400 AND timestamp > now() - 86400 AND timestamp > received_at + {-LIVE_SECONDS[0]} "
            f"AND {NOT_IN_MONTH}"
        )
    )
    heard = [(host, last.astimezone(UTC), int(seconds)) for host, last, seconds in rows(_HEARD)]
    silent = {host: last for host, last, seconds in heard if seconds > _KNOWN_SECONDS}
    latest = {(name, host, component): int(value) for name, host, component, value in rows(_LATEST)}
    buffers = [
        Buffer(
            component,
            host,
            # Vector that was started anew says nothing of a buffer that has been empty since
            None if host in silent else latest.get(("buffer_size_events", host, component), 0),
            None if host in silent else latest.get(("buffer_size_bytes", host, component), 0),
            capacity,
        )
        for (name, host, component), capacity in sorted(latest.items())
        if name == "buffer_max_size_bytes"
    ]
    journals = [value for (name, _, _), value in latest.items() if name == "journal_size_bytes"]
    letters = rows(
        f"SELECT count(), countIf(reason = '{event_dates.REASON}') FROM events_dead_letter FINAL WHERE received_at > now() - 86400 AND NOT startsWith(original, '{OUR_OWN}')"
    )
    measured = _moment(only_row(rows("SELECT max(time) FROM pipeline_metrics"))[0])
    sources = _sources(rows)
    return Flow(
        recent_events=int(events),
        last_event=max(sources[1], default=None),
        delay_seconds=(float(delays[0]), float(delays[1])) if timed else None,
        not_live=int(not_live),
        from_future=int(future),
        future_seconds=int(furthest),
        sources=sources[0],
        ports=_ports(
            access,
            rows(_RECEIVED),
            known=_all_heard([each[2] for each in heard]),
            counted_since=_moment(only_row(rows(_COUNTED_SINCE))[0]),
        ),
        buffers=buffers,
        refusals=_refusals(rows),
        measured_at=measured,
        silent=silent,
        dead_letters=int(only_row(letters)[0]),
        implausible=int(only_row(letters)[1]),
        journal_bytes=sum(journals) if journals and not silent else None,
        two_cvats=two_cvats.look(rows),
        cvat_refusals=cvat_refusals.look(rows, access.clickhouse.settings.cvat_columns),
        other_users=rights.others(rows),
    )


@explained(STORE)
def refusals(access: Access) -> list[Refusal]:
    """Return which sinks are refused now. Raises CvatAnalyticsError when ClickHouse cannot be asked."""
    return _refusals(_asking(access))


def _asking(access: Access) -> Rows:
    client = access.client(timeout=TIMEOUT)
    client.database = access.database
    return lambda query: client.query(query, tz_mode="aware").result_rows


def _refusals(rows: Rows) -> list[Refusal]:
    query = "SELECT sink, host, since, refusals, unanswered, statuses, words, delivered_at FROM refused_sinks(at = now()) ORDER BY host, sink"
    return [
        Refusal(
            sink,
            host,
            since.astimezone(UTC),
            int(times),
            int(unanswered),
            statuses,
            words,
            _moment(delivered),
        )
        for sink, host, since, times, unanswered, statuses, words, delivered in rows(query)
    ]


def _sources(rows: Rows) -> tuple[Sources, list[datetime]]:
    """Return what is known of the sources, and when the last event of any source arrived."""
    last = {
        source: moment.astimezone(UTC)
        for source, moment in rows(
            f"SELECT source, max(received_at) FROM events WHERE timestamp > now() - 30 * 86400 AND {NOT_IN_MONTH} GROUP BY source"
        )
    }
    people, without, silent = only_row(
        rows("SELECT people, people_without, client_silent FROM event_sources(at = now())")
    )
    known = {source: last[source] for source in ("client", "server") if source in last}
    return Sources(known, bool(silent), int(people), int(without)), list(last.values())


_HEARD = """
SELECT host, max(time) AS last, dateDiff('second', last, now())
FROM pipeline_metrics
WHERE name = 'uptime_seconds' AND time > now() - 86400
GROUP BY host
"""

_LATEST = """
SELECT name, host, component, argMax(value, time)
FROM pipeline_metrics
LEFT JOIN (SELECT host, max(time) AS measured_at FROM pipeline_metrics WHERE time > now() - 300 AND name = 'uptime_seconds' GROUP BY host) AS readings USING (host)
WHERE (name = 'buffer_max_size_bytes' AND time > now() - 86400)
    OR (name = 'journal_size_bytes' AND time > now() - 300)
    OR (name IN ('buffer_size_bytes', 'buffer_size_events') AND time > now() - 300 AND time + 5 > measured_at)
GROUP BY name, host, component
"""

_RECEIVED = f"""
SELECT component, sumIf(grown, time > now() - {60 * RECENT_MINUTES}), maxIf(time, grown > 0)
FROM
(
    SELECT
        component, time,
        lagInFrame(value, 1, 0.) OVER (PARTITION BY host, component, toString(tags) ORDER BY time) AS before,
        -- a counter begins anew with each life of Vector
        if(value >= before, value - before, value) AS grown
    FROM pipeline_metrics
    WHERE name = 'component_received_events_total' AND match(component, '^cvat_[0-9]+$')
)
GROUP BY component
"""

_COUNTED_SINCE = """
-- an earlier version counted at `cvat` what came to whichever port was the first: of whose requests nobody can tell
SELECT if(named_otherwise > 0, named_otherwise, first) FROM
(
    SELECT maxIf(time, name = 'component_received_events_total' AND component = 'cvat') AS named_otherwise, min(time) AS first
    FROM pipeline_metrics
)
"""


def _all_heard(silences: Sequence[int]) -> bool:
    """Return whether a Vector says what comes, and each that took something in these minutes still does."""
    known = [seconds for seconds in silences if seconds < _KNOWN_SECONDS + 60 * RECENT_MINUTES]
    return bool(known) and max(known) <= _KNOWN_SECONDS


def _ports(
    access: Access,
    received: Sequence[Sequence[Any]],
    *,
    known: bool,
    counted_since: datetime | None = None,
) -> list[Port]:
    """Return what came at each port, as Vector counts it by the port's source."""
    received_on = {component: (int(recent), _moment(last)) for component, recent, last in received}
    settings = access.vector.settings
    ports = []
    for source, port in settings.vector_sources.items():
        recent, last = received_on.get(source, (0, None))
        extra = port != settings.vector_port
        ports.append(Port(port, extra, recent if known else None, last, counted_since))
    return ports


def _moment(value: datetime | None) -> datetime | None:
    """Return a moment; ClickHouse says 1970 where there is none."""
    return value.astimezone(UTC) if value is not None and value.year > 1970 else None
