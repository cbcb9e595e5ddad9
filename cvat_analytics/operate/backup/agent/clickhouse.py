"""Ask the ClickHouse of this host over HTTP. `http.client`, as hosts have no other library."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from cvat_analytics.base.codes import Code
from cvat_analytics.operate.backup.agent.report import AWAY, AgentError

_PATIENCE = 3600


def quoted(name: str) -> str:
    """Return a name or a text as SQL, in quotes."""
    return "'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'"


class ClickHouse:
    """The administrator's way in; the password goes in a header."""

    def __init__(self, url: str, user: str, password_file: str, database: str) -> None:
        self._address = urlsplit(url)
        self._user, self._password_file = user, Path(password_file)
        self.database = database

    def ask(self, sql: str, database: str = "", **settings: object) -> str:
        """Return what is answered, as text. Raises AgentError with ClickHouse's words."""
        where = self._address.netloc
        options = urlencode({"database": database or "default", "wait_end_of_query": 1, **settings})
        connection = http.client.HTTPConnection(where, timeout=_PATIENCE)
        try:
            headers = {
                "X-ClickHouse-User": self._user,
                "X-ClickHouse-Key": self._password_file.read_text().strip(),
            }
            connection.request("POST", f"/?{options}", sql.encode(), headers)
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        except OSError as error:
            raise AgentError(
                Code.CLICKHOUSE_AWAY,
                f"ClickHouse at {where} cannot be asked ({error.strerror or error}). Start it, then run this again",
                AWAY,
            ) from None
        except http.client.HTTPException as error:
            raise AgentError(
                Code.CLICKHOUSE_AWAY,
                f"ClickHouse at {where} ended in the middle of an answer ({error})",
                AWAY,
            ) from None
        finally:
            connection.close()
        if answer.status != http.client.OK:
            words = f"ClickHouse refuses: {text.strip()[:600]}"
            if answer.status == 403:
                raise AgentError(Code.CLICKHOUSE_LOGIN, words, AWAY)
            raise AgentError(Code.CLICKHOUSE_REFUSES, words)
        return text

    def rows(self, sql: str, database: str = "", **settings: object) -> list[list[Any]]:
        """Return the rows of a query."""
        text = self.ask(
            sql, database, default_format="JSONCompact", output_format_json_quote_64bit_integers=0, **settings
        )
        rows: list[list[Any]] = json.loads(text)["data"]
        return rows

    def tables(self, database: str = "") -> dict[str, int]:
        """Return the tables that keep something, with their bytes."""
        rows = self.rows(
            "SELECT name, ifNull(total_bytes, 0) FROM system.tables "
            f"WHERE database = {quoted(database or self.database)} AND engine LIKE '%MergeTree' ORDER BY name"
        )
        return {str(name): int(size) for name, size in rows}

    def in_background(self, statement: str, progress: Callable[[int, int], object]) -> None:
        """Run a BACKUP or RESTORE; `progress` is told the bytes that are done and those that there are. Raises AgentError."""
        job = self.ask(f"{statement} ASYNC FORMAT TSV").split("\t")[0]
        for status, error, done, total in self._states(job):
            if status.endswith(("_FAILED", "_CANCELLED")):
                raise AgentError(
                    Code.CLICKHOUSE_REFUSES, f"ClickHouse: {statement.split()[0]} has failed: {error[:600]}"
                )
            progress(done, total)

    def _states(self, job: str) -> Iterator[tuple[str, str, int, int]]:
        pause = 0.05
        while True:
            query = f"SELECT toString(status), error, bytes_read, total_size FROM system.backups WHERE id = {quoted(job)}"
            rows = self.rows(query)
            if not rows:
                raise AgentError(
                    Code.CLICKHOUSE_AWAY,
                    "ClickHouse was restarted in the middle. Run the same command again",
                    AWAY,
                )
            status, error, done, total = rows[0]
            yield str(status), str(error), int(done), int(total)
            if status in ("BACKUP_CREATED", "RESTORED"):
                return
            time.sleep(pause)
            pause = min(1.0, pause * 1.5)

    def stop_leftovers(self, marks: tuple[str, ...]) -> None:
        """End what a former run that was killed has left running, whose texts have one of `marks`, and wait for the end."""
        mine = " OR ".join(f"position(query, {quoted(mark)}) > 0" for mark in marks)
        running = f"query_kind IN ('Backup', 'Restore') AND ({mine})"
        if self.rows(f"SELECT count() FROM system.processes WHERE {running}")[0][0]:
            self.ask(f"KILL QUERY WHERE {running} SYNC")
