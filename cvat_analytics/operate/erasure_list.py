"""The list of erasures beside the inventory: CVAT's user ids and instants, and nothing else.

It outlives the database: a deploy onto a new or restored host takes the people out again. So it belongs into a backup, like the
passwords beside it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.base.files import write_atomically

FILE_NAME = "erasures.json"


def load(path: Path) -> dict[int, datetime]:
    """Return of each person who was erased the instant. Raises InputError for a file that is none of these."""
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        known = {int(each["user_id"]): datetime.fromisoformat(each["before"]) for each in listed["erasures"]}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            Code.ERASURES_DAMAGED,
            f"{path}: is no list of erasures ({error}). Bring it back from a backup: without it people who were erased come back",
        ) from None
    if any(before.tzinfo is None for before in known.values()):
        raise InputError(
            Code.ERASURES_DAMAGED,
            f"{path}: has an instant without its offset from UTC, as in 2026-01-31T12:00:00+00:00",
        )
    return known


def add(path: Path, more: dict[int, datetime]) -> dict[int, datetime]:
    """Return the list with `more`, which is written where that changes it; of two instants of one person the later one counts."""
    known = load(path)
    changed = merged(known, more)
    if changed != known:
        listed = [{"user_id": id, "before": before.astimezone(UTC).isoformat(timespec="milliseconds")} for id, before in sorted(changed.items())]  # fmt: skip
        text = json.dumps({"erasures": listed}, indent=1) + "\n"
        write_atomically(path, text)
    return changed


def merged(known: dict[int, datetime], more: dict[int, datetime]) -> dict[int, datetime]:
    """Return both lists as one."""
    return {id: max(each[id] for each in (known, more) if id in each) for id in known.keys() | more.keys()}
