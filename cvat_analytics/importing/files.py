"""Make a dump readable as a table: CSV with a header (CVAT's own export, or ClickHouse's CSVWithNames) or Native.

The dump is first loaded whole into a table of its own beside the events, so that a truncated or damaged one leaves no
trace in them, and so that both sides can be counted. CSV is loaded in chunks, each of which is there whole or not at
all; an interrupted load goes on after the last one. Nothing is guessed (strict.py): the first value that is none is
named by its line, and the dump is refused.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError, InputError
from cvat_analytics.base.texts import UTF_8
from cvat_analytics.config import limits
from cvat_analytics.connect.clickhouse_errors import STORE, error_text, explained, only_row, problem
from cvat_analytics.importing import native, strict
from cvat_analytics.importing.columns import match, spare
from cvat_analytics.importing.strict import PIPELINE, TimeFormat
from cvat_analytics.importing.tables import Table
from cvat_analytics.store.event_columns import COLUMNS, INSERT_SETTINGS

CHUNK_ROWS, CHUNK_BYTES = 50_000, 32 * 2**20
LONGEST_ROW = limits.LINE
_CSV_SETTINGS = INSERT_SETTINGS | {
    # one block, hence one part: whole or not at all
    "max_insert_block_size": 1_000_000,
    # the rows keep their order, and have its numbers
    "input_format_parallel_parsing": 0,
    "max_insert_threads": 1,
    "max_threads": 1,
    # spaces around a value are part of it
    "input_format_csv_trim_whitespaces": 0,
}
_DELIMITERS = ",;\t"
_OTHER_FORMATS = {
    b"PAR1": "Parquet",
    b"ARROW1": "Arrow",
    b"\xff\xff\xff\xff": "Arrow",
    b"{": "JSON",
    b"[": "JSON",
}
# what ClickHouse says when the data, not the server, is at fault
_DATA_ERRORS = {
    "CANNOT_PARSE_INPUT_ASSERTION_FAILED", "CANNOT_PARSE_TEXT", "CANNOT_PARSE_NUMBER", "CANNOT_PARSE_DATETIME",
    "CANNOT_PARSE_QUOTED_STRING", "CANNOT_READ_ALL_DATA", "CANNOT_READ_ALL_DATA_FROM_FILE", "INCORRECT_DATA",
    "ATTEMPT_TO_READ_AFTER_EOF", "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN", "TOO_LARGE_STRING_SIZE", "TYPE_MISMATCH",
    "UNKNOWN_TYPE", "ARGUMENT_OUT_OF_BOUND", "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE", "TOO_LARGE_ARRAY_SIZE", "SYNTAX_ERROR",
}  # fmt: skip


@dataclass(frozen=True)
class Dump:
    """A dump file: its format, and the name in it of each event column that it has."""

    path: Path
    format: str
    header: tuple[str, ...]
    columns: dict[str, str]
    delimiter: str = ","
    encoding: str = UTF_8
    times: TimeFormat = PIPELINE

    @property
    def size(self) -> int:
        """Return the file's size in bytes."""
        return self.path.stat().st_size

    @property
    def fingerprint(self) -> str:
        """Return a word that stands for the file and how it is read, wherever it lies: its size, its beginning and its end."""
        with self.path.open("rb") as file:
            digest = sha256(f"{self.size} {self.encoding} {self.times}".encode() + file.read(limits.MIB))
            file.seek(max(0, self.size - limits.MIB))
            digest.update(file.read())
        return digest.hexdigest()[:16]


def read(
    path: Path,
    leave_out: tuple[str, ...] = (),
    encoding: str = UTF_8,
    times: TimeFormat = PIPELINE,
    cvat_columns: tuple[str, ...] = (),
) -> Dump:
    """Return what `path` is, from its beginning, without the columns of the setting `cvat_columns`.

    Raises InputError when it is no dump of CVAT's events.
    """
    where = f"file {path}"
    try:
        with path.open("rb") as file:
            head = file.read(limits.MIB)
    except OSError as error:
        raise InputError(Code.DUMP_UNREADABLE, f"{where}: cannot be read ({error.strerror})") from None
    if not head:
        raise InputError(
            Code.DUMP_DAMAGED, f"{where}: is empty, without even a header: the dump is truncated"
        )
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and encoding == UTF_8:
        raise InputError(Code.DUMP_ENCODING, f"{where}: is UTF-16. Say so with --encoding utf-16")
    names, delimiter = _header(head, encoding)
    if names:
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(Code.DUMP_COLUMNS, f"{where}: has the column {twice[0]!r} twice")
        columns = match(dict.fromkeys(names, ""), where, (*leave_out, *spare(names, cvat_columns)))
        return Dump(path, "CSV", tuple(names), columns, delimiter, encoding, times)
    for begin, kind in _OTHER_FORMATS.items():
        if head.startswith(begin):
            raise InputError(
                Code.DUMP_FORM,
                f"{where}: is {kind}, which is not read. Make it with `cvat-analytics export --format csv`, or with "
                "`SELECT * FROM cvat.events FORMAT Native`",
            )
    types = native.columns(path)
    if not types:
        raise InputError(
            Code.DUMP_FORM,
            f"{where}: is neither CSV with a header line nor ClickHouse's Native format, or is cut off within its beginning. "
            "Unpack it if it is compressed; a dump is made with `SELECT * FROM cvat.events FORMAT CSVWithNames` (or Native)",
        )
    if times != PIPELINE or encoding != UTF_8:
        raise InputError(
            Code.DUMP_FORM,
            f"{where}: is in ClickHouse's Native format, which has its times as numbers and its texts as they are: leave out "
            "--time-format, --time-zone and --encoding",
        )
    return Dump(path, "Native", tuple(types), match(types, where, (*leave_out, *spare(types, cvat_columns))))


def _header(head: bytes, encoding: str) -> tuple[list[str], str]:
    """Return the column names if `head` begins with a line of them, else none; and what stands between them."""
    line = head.decode(encoding, "ignore").split("\n", 1)[0].removeprefix("\ufeff").rstrip("\r")
    for delimiter in _DELIMITERS:
        try:
            names = next(csv.reader([line], delimiter=delimiter), [])
        except csv.Error:
            continue
        if len(names) > 1 and all(name.isidentifier() for name in names):
            return names, delimiter
    return [], ","


def load(dump: Dump, client: Client, database: str, progress: Callable[[int], object]) -> Table:
    """Load `dump` into a table of its own and return that; `progress` is told the bytes of each step.

    A dump that is loaded already is not read again. Raises InputError, leaving nothing, for a truncated or damaged one.
    """
    where = f"file {dump.path}"
    columns = dict(zip(dump.columns, dump.columns, strict=True))
    loaded = Table(client, database, f"import_{dump.fingerprint}", columns, where)
    loading = Table(client, database, f"{loaded.name}_loading", columns, where)
    if only_row(loaded.query(f"EXISTS TABLE {loaded.sql_name}"))[0]:
        progress(dump.size)
        return loaded
    fields = ", ".join(f"`{name}` {COLUMNS[name]}" for name in dump.columns)
    engine = "ENGINE = MergeTree ORDER BY timestamp SETTINGS non_replicated_deduplication_window = 0"
    with explained(STORE):
        client.command(
            f"CREATE TABLE IF NOT EXISTS {loading.sql_name} "
            f"({fields}, first_row UInt64, row UInt64, wrong Array(Tuple(String, String))) {engine}"
        )
        try:
            (_load_csv if dump.format == "CSV" else _load_native)(dump, loading, progress)
            _refuse_wrong(dump, loading)
        except InputError:
            drop(loading)
            raise
        client.command(f"RENAME TABLE {loading.sql_name} TO {loaded.sql_name}")
    return loaded


@explained(STORE)
def drop(table: Table) -> None:
    """Remove the table that a dump was loaded into."""
    table.client.command(
        f"DROP TABLE IF EXISTS {table.sql_name} SYNC", settings={"max_table_size_to_drop": 0}
    )


def _refuse_wrong(dump: Dump, table: Table) -> None:
    """Raise InputError for the first value of the dump that is none, if there is one."""
    first = table.query(
        f"SELECT row, wrong[1].1, wrong[1].2 FROM {table.sql_name} WHERE wrong != [] ORDER BY row LIMIT 1"
    )
    for row, ours, text in first:
        rows = int(only_row(table.query(f"SELECT count() FROM {table.sql_name} WHERE wrong != []"))[0])
        more = f" So have {rows - 1} other rows something wrong." if rows > 1 else ""
        place = f"line {_line_of(dump, int(row))}" if dump.format == "CSV" else f"row {row}"
        raise InputError(
            Code.DUMP_VALUE,
            f"file {dump.path}: {place}, column {dump.columns[ours]}: {strict.explain(ours, text, dump.times)}.{more} Nothing has been imported",
        )


def _line_of(dump: Dump, row: int) -> int:
    """Return the number of the line in which a row begins."""
    number, quoted = 0, False
    for line, text in enumerate(_lines(dump), 1):
        if not quoted:
            number += 1
        if number == row + 1:  # the header is the first
            return line
        quoted ^= text.count(b'"') % 2 == 1
    return number


def _lines(dump: Dump) -> Iterator[bytes]:
    """Yield the lines of a CSV file in UTF-8, the header first. Raises InputError where the file is not in its encoding."""
    if dump.encoding == UTF_8:
        with dump.path.open("rb") as file:
            yield from file
        return
    number = 0
    try:
        with dump.path.open(encoding=dump.encoding, newline="\n") as text:
            for number, line in enumerate(text, 1):  # noqa: B007 - for the message
                yield line.encode()
    except UnicodeError as error:
        raise InputError(
            Code.DUMP_ENCODING,
            f"file {dump.path}: line {number + 1} is not {dump.encoding} ({error.reason if isinstance(error, UnicodeDecodeError) else error}). "
            "Say how the file is encoded with --encoding. Nothing has been imported",
        ) from None


def _load_csv(dump: Dump, table: Table, progress: Callable[[int], object]) -> None:
    counted = table.query(f"SELECT first_row, count() FROM {table.sql_name} GROUP BY first_row")
    present = {int(row): int(rows) for row, rows in counted}
    lines = _lines(dump)
    progress(len(next(lines)))
    settings = _CSV_SETTINGS | {"format_csv_delimiter": _delimiter(dump)}
    for first_row, rows, block in _csv_chunks(lines, dump):
        if present.get(first_row, rows) != rows:
            # of a version with chunks of another size: which of their rows are there is not known
            table.client.command(f"TRUNCATE TABLE {table.sql_name}")
            _load_csv(dump, table, progress)
            return
        if first_row not in present:
            try:
                data = _with_commas(block) if dump.delimiter == "\t" else block
                table.client.command(_insert(dump, table, first_row), data=data, settings=settings)
            except ClickHouseError as error:
                raise _damaged(dump, error, f"rows {first_row} to {first_row + rows - 1}") from None
        progress(len(block))


def _delimiter(dump: Dump) -> str:
    """Return what stands between values when ClickHouse reads them, whose CSV knows no tab."""
    return "," if dump.delimiter == "\t" else dump.delimiter


def _with_commas(block: bytes) -> bytes:
    rows = csv.reader(io.StringIO(block.decode(errors="surrogateescape"), newline=""), delimiter="\t")
    written = io.StringIO(newline="")
    csv.writer(written).writerows(rows)
    return written.getvalue().encode(errors="surrogateescape")


def _insert(dump: Dump, table: Table, first_row: int) -> str:
    """Return the statement that inserts what follows it, columns matched by their names in the dump."""
    ours = {theirs: ours for ours, theirs in dump.columns.items()}
    is_csv = dump.format == "CSV"
    structure = ", ".join(
        f"`{name}` {_read_as(ours[name], is_csv) if name in ours else 'String'}"
        for name in dump.header
        if name in ours or is_csv
    )
    names = ", ".join(f"`{name}`" for name in dump.columns)
    values = [
        strict.value(column, f"`{name}`", dump.times) if is_csv else f"`{name}`"
        for column, name in dump.columns.items()
    ]
    checks = {
        column: strict.problem(column, f"`{name}`", dump.times) if is_csv else strict.not_text(f"`{name}`")
        for column, name in dump.columns.items()
        if is_csv or "String" in COLUMNS[column]
    }
    wrong = ", ".join(
        f"if({check}, [('{column}', ifNull(`{dump.columns[column]}`, ''))], [])"
        for column, check in checks.items()
    )
    return (
        f"INSERT INTO {table.sql_name} ({names}, first_row, row, wrong) SELECT {', '.join(values)}, {first_row}, "
        f"{first_row} + rowNumberInAllBlocks(), arrayConcat(CAST([], 'Array(Tuple(String, String))'), {wrong}) "
        f"FROM input('{structure.replace("'", "''")}') FORMAT {dump.format}"
    )


def _read_as(column: str, is_csv: bool) -> str:
    """Return the type as which a column is read: in CSV numbers and times as texts, which are looked at first."""
    return COLUMNS[column] if not is_csv or "String" in COLUMNS[column] else "Nullable(String)"


def _csv_chunks(file: Iterator[bytes], dump: Dump) -> Iterator[tuple[int, int, bytes]]:
    """Yield for each chunk of whole rows the number of its first row, of its rows, and its text. Empty lines at the end are none."""
    lines: list[bytes] = []
    first_row, rows, size = 1, 0, 0
    begin, row_size, quoted = 0, 0, False
    blank = 0
    for line in file:
        if not quoted and not line.strip(b"\r\n"):
            blank += 1
            continue
        if blank:
            raise InputError(
                Code.DUMP_DAMAGED,
                f"file {dump.path}: has an empty line before row {first_row + rows}. Nothing has been imported; remove it",
            )
        if not quoted:
            begin, row_size = len(lines), 0
        lines.append(line)
        size += len(line)
        row_size += len(line)
        # a quote within a quoted value is doubled: an odd number so far means that the row goes on
        quoted ^= line.count(b'"') % 2 == 1
        if quoted:
            if row_size > LONGEST_ROW:
                raise InputError(
                    Code.DUMP_DAMAGED,
                    f"file {dump.path}: a quoted value in row {first_row + rows} has no end: the dump is damaged. Nothing has been imported",
                )
            continue
        rows += 1
        if rows >= CHUNK_ROWS or size >= CHUNK_BYTES:
            # the last row of all must stay for the check below
            if not line.endswith(b"\n"):
                break
            yield first_row, rows, b"".join(lines)
            first_row, rows, size, lines = first_row + rows, 0, 0, []
    if quoted:
        raise _truncated(dump, first_row + rows)
    if lines:
        last = b"".join(lines[begin:])
        fields = next(
            csv.reader(io.StringIO(last.decode(errors="replace"), newline=""), delimiter=dump.delimiter), []
        )
        if not last.endswith(b"\n") or len(fields) < len(dump.header):
            raise _truncated(dump, first_row + rows - 1)
        yield first_row, rows, b"".join(lines)


def _truncated(dump: Dump, row: int) -> InputError:
    return InputError(
        Code.DUMP_DAMAGED,
        f"file {dump.path}: ends in the middle of row {row}: the dump is truncated. Nothing has been imported; make the dump "
        "again, or, if no more can be had, remove its last row",
    )


def _load_native(dump: Dump, table: Table, progress: Callable[[int], object]) -> None:
    # blocks of an interrupted load cannot be told from others
    table.client.command(f"TRUNCATE TABLE {table.sql_name}")

    def blocks() -> Generator[bytes]:
        yield _insert(dump, table, 1).encode() + b"\n"
        with dump.path.open("rb") as file:
            while block := file.read(limits.MIB):
                yield block
                progress(len(block))

    try:
        # of the columns only those that were left out on purpose are unknown: that has been checked
        settings = INSERT_SETTINGS | {"input_format_skip_unknown_fields": 1}
        table.client.raw_insert("", insert_block=blocks(), settings=settings)
    except ClickHouseError as error:
        raise _damaged(dump, error, "its data") from None


def _damaged(dump: Dump, error: ClickHouseError, what: str) -> CvatAnalyticsError:
    if getattr(error, "name", None) in _DATA_ERRORS:
        return InputError(
            Code.DUMP_DAMAGED,
            f"file {dump.path}: {what} cannot be read: {error_text(error)}. The dump is damaged or truncated. Nothing has been imported",
        )
    return problem(STORE, error)
