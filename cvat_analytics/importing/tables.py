"""A table of events that is reached through ClickHouse's HTTP interface: its days, its counts, and its rows as a stream."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from clickhouse_connect.driver.httputil import get_pool_manager

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError, UnreachableError
from cvat_analytics.base.texts import UTF_8
from cvat_analytics.config.limits import MIB
from cvat_analytics.connect.clickhouse_errors import error_text, explained
from cvat_analytics.importing.columns import match, spare
from cvat_analytics.store import event_dates
from cvat_analytics.store.event_columns import COLUMNS, INSERT_SETTINGS


@dataclass(frozen=True)
class Range:
    """Some days on end (as yyyymmdd) and how many rows a table has in them."""

    days: Mapping[int, int]

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return sum(self.days.values())

    @property
    def condition(self) -> str:
        """Return the SQL condition that selects them, in a form that uses a sort key by time."""
        return (
            f"timestamp >= toDateTime64('{_date(min(self.days))} 00:00:00.000', 3, 'UTC')"
            f" AND timestamp <= toDateTime64('{_date(max(self.days))} 23:59:59.999', 3, 'UTC')"
        )


def _is_text(name: str) -> str:
    """Return the SQL condition that a column is UTF-8, or nothing."""
    return f"isValidUTF8(ifNull({name}, ''))"


def ranges(days: Mapping[int, int], rows: int) -> list[Range]:
    """Return `days` in order, as ranges of about `rows` rows; one day is never divided."""
    histograms: list[dict[int, int]] = []
    for day in sorted(days):
        if not histograms or sum(histograms[-1].values()) + days[day] > rows:
            histograms.append({})
        histograms[-1][day] = days[day]
    return [Range(each) for each in histograms]


def _date(day: int) -> str:
    return f"{day // 10000:04}-{day // 100 % 100:02}-{day % 100:02}"


@dataclass(frozen=True)
class Table:
    """A table, the name in it of each event column that it has (`columns`), and what to call it in messages (`where`)."""

    client: Client
    database: str
    name: str
    columns: Mapping[str, str]
    where: str
    encoding: str = UTF_8
    """From which texts that are not UTF-8 are converted when they are read."""
    left_out: str = "0"
    """The condition on events that are not there for whoever reads them: those of people who were erased."""
    into: str = ""
    """The table that what is inserted goes through, where it is another one."""

    @property
    def sql_name(self) -> str:
        """Return the table's name for SQL."""
        return f"`{self.database}`.`{self.name}`"

    def days(self) -> dict[int, int]:
        """Return for each day (UTC, as yyyymmdd) that has events the number of rows."""
        query = f"SELECT toYYYYMMDD(timestamp, 'UTC') AS day, count() FROM {self.sql_name} WHERE NOT {self.left_out} GROUP BY day ORDER BY day"
        return {int(day): int(rows) for day, rows in self.query(query)}

    def distinct(self, part: Range, columns: Iterable[str]) -> dict[int, int]:
        """Return for each month in `part` how many events differ in one of the `columns` at least."""
        # as a tuple: a NULL among several arguments would take the whole row out of the count
        names = ", ".join(map(self._value, columns))
        query = (
            f"SELECT toYYYYMM(timestamp, 'UTC') AS month, uniqExact(tuple({names})) FROM {self.sql_name} "
            f"WHERE {part.condition} AND NOT {self.left_out} GROUP BY month"
        )
        return {int(month): int(events) for month, events in self.query(query)}

    def select(self, part: Range) -> str:
        """Return the query for the events in `part`, with our names for the columns."""
        names = ", ".join(f"{self._value(ours)} AS `{ours}`" for ours in self.columns)
        # the condition is about the stored column, whatever it is called in the result
        return f"SELECT {names} FROM {self.sql_name} WHERE {part.condition} AND NOT {self.left_out}"

    def _value(self, column: str) -> str:
        """Return the SQL for the value of one of our columns."""
        name = f"`{self.columns[column]}`"
        if self.encoding == UTF_8 or "String" not in COLUMNS[column]:
            return name
        return (
            f"if({_is_text(name)}, {name}, convertCharset(assumeNotNull({name}), '{self.encoding}', 'UTF-8'))"
        )

    def refuse_other_text(self, fix: str) -> None:
        """Raise InputError for the first text that is not UTF-8, or not in `encoding`; `fix` says what to do.

        In `fix` {column} is the column, {table} the table.
        """
        texts = [column for column in self.columns if "String" in COLUMNS[column]]
        # what ICU puts where bytes are none in an encoding
        wrong = [
            f"NOT {_is_text(f'`{self.columns[column]}`')}"
            if self.encoding == UTF_8
            else f"NOT {_is_text(f'`{self.columns[column]}`')} AND multiSearchAny({self._value(column)}, [char(26), '\ufffd'])"
            for column in texts
        ]
        counted = ", ".join(
            f"countIf({each}), anyIf(toString(timestamp), {each}), anyIf(hex(substring(assumeNotNull(`{self.columns[column]}`), 1, 80)), {each})"
            for column, each in zip(texts, wrong, strict=True)
        )
        (found,) = self.query(f"SELECT {counted} FROM {self.sql_name}")
        for number, column in enumerate(texts):
            rows, at, text = found[3 * number : 3 * number + 3]
            if rows:
                name = self.columns[column]
                raise InputError(
                    Code.DUMP_ENCODING,
                    f"{self.where}: column {name} has {rows} texts that are not {self.encoding}, as that of the event of {at} UTC: "
                    f"{str(bytes.fromhex(text))[1:]}. Nothing has been changed. {fix.format(column=name, table=f'{self.database}.{self.name}')}",
                )

    def query(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query about this table. Raises one of our errors when there is no answer."""
        with explained(self.where):
            return [tuple(row) for row in self.client.query(query).result_rows]

    def stream(self, part: Range) -> Generator[bytes]:
        """Yield the events in `part` in ClickHouse's Native format, a block at a time."""
        with explained(self.where), self.client.raw_stream(self.select(part), fmt="Native") as answer:
            while block := answer.read(MIB):
                yield block

    def insert(self, source: Table, part: Range) -> None:
        """Insert the events that `source` has in `part`: within one server, or as a stream from one to the other."""
        names = list(source.columns)
        target = f"`{self.database}`.`{self.into or self.name}`"
        with explained(self.where):
            if source.client is self.client:
                columns = ", ".join(f"`{name}`" for name in names)
                self.client.command(
                    f"INSERT INTO {target} ({columns}) {source.select(part)}", settings=INSERT_SETTINGS
                )
            else:
                self.client.raw_insert(
                    target, names, source.stream(part), settings=INSERT_SETTINGS, fmt="Native"
                )

    def keep_letters(self, source: Table, part: Range) -> None:
        """Make dead letters, beside this table, of the events that `source` has in `part`: their date cannot be."""
        names = list(source.columns)
        here = source.client is self.client
        structure = ", ".join(f"{name} {COLUMNS[name]}".replace("'", "''") for name in names)
        rows = f"({source.select(part)})" if here else f"input('{structure}') FORMAT Native"
        data = None if here else b"".join(source.stream(part))
        with explained(self.where):
            self.client.command(event_dates.letters(self.database, names, rows), data=data)


def connect(url: str, user: str, password: str) -> Client:
    """Return a client of the ClickHouse at `url`.

    Raises InputError for an address that is none, UnreachableError when there is no answer or no login.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or (8443 if parts.scheme == "https" else 8123)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.username:
        raise InputError(
            Code.IMPORT_SOURCE,
            "--from: give the address of ClickHouse's HTTP interface without a login, as in http://cvat.example.org:8123",
        )
    try:
        return clickhouse_connect.get_client(
            host=parts.hostname,
            port=port,
            interface=parts.scheme,
            username=user,
            password=password,
            connect_timeout=10,
            autogenerate_session_id=False,
            query_retries=0,
            # of its own: answers are read from here while another client's request is being written, and by no proxy
            pool_mgr=get_pool_manager(),
        )
    except (ClickHouseError, OSError) as error:
        raise UnreachableError(
            Code.IMPORT_SOURCE, f"{url}: cannot be reached as {user}: {error_text(error)}"
        ) from None


def find(
    client: Client,
    database: str,
    name: str,
    where: str,
    leave_out: Iterable[str] = (),
    fix: str = "",
    cvat_columns: Iterable[str] = (),
) -> Table:
    """Return the table of events called `name`; of this stack's own without the columns of the setting `cvat_columns`.

    Raises InputError when there is none, or it is another kind of table; `fix` says what to do when it is missing.
    """
    table = Table(client, database, name, dict(zip(COLUMNS, COLUMNS, strict=True)), where)
    with explained(where):
        try:
            described = client.query(f"DESCRIBE TABLE {table.sql_name}").result_rows
        except ClickHouseError as error:
            if getattr(error, "name", "") not in ("UNKNOWN_TABLE", "UNKNOWN_DATABASE"):
                raise
            raise InputError(
                Code.IMPORT_SOURCE, f"{where}: there is no table {database}.{name}{'. ' + fix if fix else ''}"
            ) from None
    # what `SELECT *` does not show is computed from the rest
    columns = {row[0]: row[1] for row in described if row[2] not in ("MATERIALIZED", "ALIAS")}
    unwanted = (*leave_out, *spare(columns, cvat_columns))
    return Table(client, database, name, match(columns, f"{where}, table {database}.{name}", unwanted), where)


def engine(table: Table) -> tuple[str, str]:
    """Return the table's engine, and the id that no other table in the world has (empty when it may not be seen)."""
    rows = table.query(
        f"SELECT engine, toString(uuid) FROM system.tables WHERE database = '{table.database}' AND name = '{table.name}'"
    )
    return (str(rows[0][0]), str(rows[0][1])) if rows else ("", "")


def refuse_itself(source: Table, target: Table) -> None:
    """Raise InputError when both are the same table."""
    theirs, ours = engine(source), engine(target)
    if ours[1] and theirs[1] == ours[1]:
        raise InputError(
            Code.IMPORT_SOURCE,
            f"{source.where}: its table {source.database}.{source.name} is the one to import into; give another --from, --database or --table",
        )
