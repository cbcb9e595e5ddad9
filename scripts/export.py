"""`cvat-analytics export`: events into a file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cvat_analytics.api.filters import Selection
from cvat_analytics.api.queries import Format
from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.connect.access import Access
from cvat_analytics.operate import exporting
from scripts.target import Target, target_options
from scripts.terminal import echo, progressbar

FORMATS = ("csv", "jsonl", "parquet")


@click.command()
@target_options
@click.option(
    "-o", "--output", default="-", metavar="FILE", help="The file, or `-` for standard output.  [default: -]"
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="Form of the file; default by the name of FILE, else csv.",
)
@click.option(
    "--from",
    "from_",
    metavar="TIME",
    help="Not before this time (ISO 8601, UTC).  [default: 30 days ago; with --to, a project, task or job: everything]",
)
@click.option("--to", metavar="TIME", help="Not after this time.  [default: now]")
@click.option("--org", "org_id", type=int, help="Only this organization's events.")
@click.option("--project", "project_id", type=int, help="Only this project's events.")
@click.option("--task", "task_id", type=int, help="Only this task's events.")
@click.option("--job", "job_id", type=int, help="Only this job's events.")
@click.option("--user", "user_id", type=int, help="Only this user's events.")
@click.option("--scope", multiple=True, help="Only events of this scope; may be given more than once.")
@click.option("--request-id", help="Only what this API request caused.")
@click.option(
    "--include",
    type=click.Choice(["all"]),
    help="`all`: exceptions too, and events of whatever source; CVAT's own export leaves them out. Not needed with --scope and --request-id.",
)
@click.option(
    "--for-spreadsheet",
    "spreadsheet",
    is_flag=True,
    help="CSV for Excel or LibreOffice: with a mark of UTF-8, times in the setting `time_zone`, and no text that is taken for a formula. "
    "Not for import.",
)
def export(
    target: Target,
    output: str,
    form: str | None,
    spreadsheet: bool,
    scope: tuple[str, ...],
    **wanted: Any,
) -> None:
    """Write events as CVAT exports them: ordered by time, each of them once, without exceptions.

    A CSV file is byte for byte what CVAT 2.42 gives out, but for one --for-spreadsheet. A file appears under its name only when it is complete.
    """
    selection = exporting.selection(
        scope=list(scope), **{name: value for name, value in wanted.items() if value is not None}
    )
    path = Path(output)
    name = form or _form(path)
    if spreadsheet and name != "csv":
        raise InputError(
            Code.EXPORT_FORM, f"--for-spreadsheet: makes CSV, not {name}. Leave out one of the two"
        )
    with target.reach() as access:
        wanted_form = exporting.form(access, name, spreadsheet=spreadsheet)
        if output == "-":
            if sys.stdout.isatty() and name == "parquet":
                raise InputError(Code.EXPORT_FORM, "--output: parquet is nothing for a terminal; give a file")
            _to_standard_output(access, selection, wanted_form)
            return
        with progressbar(length=1000, label=f"Exporting to {path}", file=sys.stderr) as bar:
            size = exporting.to_file(access, selection, wanted_form, path, _on(bar))
    echo(f"{path}: {size:,} bytes.", err=True)


def _form(path: Path) -> str:
    """Return the form that a file's name says. Raises InputError for one that we do not write, such as `.xlsx`."""
    if path.suffix and path.suffix.lower().lstrip(".") not in FORMATS:
        raise InputError(
            Code.EXPORT_FORM,
            f"--output: {path.name} is the name of another form. End it in {', '.join(f'.{name}' for name in FORMATS)}, or give --format",
        )
    return path.suffix.lower().lstrip(".") or "csv"


def _to_standard_output(access: Access, selection: Selection, form: Format) -> None:
    try:
        exporting.to_stream(access, selection, form, sys.stdout.buffer, lambda share: None)
    except BrokenPipeError:
        raise  # whoever reads has enough, as `head`
    except OSError as error:
        raise InputError(
            Code.OUTPUT_UNWRITABLE, f"standard output: cannot be written ({error.strerror})"
        ) from None


def _on(bar: Any) -> Callable[[float], None]:
    """Return what moves a bar of 1000 steps to a share of it; it never goes back."""

    def move(share: float) -> None:
        bar.update(max(0, round(share * 1000) - bar.pos))

    return move
