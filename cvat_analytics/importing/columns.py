"""Whether a foreign table or dump can deliver them without a value being lost."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.store.event_columns import COLUMNS, OPTIONAL

# what one development version of CVAT called it
_OTHER_NAMES = {"access_token_id": "api_token"}


def spare(columns: Iterable[str], cvat_columns: Iterable[str]) -> list[str]:
    """Return which of `columns` are there for CVAT's sake alone (the setting `cvat_columns`), and nothing writes into them."""
    known = {*COLUMNS, *_OTHER_NAMES.values()}
    return sorted(set(columns) & set(cvat_columns) - known)


def unknown(columns: Iterable[str]) -> list[str]:
    """Return which of `columns` no version of CVAT that is known here has."""
    return sorted(set(columns) - {*COLUMNS, *_OTHER_NAMES.values()})


def match(columns: Mapping[str, str], where: str, leave_out: Iterable[str] = ()) -> dict[str, str]:
    """Return for each event column that `where` delivers the name that it has there.

    `columns` has each column's type, or an empty text where everything is text; `leave_out` names columns that are not
    wanted. Raises InputError naming every column that is missing, unknown, or of a type whose values could not be kept.
    """
    unwanted = set(leave_out)
    mistakes = [f"has no column {name!r} to leave out" for name in sorted(unwanted - set(columns))]
    mistakes += [
        f"column {name!r} is part of every event and cannot be left out" for name in unwanted & set(COLUMNS)
    ]
    names = {
        column: theirs
        for column in COLUMNS
        for theirs in (column, _OTHER_NAMES.get(column, ""))
        if theirs in columns and theirs not in unwanted
    }
    missing = [column for column in COLUMNS if column not in names and column not in OPTIONAL]
    if missing:
        mistakes.append(f"lacks {_list('column', missing)}; it has {', '.join(columns) or 'none'}")
    unknown = [name for name in columns if name not in names.values() and name not in unwanted]
    if unknown and not missing:
        mistakes.append(
            f"has {_list('column', unknown)}, for which there is no place. If that data is not needed, say so with "
            + " ".join(f"--leave-out {name}" for name in unknown)
        )
    mistakes += [
        f"column {theirs!r} has type {columns[theirs]}, where {COLUMNS[column]} is expected"
        for column, theirs in names.items()
        if columns[theirs] and not _fits(columns[theirs], COLUMNS[column])
    ]
    if mistakes:
        raise InputError(
            Code.DUMP_COLUMNS,
            "\n".join(f"{where}: {mistake}" for mistake in mistakes)
            + "\nNothing has been imported: this is not a table of CVAT's events",
        )
    return names


def _list(noun: str, names: list[str]) -> str:
    return f"the {noun}{'s' if len(names) > 1 else ''} {', '.join(names)}"


def _fits(theirs: str, ours: str) -> bool:
    """Return whether every value of type `theirs` is one of type `ours`."""
    plain = re.sub(r"LowCardinality\((.*)\)", r"\1", theirs)
    nullable = re.fullmatch(r"Nullable\((.*)\)", plain)
    if nullable and not ours.startswith("Nullable"):
        return False
    kind = nullable[1] if nullable else plain
    target = ours.removeprefix("Nullable(").removesuffix(")") if ours.startswith("Nullable") else ours
    if target.startswith("UInt"):
        return kind.startswith("UInt") and int(kind[4:]) <= int(target[4:])
    if target.startswith("DateTime64"):
        return bool(re.match(r"DateTime(64\([0-3]\b|\(|$)", kind))
    return kind == target
