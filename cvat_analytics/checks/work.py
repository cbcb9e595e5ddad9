"""Whether a part that answers does its work: events flow, queries are answered, whoever must may. What is wrong is said.

The proof is what the part itself has lately done, or does now when it is asked to: that it answers proves nothing. Nothing
that has just been started is called broken, and nothing that cannot be known working.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cvat_analytics.base.errors import CvatAnalyticsError, UnreachableError
from cvat_analytics.checks import health
from cvat_analytics.checks.health import Health, State
from cvat_analytics.checks.units import STARTING_SECONDS, Unit
from cvat_analytics.connect.access import Access
from cvat_analytics.connect.clickhouse_errors import STORE, explained, only_row
from cvat_analytics.connect.http import http_client, no_answer
from cvat_analytics.store import rights, ways_in
from cvat_analytics.store.rights import Rows

SILENCE_SECONDS = 90.0
"""After how long without a word Vector does not deliver: it says something of itself every 15 seconds."""
_READING_SECONDS = 30
"""After how long at the latest a reading of a Vector that delivers is there."""
TIMEOUT = 8
"""Seconds for an answer, of what people wait for."""

_LOGIN_REFUSED = (192, 193, 194, 497, 516)
"""ClickHouse's codes for a user that is not known, has another password, or lacks a right."""


@dataclass(frozen=True)
class _Fault:
    """What is wrong, and what to do. `early`: soon after a start it is not yet wrong."""

    text: str
    early: bool = False


def proven(access: Access, component: str, unit: Unit) -> Health:
    """Return how `component` is, whose endpoint `access` has: whether it runs, answers, and does its work."""
    if not unit.active:
        return Health("stopped", f"see {unit.log}; a deploy starts it")
    answers = health.of(access, component)
    if answers.state == "not answering" and unit.young:
        return Health("starting", f"it was started just now: {answers.problem}")
    if answers.state != "running":
        return Health(answers.state, "\n".join((answers.problem, *unit.faults)))
    done = works(access, component, unit)
    return Health(done.state, "\n".join(problem for problem in (done.problem, answers.problem) if problem))


def works(access: Access, component: str, unit: Unit) -> Health:
    """Return whether what answers does its work."""
    found = [_Fault(text) for text in unit.faults]
    unknown = ""
    try:
        if component in _CHECKS:
            found += _CHECKS[component](access, unit, _asking(access))
    except _NotKnown as reason:
        unknown = f"whether it does its work is not known: {reason}"
    except CvatAnalyticsError as error:
        if component == "clickhouse":
            found.append(_Fault(f"{error}: see {unit.log}", early=True))
        elif component in _CHECKS:
            # that ClickHouse is away stands in its own line
            away = isinstance(error, UnreachableError)
            why = " while ClickHouse cannot be asked" if away else f": {error}"
            unknown = f"whether it does its work is not known{why}"
    if not found:
        return Health("running", unknown)
    state: State = "starting" if unit.young and all(fault.early for fault in found) else "failing"
    return Health(state, "\n".join(fault.text for fault in found))


class _NotKnown(Exception):
    """Nobody can say whether a part does its work; the text says why."""


@explained(STORE)
def _asking(access: Access) -> Rows:
    client = access.client(timeout=TIMEOUT)
    client.database = access.database

    @explained(STORE)
    def rows(query: str) -> Sequence[Sequence[Any]]:
        return client.query(query).result_rows

    return rows


def _clickhouse(access: Access, unit: Unit, rows: Rows) -> list[_Fault]:
    """Return at what of its own work it fails, that of the views by which working time and counts are kept first of all, and what CVAT's user lacks."""
    found = _rights(access, "cvat", unit, rows)
    (broken,) = only_row(rows(ways_in.broken_query(access.database)))
    if broken:
        found.append(_Fault(f"{ways_in.problem(access.database, broken)}: {unit.mend}"))
    for state, work, since, why, early in rows(
        "SELECT state, work, toUnixTimestamp(since), why, early FROM background_failures(at = now()) ORDER BY state, work"
    ):
        # a later attempt may do it
        if not early or unit.young:
            found.append(_Fault(_failure(access.database, state, work, since, why), early=bool(early)))
    return found


def _failure(database: str, state: str, work: str, since: int | None, why: str) -> str:
    """Return what ClickHouse does by itself and fails at, and what to do."""
    if state == "mutation":
        return f"a mutation of its table {work}, asked for at {_clock(since or 0)}, fails: {why}"
    last = f"since {_clock(since)}" if since else "ever"
    if state == "merges":
        return f"the parts of its table {work} have not been merged {last}, which retention needs, too: {why}"
    what = f"its view {work}, by which dashboards know of later events,"
    if state == "stopped":
        return f"{what} is stopped: `SYSTEM START VIEW {database}.{work}`"
    if state == "idle":
        why = f"`SYSTEM REFRESH VIEW {database}.{work}`"
    return f"{what} has not been refreshed {last}: {why}"


def _vector(access: Access, unit: Unit, rows: Rows) -> list[_Fault]:
    """Return why nothing of it comes into ClickHouse."""
    found = _rights(access, "vector", unit, rows)
    own = f"host = '{unit.hostname}'" if re.fullmatch(r"[\w.-]+", unit.hostname) else "true"
    last, others, store_now, uptime = only_row(
        rows(
            f"SELECT toUnixTimestamp(maxIf(time, {own})), countIf(NOT ({own}) AND time > now() - 86400), toUnixTimestamp(now()), uptime() "
            "FROM pipeline_metrics WHERE name = 'uptime_seconds'"
        )
    )
    refused, words = only_row(
        rows(
            "SELECT toUnixTimestamp(max(at)), argMax(words, at) FROM insert_errors "
            f"WHERE code IN {_LOGIN_REFUSED} AND startsWith(words, 'vector: ') AND at > now() - 120"
        )
    )
    # Vector's readings have its host's time, and so has its start
    now = store_now if unit.now is None else unit.now
    refused += now - store_now
    silence = now - last
    started = int(unit.started or 0)  # readings have whole seconds
    text = f"nothing of it has come into ClickHouse {f'since {_clock(last)}' if last else 'yet'}: "
    if refused > max(last, started) and others and silence > SILENCE_SECONDS and not unit.young:
        # ClickHouse does not say from which host a login came
        why = f"ClickHouse refuses a Vector, of this host or another: {words}: {unit.mend}, or see {unit.log}"
        return [*found, _Fault(f"{text}{why}")]
    if refused > max(last, started) and not others and silence > _READING_SECONDS:
        return [*found, _Fault(f"ClickHouse refuses it, and all events wait: {words}: {unit.mend}")]
    if silence <= SILENCE_SECONDS and (not unit.young or last >= started):
        return found
    if unit.young:
        return [*found, _Fault(f"{text}known within a minute and a half of its start", early=True)]
    if uptime < STARTING_SECONDS:
        raise _NotKnown("ClickHouse has just been started, and Vector comes back within a minute")
    return [*found, _Fault(f"{text}see {unit.log}")]


def _grafana(access: Access, unit: Unit, rows: Rows) -> list[_Fault]:
    """Return why its datasource answers nothing."""
    import httpx  # with the other libraries that only a stack that runs needs

    from cvat_analytics.checks.datasource import read_events

    found = _rights(access, "grafana", unit, rows)
    try:
        with access.grafana_client(timeout=TIMEOUT) as grafana:
            if grafana.get("/api/user").status_code == 401:
                raise _NotKnown(
                    "Grafana refuses the administrator's login, whose password is not the one of the secrets' file any more"
                )
            read_events(grafana)
    except httpx.HTTPError as error:
        found.append(
            _Fault(f"its datasource does not answer ({no_answer(access.grafana.url, error)})", early=True)
        )
    except CvatAnalyticsError as error:
        found.append(
            _Fault(
                f"no dashboard shows anything: {error}: {unit.mend}, or see {unit.log}",
                early=True,
            )
        )
    return found


def _events_api(access: Access, unit: Unit, rows: Rows) -> list[_Fault]:
    """Return why it can read nothing."""
    import httpx

    found = _rights(access, "events_api", unit, rows)
    endpoint: Any = access.events_api
    try:
        with http_client(endpoint.url, endpoint.tls(), timeout=TIMEOUT) as asking:
            answer = asking.get("/ready")
            # one that was deployed before it could be asked this says 404
            if answer.is_success or answer.status_code == 404:
                return found
            reason = str(answer.json()["detail"])
    except httpx.HTTPError as error:
        reason = no_answer(endpoint.url, error)
    except (ValueError, LookupError, TypeError):
        reason = f"HTTP {answer.status_code}"
    return [*found, _Fault(f"nobody can read events: {reason}: {unit.mend}", early=True)]


def _rights(access: Access, user: str, unit: Unit, rows: Rows) -> list[_Fault]:
    missing = rights.lacking(rows, access.database, access.clickhouse.settings.cvat_columns)[user]
    if not missing:
        return []
    what = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
    return [
        _Fault(
            f"ClickHouse's user {user} lacks what it needs ({what}): somebody has changed its rights: {unit.mend}"
        )
    ]


def _clock(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


_CHECKS: dict[str, Callable[[Access, Unit, Rows], list[_Fault]]] = {
    "clickhouse": _clickhouse,
    "vector": _vector,
    "grafana": _grafana,
    "events_api": _events_api,
}
