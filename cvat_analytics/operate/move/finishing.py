"""End a move: the old part is taken away as one whose group a host has left is, when nobody needs it any more. Its data stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.checks import flow
from cvat_analytics.config import moves
from cvat_analytics.connect import remote
from cvat_analytics.connect.clickhouse_errors import STORE, explained
from cvat_analytics.operate import uninstall
from cvat_analytics.operate.move import noting
from cvat_analytics.operate.move.on_hosts import HandsOnHosts
from cvat_analytics.operate.move.site import Site, refuse_without_room
from cvat_analytics.operate.removal_plan import plan
from cvat_analytics.operate.survey import SURVEY, surveyed
from cvat_analytics.operate.uninstall import HostPlan
from cvat_analytics.store import smoke_events

if TYPE_CHECKING:
    from collections.abc import Callable

    from cvat_analytics.connect.access import Access

SILENT_SECONDS = 120
"""For how long nothing may have come to a port that nobody sends to any more. Vector says every 15 seconds what has."""
_PATIENCE = 120.0


def planned(site: Site) -> HostPlan:
    """Return what is to be taken away. Raises InputError where it is too early."""
    move = site.move
    if site.is_new:
        raise InputError(
            Code.MOVE_NEEDED,
            f"{move.part} has not been moved to {move.target}: there is nothing to finish. First `{move.command}`",
        )
    if not move.is_moved:
        raise InputError(
            Code.MOVE_NEEDED,
            f"{move.part} is still on its way to {move.target}: first complete that by `{move.command}`",
        )
    if reason := move.disagreement(site.stack.topology.groups):
        raise InputError(Code.MOVE_INVENTORY, f"inventory {site.inventory}: {reason}. Then run this again")
    old = site.shells[move.source]
    if move.part == "vector" and site.both:
        name, other = (
            site.shells[each].run("hostname", _PATIENCE).strip() for each in (move.source, move.target)
        )
        with remote.reach_hosts(site.both) as (_, access, _):
            if there := [*still_there(access, name), *not_told(access, name, other, move.since)]:
                raise InputError(
                    Code.MOVE_NEEDED,
                    "\n".join(f"the old Vector on {move.source} is still needed: {line}" for line in there),
                )
    if move.part == "clickhouse" and move.step == moves.MOVED:
        # as a backup, fetched, and restored
        refuse_without_room(site, 3)
    found = surveyed(old.run(SURVEY, _PATIENCE))
    return HostPlan(move.source, old, found, plan(found, purge=False, parts=move.parts))


@explained(STORE)
def still_there(access: Access, name: str) -> list[str]:
    """Return why the Vector that calls its host by that name is still needed; nothing where nobody sends to it and nothing waits in it."""
    client = access.client(timeout=flow.TIMEOUT)
    client.database = access.database
    host = {"host": name}
    heard, arrived, waiting = client.query(_STATE, parameters=host).result_rows[0]
    if heard > SILENT_SECONDS:
        return [
            "it has said nothing of itself lately. See `cvat-analytics status`: what waits in it is not known"
        ]
    lines = []
    if arrived:
        lines.append(
            f"{arrived:,.0f} events have come to it in the last {SILENT_SECONDS // 60} minutes. Tell CVAT the new address (`cvat-analytics cvat-env`), then wait"
        )
    if waiting:
        lines.append(
            f"{waiting:,.0f} events wait in it to be delivered. See `cvat-analytics status`, then wait"
        )
    return lines


@explained(STORE)
def not_told(access: Access, old: str, new: str, since: str) -> list[str]:
    """Return why it is not known that CVAT sends to the host `new`, as that calls itself: silence may be a night in which nobody works."""
    client = access.client(timeout=flow.TIMEOUT)
    client.database = access.database
    parameters = {"old": old, "new": new, "since": since.removesuffix(" UTC")}
    if client.query(_TOLD, parameters=parameters).result_rows[0][0]:
        return []
    return [
        f"no event has come to that on {new} since the last one came to it. Tell CVAT the new address (`cvat-analytics cvat-env`), open a job "
        "there, then wait half a minute"
    ]


_TOLD = f"""
WITH
    arrivals AS
    (
        SELECT host, max(time) AS last
        FROM
        (
            SELECT host, time, value != lagInFrame(value, 1, 0.) OVER (PARTITION BY host, component, toString(tags) ORDER BY time) AS has_grown
            FROM pipeline_metrics
            WHERE host IN ({{old:String}}, {{new:String}}) AND time >= toDateTime({{since:String}}, 'UTC')
                AND name = 'component_received_events_total' AND match(component, '^cvat_[0-9]+$')
        )
        WHERE has_grown
        GROUP BY host
    ),
    (SELECT greatest(max(last), toDateTime({{since:String}}, 'UTC')) FROM arrivals WHERE host = {{old:String}}) AS of_old,
    (SELECT max(last) FROM arrivals WHERE host = {{new:String}}) AS of_new
SELECT
    of_new > of_old
    -- a smoke test alone says nothing of CVAT
    AND (SELECT count() FROM events WHERE timestamp > of_old AND {smoke_events.NOT_IN_MONTH} AND NOT {smoke_events.IS_SMOKE}) > 0
"""

_STATE = f"""
SELECT
    dateDiff('second', maxIf(time, name = 'uptime_seconds'), now()),
    sumIf(grown, name = 'component_received_events_total' AND match(component, '^cvat_[0-9]+$') AND time > now() - {SILENT_SECONDS}),
    sumIf(value, name = 'buffer_size_events' AND time > now() - {SILENT_SECONDS} AND is_last)
FROM
(
    SELECT
        name, component, time, value,
        lagInFrame(value, 1, 0.) OVER each AS before,
        -- a counter begins anew with each life of Vector
        if(value >= before, value - before, value) AS grown,
        time = max(time) OVER (PARTITION BY name, component, toString(tags)) AS is_last
    FROM pipeline_metrics
    WHERE host = {{host:String}} AND time > now() - 3600 AND name IN ('uptime_seconds', 'component_received_events_total', 'buffer_size_events')
    WINDOW each AS (PARTITION BY name, component, toString(tags) ORDER BY time)
)
"""


def carry_out(site: Site, old: HostPlan, hands: HandsOnHosts, tell: Callable[[str], object]) -> None:
    """Take the old part away, and forget the move; under the lock of the hosts. The same command goes on where it was cut off."""
    if site.move.part == "clickhouse" and site.move.step == moves.MOVED:
        hands.look_again()
        hands.note(moves.LEAVING)
    hands.clear()
    if not old.removal.is_nothing:
        uninstall.carry_out(old, tell, shares=True)
    if site.move.part == "vector":
        # it had rights in ClickHouse until now
        hands.switch()
    noting.forget(site.shells, site.move)
