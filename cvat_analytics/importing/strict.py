"""How the texts of a dump become values: strictly, so that nothing is guessed. What is none is kept beside its row and refused.

Times follow the grammar of the pipeline (templates/vector/normalise.vrl), or a format that the operator names.
"""

from __future__ import annotations

import re
import zoneinfo
from dataclasses import dataclass

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.store.event_columns import COLUMNS

TIMES = "unix seconds, milliseconds or ISO 8601, from 1970 to 2105"
_END = r"([.,][0-9]*)? ?([Zz]|[+-][0-9]{2}:?[0-9]{2})?$"
_UNIX = r"^[0-9]{1,15}" + _END
_ISO = r"^[12][0-9]{3}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}" + _END
_LAST_MS = 4_291_747_200_000
"""The event table's sort key ends in 2106."""
# strftime's directive, Joda's letter, and how often it stands where digits follow digits
_DIRECTIVES = {
    "Y": ("yyyy", 1), "y": ("yy", 1), "m": ("M", 2), "d": ("d", 2), "H": ("H", 2), "I": ("h", 2), "M": ("m", 2), "S": ("s", 2),
    "p": ("a", 1), "b": ("MMM", 1), "B": ("MMMM", 1),
}  # fmt: skip


@dataclass(frozen=True)
class TimeFormat:
    """How a dump writes its times: `pattern` as strftime has it (empty: the pipeline's grammar), in `zone` where a time names none."""

    pattern: str = ""
    zone: str = "UTC"

    def __post_init__(self) -> None:
        """Raise InputError for a pattern with anything but date and time, or a zone that is none."""
        if self.zone not in zoneinfo.available_timezones():
            raise InputError(
                Code.OPTION_VALUE,
                f"--time-zone {self.zone}: is no time zone. Name it as in Europe/Berlin or Asia/Tokyo",
            )
        if self.pattern:
            self.joda()

    def joda(self) -> str:
        """Return the pattern as ClickHouse's parser takes it, without the fraction of a second."""
        pattern = re.sub(r":%S[.,]%f", ":%S", self.pattern)
        directives = re.findall(r"%(.)", pattern)
        unknown = [f"%{letter}" for letter in directives if letter not in _DIRECTIVES]
        missing = [name for name, letters in {"year": "Yy", "month": "mbB", "day": "d", "hour": "HI", "minute": "M"}.items() if not set(letters) & set(directives)]  # fmt: skip
        if unknown or missing or pattern.count("%") != len(directives):
            why = f"{', '.join(unknown)} is not understood" if unknown else f"says no {', no '.join(missing)}"
            raise InputError(
                Code.OPTION_VALUE,
                f"--time-format {self.pattern!r}: {why}. Write it with %Y %y %m %b %B %d %H %I %p %M %S (and :%S.%f), "
                "as in '%d.%m.%Y %H:%M:%S'",
            )
        parts = re.split(r"(%.)", pattern)
        written = []
        for index, part in enumerate(parts):
            if index % 2 == 0:
                written.append("'" + part.replace("'", "''") + "'" if part else "")
                continue
            letter, width = _DIRECTIVES[part[1]]
            beside = (index + 2 < len(parts) and not parts[index + 1]) or (index > 1 and not parts[index - 1])
            written.append(letter * width if beside else letter)
        return "".join(written)

    def milliseconds(self, text: str) -> str:
        """Return the SQL for the milliseconds since 1970 that the SQL expression `text` says, NULL where it says none."""
        zone = _quoted(self.zone)
        if self.pattern:
            fraction = f"extract({text}, ':[0-9]{{1,2}}[.,]([0-9]+)')" if "%f" in self.pattern else "''"
            plain = (
                f"replaceRegexpOne({text}, '(:[0-9]{{1,2}})[.,][0-9]+', '\\\\1')"
                if "%f" in self.pattern
                else text
            )
            seconds = f"toInt64(toUnixTimestamp(parseDateTimeInJodaSyntaxOrNull({plain}, {_quoted(self.joda())}, {zone})))"
            return _in_range(f"{seconds} * 1000 + {_thousandths(fraction)}")
        number = f"toInt64OrZero(extract({text}, '^[0-9]+'))"
        fraction = _thousandths(f"extract({text}, '[.,]([0-9]*)')")
        offset = f"extract({text}, '([+-][0-9]{{2}}:?[0-9]{{2}})$')"
        shift = f"if(startsWith({offset}, '-'), -60, 60) * (toInt64OrZero(substring({offset}, 2, 2)) * 60 + toInt64OrZero(right({offset}, 2)))"
        clock = f"concat(substring({text}, 1, 10), ' ', substring({text}, 12, 8))"
        has_zone = f"length({text}) > 19 AND match({text}, '([Zz]|[+-][0-9]{{2}}:?[0-9]{{2}})$')"
        at = f"parseDateTimeOrNull({clock}, '%Y-%m-%d %H:%i:%s', 'UTC')"
        local = f"parseDateTimeOrNull({clock}, '%Y-%m-%d %H:%i:%s', {zone})"
        iso = f"if({has_zone}, toInt64(toUnixTimestamp({at})) - ({shift}), toInt64(toUnixTimestamp({local}))) * 1000 + {fraction}"
        return _in_range(
            f"multiIf(match({text}, {_quoted(_UNIX)}), if({number} < 100000000000, {number} * 1000 + {fraction}, {number}), "
            f"match({text}, {_quoted(_ISO)}), {iso}, NULL)"
        )


PIPELINE = TimeFormat()
"""What the pipeline itself takes."""


def value(column: str, text: str, times: TimeFormat) -> str:
    """Return the SQL for a column's value from the SQL expression `text`; where that is none, what stands for nothing there."""
    kind = COLUMNS[column]
    if column == "timestamp":
        return f"fromUnixTimestamp64Milli(ifNull({times.milliseconds(f'ifNull({text}, {_quoted("")})')}, 0))"
    if "String" in kind:
        return text
    return f"{_number(kind, text)}" if kind.startswith("Nullable") else f"ifNull({_number(kind, text)}, 0)"


def problem(column: str, text: str, times: TimeFormat) -> str:
    """Return the SQL condition that `text` is no value of that column."""
    kind = COLUMNS[column]
    if column == "timestamp":
        return f"isNull({times.milliseconds(f'ifNull({text}, {_quoted("")})')})"
    if "String" in kind:
        return not_text(text)
    return f"ifNull({text}, '') != '' AND isNull({_number(kind, text)})"


def not_text(text: str) -> str:
    """Return the SQL condition that `text` is not UTF-8."""
    return f"NOT isValidUTF8(ifNull({text}, ''))"


def explain(column: str, text: str, times: TimeFormat) -> str:
    """Return why `text`, as `problem` has found it, is no value of that column, and what to do about it."""
    kind = COLUMNS[column]
    shown = repr(text[:80])
    if column == "timestamp" and times.pattern:
        return f"{shown} is not a time in the form --time-format {times.pattern!r}"
    if column == "timestamp":
        return f"{shown} is not a time: {TIMES}. A file that writes its times otherwise needs --time-format, and --time-zone where it is not UTC"
    if "String" in kind:
        return (
            f"{shown} is not UTF-8. Say how the file is encoded, as in --encoding cp1252 or --encoding cp932"
        )
    return f"{shown} is not a whole number that fits ({kind})"


def _number(kind: str, text: str) -> str:
    # spreadsheets and data frames write ids in columns with gaps as 5.0
    return f"to{kind.removeprefix('Nullable(').rstrip(')')}OrNull(replaceRegexpOne(ifNull({text}, ''), '^([0-9]+)\\\\.0*$', '\\\\1'))"


def _thousandths(digits: str) -> str:
    return f"toInt64OrZero(substring(concat({digits}, '000'), 1, 3))"


def _in_range(milliseconds: str) -> str:
    return f"arrayMap(ms -> if(ms >= 0 AND ms < {_LAST_MS}, ms, NULL), [{milliseconds}])[1]"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
