"""Moments as ClickHouse and the journal write them, and the ranges that commands are given."""

from __future__ import annotations

from datetime import UTC, datetime

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError


def text(moment: datetime) -> str:
    """Return a moment in UTC, to the millisecond, whatever time zone this machine has. As text they compare as in time."""
    if moment.tzinfo:
        moment = moment.astimezone(UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03}"


def refuse_backwards(since: datetime | None, until: datetime | None) -> None:
    """Raise InputError when a range ends before it begins."""
    if since and until and until <= since:
        raise InputError(
            Code.OPTION_VALUE,
            f"--until {until:%Y-%m-%d %H:%M:%S}: is not after --since {since:%Y-%m-%d %H:%M:%S}",
        )
