"""The options `--since` and `--until`."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import click


class Timestamp(click.ParamType[datetime]):
    """A time, written as 2026-01-31, 2026-01-31T14:30 or with a zone; UTC where it names none.

    A day means its beginning, or with `end` its end.
    """

    name = "time"

    def __init__(self, *, end: bool = False) -> None:
        self._end = end

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the moment in UTC. Fails with one message when it is none."""
        if isinstance(value, datetime):
            return value
        text = str(value).strip()
        try:
            day = date.fromisoformat(text)
        except ValueError:
            pass
        else:
            return datetime.combine(day + timedelta(days=self._end), time.min, UTC)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            self.fail(
                f"{text!r} is not a time: write it as 2026-01-31, 2026-01-31T14:30 or 2026-01-31T14:30+09:00",
                param,
                ctx,
            )
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
