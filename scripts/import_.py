"""`cvat-analytics import`: bring in the events of an existing CVAT installation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from cvat_analytics.base.texts import UTF_8
from cvat_analytics.importing import copying, files, stock, tables
from cvat_analytics.importing.columns import spare
from cvat_analytics.importing.strict import PIPELINE, TimeFormat
from scripts.encoding import codec
from scripts.target import Target, target_options
from scripts.terminal import echo, progressbar, secret_from_file


@click.command("import")
@click.option("--from", "url", metavar="URL", help="HTTP address of the ClickHouse to import from.")
@click.option("--user", default="default", show_default=True, help="User to log in there as.")
@click.option(
    "--password-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File with that user's password; without it none is given.",
)
@click.option("--database", default="cvat", show_default=True, help="Database to import from.")
@click.option("--table", default="events", show_default=True, help="Table to import from.")
@click.option(
    "--file",
    "dump",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Dump to import from: CSV with a header line, or ClickHouse's Native format.",
)
@click.option(
    "--leave-out", multiple=True, metavar="COLUMN", help="Do without this unknown column. May be repeated."
)
@click.option(
    "--time-format",
    default="",
    metavar="FORMAT",
    help="How the file writes its times, as strftime has it: '%d.%m.%Y %H:%M:%S'.",
)
@click.option(
    "--time-zone", default="UTC", show_default=True, help="Zone of the file's times that name none."
)
@click.option(
    "--encoding",
    default=UTF_8,
    show_default=True,
    help="How text that is not UTF-8 is encoded, such as cp932.",
)
@target_options
def import_(
    url: str | None,
    user: str,
    password_file: Path | None,
    database: str,
    table: str,
    dump: Path | None,
    leave_out: tuple[str, ...],
    time_format: str,
    time_zone: str,
    encoding: str,
    target: Target,
) -> None:
    """Import events from another ClickHouse (--from) or a dump (--file), and compare both sides month by month.

    What is there already is not stored twice. An interrupted import is continued by running the same command again.
    Exit code 2, with nothing imported, for a wrong table or a damaged dump; 3 when a connection is lost; 1 when something
    is missing in the end.
    """
    if bool(url) == bool(dump):
        raise click.UsageError("give either --from or --file")
    times = TimeFormat(time_format, time_zone)
    encoding = codec(encoding)
    if url and times != PIPELINE:
        raise click.UsageError("--time-format and --time-zone are about a --file")
    with target.reach(begin="the import") as access:
        destination = stock.destination(access)
        if url:
            password = secret_from_file(password_file) if password_file else ""
            source = tables.find(
                tables.connect(url, user, password),
                database,
                table,
                f"{url}",
                leave_out,
                "See --database, --table",
            )
            tables.refuse_itself(source, destination)
            source = replace(source, encoding=encoding)
            source.refuse_other_text("Say how they are encoded, as in --encoding cp1252 or --encoding cp932")
            key = f"{url} {database}.{table}"
        elif dump:
            cvat_columns = access.clickhouse.settings.cvat_columns
            described = files.read(dump, leave_out, encoding, times, cvat_columns)
            for name in sorted(set(spare(described.header, cvat_columns)) - set(leave_out)):
                echo(
                    f"Note: the column {name} of the dump is left out: CVAT wants it (setting 'cvat_columns'), and nothing is kept in it."
                )
            with progressbar(length=described.size, label="Reading the dump") as bar:
                source = files.load(described, destination.client, destination.database, bar.update)
            key = source.name
        copy = copying.plan(source, destination, key, access.clickhouse.settings.events_retention)
        report(copy, "Copying")
        if dump:
            files.drop(source)


def report(copy: copying.Copy, label: str) -> None:
    """Copy what is pending, show both sides, and raise CvatAnalyticsError when something is missing."""
    for note in copy.notes():
        echo(f"Note: {note}.")
    pending = sum(copy.pending().values())
    done = copy.rows - pending
    if done:
        echo(f"{done:,} of {done + pending:,} rows have been copied by an earlier run.")
    with progressbar(length=pending, label=label) as bar:
        copy.run(bar.update)
    with progressbar(length=sum(copy.days.values()), label="Counting both sides") as bar:
        months = copy.compare(bar.update)
    show(months)
    copy.refuse_incomplete(months)
    if note := copy.melted(months):
        echo(f"Note: {note}.")
    if months:
        echo("All events of the source are stored. An event that the source has twice is stored once.")


def show(months: Sequence[copying.Month]) -> None:
    """Print both sides of each month."""
    if months:
        echo(f"{'month':<8}{'source rows':>16}{'source events':>16}{'stored events':>16}")
    for month in months:
        echo(
            f"{month.month // 100:04}-{month.month % 100:02} {month.source_rows:>16,}{month.source_events:>16,}{month.stored_events:>16,}"
            + ("" if month.complete else "  INCOMPLETE")
        )
