"""`cvat-analytics working-time`: the computed working time, and how it compares with what the CVAT server reported."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import click

from cvat_analytics.config.types import parse_duration
from cvat_analytics.store import working_time_report
from scripts.target import Target, target_options
from scripts.terminal import echo, one_line


class Day(click.ParamType[date]):
    """A day, written as 2026-01-31."""

    name = "day"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """Return the day. Fails with one message when it is none."""
        try:
            return value if isinstance(value, date) else date.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a day: write it as 2026-01-31", param, ctx)


class Duration(click.ParamType[timedelta]):
    """A duration, written as 90s, 15m or 2h."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Return the duration. Fails with one message when it is none."""
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.group("working-time")
def working_time() -> None:
    """Bring working time up to date, and compare it with what the CVAT server reported."""


@working_time.command()
@target_options
@click.option(
    "--since", type=Day(), help="Compute every day from this one on anew, not only what has changed."
)
def refresh(target: Target, since: date | None) -> None:
    """Make the computed working time exact at once, instead of within the configured delay."""
    with target.reach(begin="the computation of working time") as access:
        total = 0
        for remaining in working_time_report.refresh(access, since):
            total = max(total, remaining)
            echo(f"{total - remaining} of {total} days of users computed", err=True)
    echo("Working time is up to date.")


@working_time.command()
@target_options
@click.option("--since", type=Day(), help="First day.  [default: 30 days ago]")
@click.option("--until", type=Day(), help="Last day.  [default: today]")
@click.option("--user", type=int, help="Only this user id.")
@click.option(
    "--at-least", type=Duration(), default="1m", show_default=True, help="Smallest difference to show."
)
def compare(
    target: Target,
    since: date | None,
    until: date | None,
    user: int | None,
    at_least: timedelta,
) -> None:
    """Show where computed and reported working time differ per user and job, by how much, and the likeliest reason."""
    today = datetime.now(UTC).date()
    with target.reach() as access:
        differences = working_time_report.compare(
            access, since or today - timedelta(days=30), until or today, at_least, user
        )
    if not differences:
        echo("No difference of that size.")
        return
    echo(f"{'user':<24} {'task':>8} {'job':>8} {'computed':>10} {'reported':>10} {'difference':>10}  why")
    for row in differences:
        user_text = f"{one_line(row.user_name or '-')} ({'-' if row.user_id is None else row.user_id})"
        echo(
            f"{user_text:<24} {_id(row.task_id):>8} {_id(row.job_id):>8} {_hours(row.computed_ms):>10} {_hours(row.reported_ms):>10} "
            f"{_hours(row.computed_ms - row.reported_ms):>10}  {row.reason}"
        )


def _id(value: int | None) -> str:
    return "-" if value is None else str(value)


def _hours(milliseconds: int) -> str:
    sign, seconds = ("-" if milliseconds < 0 else ""), abs(milliseconds) // 1000
    return f"{sign}{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
