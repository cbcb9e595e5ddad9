"""The answer to a person's request as files: JSON and CSV of all that is stored of them, and a README in plain words.

A directory, or a zip of it, for its owner alone, which appears when it is complete.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.operate.disclosure import NOT_SEARCHED, OTHERS_EVENTS, Disclosure, Found, Progress
from cvat_analytics.operate.others import SOMEBODY, TEXT

_FLAT = ("known_names", "job_changes")
"""Tables whose rows are short enough for a spreadsheet; the others are a line of JSON each, as values in them are lists or JSON."""


def refuse_existing(path: Path) -> None:
    """Raise InputError where there is something already, or no directory that it could be in."""
    if path.exists() or path.is_symlink():
        raise InputError(
            Code.OUTPUT_EXISTS, f"--output: {path} is there already; give another name, or remove it"
        )
    if not path.absolute().parent.is_dir():
        raise InputError(Code.OUTPUT_UNWRITABLE, f"--output: there is no directory {path.absolute().parent}")


def write(disclosure: Disclosure, path: Path, reference: str, progress: Progress) -> dict[str, int]:
    """Write everything into `path`, and return the names of the files with how many entries are in each.

    Raises InputError when it cannot be written; nothing of it is left then.
    """
    try:
        folder = Path(
            tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.absolute().parent)
        )  # for the owner alone
        try:
            files = _fill(disclosure, folder, reference, progress)
            if path.suffix.lower() == ".zip":
                _zip(folder, path)
            else:
                folder.rename(path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise InputError(Code.OUTPUT_UNWRITABLE, f"{path}: cannot be written ({error.strerror})") from None
    return files


def _fill(disclosure: Disclosure, folder: Path, reference: str, progress: Progress) -> dict[str, int]:
    found = disclosure.found()
    says: dict[str, str] = {}
    rows: dict[str, Iterable[Mapping[str, Any]]] = {}
    for place in disclosure.places():
        name = f"{place.table}.{'csv' if place.table in _FLAT else 'jsonl'}"
        says[name] = f"{place.says}. Why it is stored: {place.why}."
        rows[name] = disclosure.rows(place)
    name = f"{OTHERS_EVENTS}.jsonl"
    says[name] = (
        "what others' events say of you: jobs that you were given, invitations, comments of yours that others have deleted."
    )
    rows[name] = disclosure.rows_of_others()
    says["journal.jsonl"] = (
        "the same events once more, yours and those of others that speak of you, from the safety copy before the database."
    )
    rows["journal.jsonl"] = (event for _, event in disclosure.journal(progress))
    says["large_dead_letters.jsonl"] = (
        "events of yours that were too large for the table of what could not be stored, whole."
    )
    rows["large_dead_letters.jsonl"] = disclosure.large_letters()
    says["exports.jsonl"] = "exports of events that you have asked for: when, of what, under which name."
    rows["exports.jsonl"] = disclosure.own_exports()
    user = disclosure.grafana_user()
    says["grafana_user.jsonl"] = "your account for the dashboards, which was made when you first opened them."
    rows["grafana_user.jsonl"] = [user] if user else []
    files = {name: _write(folder / name, each) for name, each in rows.items()}
    for name in [name for name, count in files.items() if not count]:
        (folder / name).unlink()
        del files[name]
    (folder / "person.json").write_text(_json(asdict(disclosure.person)) + "\n", encoding="utf-8")
    (folder / "summary.json").write_text(_json([asdict(each) for each in found]) + "\n", encoding="utf-8")
    (folder / "README.txt").write_text(
        _readme(disclosure, found, {name: says[name] for name in files}, reference), encoding="utf-8"
    )
    for file in folder.iterdir():
        file.chmod(0o600)
    return files


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows as CSV or as lines of JSON, by the name of the file, and return how many there were."""
    count = 0
    with path.open("w", encoding="utf-8", newline="" if path.suffix == ".csv" else None) as file:
        table = csv.writer(file)
        for row in rows:
            if path.suffix == ".csv":
                if not count:
                    table.writerow(row)
                table.writerow([_cell(each) for each in row.values()])
            else:
                file.write(_json(row) + "\n")
            count += 1
    return count


def _cell(value: Any) -> Any:
    """Return a value of a CSV. A text that a spreadsheet would take for a formula gets a quote before it: names are whatever people choose."""
    if value is None or isinstance(value, int):
        return value
    text = _plain(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _zip(folder: Path, path: Path) -> None:
    """Put the files of `folder` into a new zip for its owner alone, which has its name when it is whole."""
    part = folder / "zip"
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for each in sorted(folder.iterdir()):
            if each != part:
                packed.write(each, f"{path.stem}/{each.name}")
    part.rename(path)


def _readme(disclosure: Disclosure, found: list[Found], files: Mapping[str, str], reference: str) -> str:
    person = disclosure.person
    lines = [
        "What is stored about you in the analytics of CVAT",
        "=================================================",
        "",
        f"About: the person with id {person.id} in CVAT ({', '.join((*person.names, *person.emails)) or 'no name is stored'}).",
        f"Made on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC. Reference: {reference}.",
        "",
        "CVAT tells this system what is done in it: who opened, drew, saved, reviewed what, and when. Times are UTC. Other people are left",
        f'out: where one of them would stand, it says "{SOMEBODY}" or "{TEXT}".',
        "",
        "What is where, from when to when, and until when it is kept",
        "------------------------------------------------------------",
        "",
    ]
    for each in found:
        kept = f"until {each.until:%Y-%m-%d}" if each.until else "for good, or until it is erased"
        span = f", {each.first:%Y-%m-%d} to {each.last:%Y-%m-%d}" if each.first and each.last else ""
        lines.append(
            f"{each.place}: {each.says}. {each.rows:,} {'entry' if each.rows == 1 else 'entries'}{span}; kept {kept}."
        )
    lines += ["", "The files", "---------", ""]
    lines += [f"{name}: {text}" for name, text in files.items()]
    lines += [
        "person.json: what you were called, as far as it is known here.",
        "summary.json: the list above, for machines.",
        "",
        "A file that ends in .csv is a table for any spreadsheet; one that ends in .jsonl has an entry of JSON on each line. The words in them",
        "are CVAT's own: scope says what was done (save:job, create:shapes), obj_name, obj_id and obj_val to what, payload holds details.",
        "A text in a table that begins like a formula has a ' before it, so that no spreadsheet runs it.",
        "computed_ms is working time in milliseconds; durations, furthest_ms and slots are what it is made of.",
        "",
        "What was not searched",
        "---------------------",
        "",
        *(f"{each}." for each in NOT_SEARCHED),
    ]
    if disclosure.incomplete:
        lines += ["", "NOT COMPLETE: this could not be looked at", "", *disclosure.incomplete]
    return "\n".join(lines) + "\n"


def _json(value: Any) -> str:
    return json.dumps(value, default=_plain, ensure_ascii=False)


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds" if value.microsecond else "seconds")
    return value.isoformat() if isinstance(value, date) else str(value)
