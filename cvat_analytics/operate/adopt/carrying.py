"""Bring the stock events here, wait until CVAT sends here, and see to the end of the old side.

How far it is, is asked of both sides. Copied days are in the ledger of every import; CVAT has been switched when this stack has newer
events than the stock table and that grows no more; and before the last container is stopped, at which nobody can ask any more, the
ledger gets a line that everything was compared. It is of these containers as they were started then: of those that were started again since,
or are another CVAT's, it says nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError, InputError, UnreachableError
from cvat_analytics.connect.access import Access
from cvat_analytics.connect.clickhouse_errors import STORE, explained, only_row
from cvat_analytics.importing.copying import Ledger, Month, Progress
from cvat_analytics.importing.tables import Table
from cvat_analytics.operate.adopt import survey
from cvat_analytics.operate.adopt.containers import CLICKHOUSE, GRAFANA, VECTOR, Compose, Containers
from cvat_analytics.store.smoke_events import IS_SMOKE

Tell = Callable[[dict[str, Any]], None]
"""Is told how far it is: `step`, `state` (begin, going on, done), and with it `done`, `total` or `text`."""
_LOOKS = 10
"""How often the rest is copied and compared where the stock table goes on growing, as nobody here can stop its Vector."""
_PAUSE = 2.0


@dataclass(frozen=True)
class Ended:
    """What the ledger says of an adoption whose both sides were compared: when that was, and how many rows the stock table had."""

    at: datetime
    rows: int
    running: Sequence[str]
    """Of the stock services those that run still."""


@dataclass(frozen=True)
class Adoption:
    """Both tables, and the containers of the old side."""

    access: Access
    source: Table
    target: Table
    compose: Compose
    tell: Tell
    by_docker: bool
    """Whether docker told of the containers in the beginning. What it does not tell later is no consent, then."""

    def bring(self, step: str) -> None:
        """Copy what is not here yet."""
        copy = survey.copy(self.source, self.target, self.access)
        total = sum(copy.pending().values())
        copy.run(self._begin(step, total))
        self.tell({"step": step, "state": "done", "rows": total})

    def _begin(self, step: str, total: int) -> Progress:
        """Tell that a step begins, and return what tells how far it is."""
        self.tell({"step": step, "state": "begin"})
        done = 0

        def progress(rows: int) -> None:
            nonlocal done
            done += rows
            self.tell({"step": step, "state": "going on", "done": done, "total": total})

        return progress

    @property
    def is_switched(self) -> bool:
        """Return whether CVAT sends here; whether the stock table grows still is for `wait_for_cvat` to see."""
        return not self._missing()

    def wait_for_cvat(self, quiet: float, patience: float) -> None:
        """Return when CVAT sends here and not to the stock table any more, which has not grown for `quiet` seconds.

        Raises CvatAnalyticsError, with what is still missing, after `patience` seconds.
        """
        self.tell({"step": "switch", "state": "begin"})
        if VECTOR in self.compose.look().stopped:
            quiet = 0.0  # nothing can come there
        began = stands_since = time.monotonic()
        rows, said = self._rows(), ""
        while True:
            missing = self._missing()
            if (now_rows := self._rows()) != rows:
                rows, stands_since = now_rows, time.monotonic()
            stands = time.monotonic() - stands_since
            if stands < quiet:
                missing.append(f"the stock table has to stand still for {quiet:.0f} s")
            if not missing:
                break
            if time.monotonic() - began > patience:
                raise CvatAnalyticsError(
                    Code.ADOPT_NOT_SWITCHED,
                    f"CVAT does not send here alone after {patience:.0f} s: {'; '.join(missing)}. Start all of CVAT's services with the "
                    "override, then run the same command again: it goes on from there",
                )
            if said != (said := "; ".join(missing)):
                self.tell({"step": "switch", "state": "going on", "text": said})
            time.sleep(min(_PAUSE, quiet / 4 + 0.1))
        self.tell({"step": "switch", "state": "done"})

    def _missing(self) -> list[str]:
        """Return what keeps CVAT from sending here, and here alone."""
        missing = []
        look = self.compose.look()
        if look.still_sending:
            missing.append(f"{', '.join(look.still_sending)} still send to the stock Vector")
        if look.unknown and self.by_docker:
            missing.append(f"who sends to the stock Vector is not known ({look.unknown})")
        newest = only_row(
            self.source.query(
                f"SELECT toUnixTimestamp64Milli(toDateTime64(max(timestamp), 3)) FROM {self.source.sql_name} "
                "WHERE timestamp <= now() + INTERVAL 1 MINUTE"
            )
        )[0]
        newer = self.target.query(
            f"SELECT count() FROM {self.target.sql_name} WHERE timestamp > fromUnixTimestamp64Milli({int(newest)}) "
            f"AND timestamp <= now() + INTERVAL 1 MINUTE AND NOT {IS_SMOKE}"
        )
        if not only_row(newer)[0]:
            missing.append(
                "no event has come here that is newer than the stock table's newest (open CVAT in a browser: one is enough)"
            )
        return missing

    def _rows(self) -> int:
        return int(only_row(self.source.query(f"SELECT count() FROM {self.source.sql_name}"))[0])

    def refuse_unseen(self, look: Containers) -> None:
        """Raise CvatAnalyticsError when docker does not tell (`look`) that the stock Vector is stopped."""
        if not look.unknown and VECTOR not in look.running:
            return
        why = look.unknown or "it runs"
        once_more = "" if self.by_docker else " without --yes, and say that it is"
        raise CvatAnalyticsError(
            Code.ADOPT_NOT_STOPPED,
            f"{VECTOR}: is not seen to be stopped ({why}), and what goes there would be lost. Stop it where CVAT's docker is, then run the same "
            f"command again{once_more}:\n {self.compose.command('stop', VECTOR)}",
        )

    def close_intake(self) -> Containers:
        """Stop the stock Vector: what CVAT still sends there stays in CVAT's queue, and comes here. Return what docker tells then.

        Raises CvatAnalyticsError unless it is seen to be stopped. Where docker never told anything, somebody has said that it is.
        """
        look = self.compose.look()
        if VECTOR in look.running:
            self._stop(VECTOR)
            look = self.compose.look()
        elif look.unknown and not self.by_docker:
            return look
        self.refuse_unseen(look)
        return look

    def _stop(self, service: str) -> None:
        self.tell({"step": "stop", "state": "begin", "text": service})
        self.compose.stop(service)
        self.tell({"step": "stop", "state": "done", "text": service})

    def finish(self, closed: Containers, has_dashboards: bool) -> list[Month]:
        """Copy the rest, compare both sides month by month, and note that they agree since the stock Vector was seen stopped (`closed`).

        That is not noted where docker did not tell so, or a hand-made dashboard is not here (`has_dashboards`).
        Raises CvatAnalyticsError when something is missing; the next run brings it.
        """
        for _ in range(_LOOKS):
            self.bring("rest")
            copy = survey.copy(self.source, self.target, self.access)
            if copy.pending():
                continue
            months = copy.compare(self._begin("compare", sum(copy.days.values())))
            if survey.copy(self.source, self.target, self.access).pending():
                continue
            copy.refuse_incomplete(months)
            self.tell({"step": "compare", "state": "done", "rows": copy.rows})
            if has_dashboards and not closed.unknown:
                ledger = _ended(self.access, self.source.database, self.source.name, closed)
                ledger.create()
                ledger.enter({0: copy.rows})
            return months
        raise CvatAnalyticsError(
            Code.IMPORT_GREW,
            f"{self.source.where}: goes on growing. Stop its Vector (`{self.compose.command('stop', VECTOR)}`), then run the same command again",
        )

    def stop_the_rest(self) -> Sequence[str]:
        """Stop Grafana and then ClickHouse, and return what of the old side is not known to be stopped.

        Raises CvatAnalyticsError when the stock Vector runs again: what it has taken is in neither side's count.
        """
        for service in (GRAFANA, CLICKHOUSE):
            look = self.compose.look()
            if look.unknown:
                return (VECTOR, GRAFANA, CLICKHOUSE)
            self.refuse_unseen(look)
            if service in look.running:
                self._stop(service)
        return ()


def opened(source: survey.Source, access: Access, compose: Compose, tell: Tell) -> Adoption:
    """Return the adoption. Raises InputError for a table that is not CVAT's."""
    found, target = survey.table(source, access)
    return Adoption(access, found, target, compose, tell, not compose.look().unknown)


def ended(access: Access, source: survey.Source, compose: Compose, error: UnreachableError) -> Ended:
    """Return what is noted of an adoption that has come to its end, as the stock ClickHouse does not answer (`error`) and its container is stopped.

    Raises UnreachableError where that is not so, and InputError where nothing is noted of these containers as they were started last.
    """
    look = compose.look()
    if CLICKHOUSE not in look.stopped:
        raise error
    ledger = _ended(access, source.database, source.table, look)
    if not ledger.done():
        raise InputError(
            Code.ADOPT_STOPPED_EARLY,
            f"{error}. Its container is stopped, and both sides were not compared since the old containers were started last. Start it, then run "
            f"the same command again:\n {compose.command('start', CLICKHOUSE)}",
        )
    with explained(STORE):
        query = f"SELECT max(imported_at), argMax(rows, imported_at) FROM `{access.database}`.imported_days WHERE source = {{source:String}}"
        at, rows = only_row(ledger.client.query(query, parameters={"source": ledger.source}).result_rows)
    return Ended(at if at.tzinfo else at.replace(tzinfo=UTC), int(rows), look.running)


def is_noted(access: Access, source: survey.Source, look: Containers) -> bool:
    """Return whether both sides were compared before, and none of these containers was started since."""
    return bool(look.starts and _ended(access, source.database, source.table, look).done())


def _ended(access: Access, database: str, table: str, look: Containers) -> Ledger:
    """Return the ledger with the one line that both sides were compared."""
    return Ledger(access.client(), access.database, f"adopted {database}.{table} of {look.starts}")
