"""What is in a bundle, file by file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvat_analytics.base.errors import CvatAnalyticsError, UnreachableError
from cvat_analytics.checks.bundle import placeholders
from cvat_analytics.checks.bundle.keeping import GONE, Kept
from cvat_analytics.rendering.files import UNITS

if TYPE_CHECKING:
    from cvat_analytics.checks.doctor.examination import Diagnosis, Place
    from cvat_analytics.checks.doctor.machine import Machine
    from cvat_analytics.checks.status import Report
    from cvat_analytics.config.topology import Topology
    from cvat_analytics.connect.shell import Shell
    from cvat_analytics.store.rights import Rows

LINES = 3000
"""The last lines of each log that are looked at."""
_DISTINCT = 500
"""How many different lines of one log stand in the bundle."""
_LONGEST = 2000
"""Characters of a line that are looked at."""
_PATIENCE = 30.0
_STAMP = re.compile(r"^\d{4}[-.]\d\d[-.]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?")
_VERSION = re.compile(r"\d{1,5}(?:\.\d{1,6}){1,5}(?:[-+~][\w.]{1,12})?")
_COUNTING = ("buffer", "memory", "dead-letters", "future", "implausible-dates", "silence", "sources", "certificate", "timer", "port")  # fmt: skip
"""Checks that say nothing from outside, so that their numbers are what they have counted: no name, no address, no words of ClickHouse's."""
_SINCE = "2020"
"""The first year in which a line of a log can have been written: what begins with an older date is the rest of another line."""
README = """What is in here is for whoever helps with a stack of cvat-analytics. It has no password, no name, no address, and nothing of what
was sent, stored or asked: configuration is rendered with made-up names and passwords, and of logs and messages there is what an
allow list knows, with codes and sizes. A number is kept only where this project has counted it itself; any other (a login, a telephone
number, a birthday) and whatever the list does not know is …. Hosts are host-1, host-2, …: which is which, only you know.

doctor.json, status.json  what the two commands say
versions.json, machines/  versions and states of each host
settings/                 each setting; of a text only whether it is set
rendered/                 the configuration as a deploy would write it, with made-up names and passwords
store.json                sizes, counts, and errors of ClickHouse by their names
logs/                     of each log each line once: when it came last, how often, what is known of it
"""


def of(
    report: Report,
    diagnosis: Diagnosis,
    topology: Topology,
    places: Mapping[str, Place],
    store: Mapping[str, Any],
    logs: Mapping[tuple[str, str], Iterable[str]],
) -> Iterator[tuple[str, str]]:
    """Yield name and text of each file. `store`: what `asked` has returned; `logs`: host and part to lines."""
    names = placeholders.hosts(topology)
    kept = Kept(store.get("error_names", ()))

    def harmless(value: Any) -> Any:
        return _harmless(value, kept, names)

    yield "README.txt", README
    findings = [
        {
            "weight": each.weight,
            "check": each.check,
            "host": harmless(each.host),
            "why": kept.of_ours(each.why) if each.check in _COUNTING else kept.of_any(each.why),
            "next": kept.of_any(" ".join((each.next, *each.command))),
        }
        for each in diagnosis.findings
    ]
    forecasts = [harmless(asdict(each)) for each in diagnosis.forecasts]
    yield (
        "doctor.json",
        _text({"findings": findings, "forecasts": forecasts, "not_known": harmless(list(diagnosis.unknown))}),
    )
    yield "status.json", _text(_status(report, harmless))
    yield (
        "versions.json",
        _text(
            [
                {"host": harmless(host), "part": part, "version": _version(version)}
                for host, part, version in diagnosis.versions
            ]
        ),
    )
    made_up = placeholders.harmless(topology)
    for host, place in places.items():
        name = names.get(host, "host")
        yield f"settings/{name}.json", _text(placeholders.shown(place.settings))
        if place.machine:
            yield f"machines/{name}.json", _text(_machine(place.machine, kept))
    memory = {names[host]: place.memory for host, place in places.items() if host in names}
    for name, path, text in placeholders.rendered(made_up, memory):
        yield f"rendered/{name}{path}", text
    yield "store.json", _text(harmless({key: value for key, value in store.items() if key != "error_names"}))
    for (host, part), lines in logs.items():
        yield (
            f"logs/{names.get(host, 'host')}/{part}.log",
            "".join(f"{line}\n" for line in reduced(lines, kept)),
        )


def _status(report: Report, harmless: Any) -> dict[str, Any]:
    parts = [
        {
            "name": part.name,
            "host": harmless(part.host),
            "state": part.state,
            "version": _version(part.version),
            "problem": harmless(part.problem),
        }
        for part in report.parts
    ]
    flow = asdict(report.flow) if report.flow else None
    if flow:
        # ids with what they mean, and names of users: how many there are says enough
        flow["two_cvats"] = flow["two_cvats"] and {"ids": flow["two_cvats"]["ids"]}
        flow["other_users"] = len(flow["other_users"])
        for refusal in flow["refusals"]:
            refusal["statuses"] = [int(each) for each in re.findall(r"\b[1-5]\d\d\b", refusal["statuses"])]
    disks = [
        {
            "host": harmless(each.host),
            "components": list(each.components),
            "free": each.free,
            "size": each.size,
            "reserve": each.reserve,
            "refuses": list(each.refuses),
        }
        for each in report.volumes
    ]
    backups = asdict(report.backups) if report.backups else {}
    return {
        "backups": {key: harmless(value) for key, value in backups.items() if key != "target"},
        "fine": report.fine, "parts": parts, "pipeline": harmless(flow), "disks": disks, "clocks": [harmless(asdict(each)) for each in report.clocks],
        "problems": harmless(list(report.problems)), "not_asked": harmless(dict(report.not_asked)),
        # the values may be anybody's; that they differ is enough
        "not_deployed": [harmless(each.name) for each in report.not_deployed],
    }  # fmt: skip


def _machine(machine: Machine, kept: Kept) -> dict[str, Any]:
    return {
        "memory": machine.memory,
        "swap": machine.swap,
        "listeners": [{"port": each.port, "program": kept.of_any(each.program), "outside": each.is_outside} for each in machine.listeners],
        "timers": [asdict(each) | {"name": kept.of_any(each.name), "result": kept.of_any(each.result)} for each in machine.timers],
        "failed": [kept.of_any(each) for each in machine.failed],
        "packages": {name: _version(version) for name, version in machine.packages.items()},
        "plugin": _version(machine.plugin),
        "units": {name: {"enabled": kept.of_any(unit.enabled), "needs_reload": unit.needs_reload, "drop_ins": len(unit.drop_ins), "killed_for_memory": unit.killed_for_memory} for name, unit in machine.units.items() if name.removesuffix(".service") in UNITS.values()},
        # the paths are those that a deploy has written, which are the same everywhere
        "changed_files": [each.path for each in machine.files or () if each.found != each.left],
        "routes": [{"to": kept.of_any(each.to), "port": each.port, "outcome": each.outcome} for each in machine.routes],
    }  # fmt: skip


def _harmless(value: Any, kept: Kept, names: Mapping[str, str]) -> Any:
    """Return what JSON has, with each text passed through the allow list, and each host by its name here."""
    if isinstance(value, str):
        return names.get(value) or kept.of_any(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {
            names.get(key) or _key(str(key), kept): _harmless(each, kept, names)
            for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [_harmless(each, kept, names) for each in value]
    return value


def _key(key: str, kept: Kept) -> str:
    """Return a key: our own ones are single words in lower case that the code has."""
    return key if key in _KEYS else kept.of_any(key) or GONE


_KEYS = frozenset(
    [
        "name",
        "host",
        "state",
        "version",
        "problem",
        "ids",
        "free",
        "size",
        "events",
        "days",
        "disk",
        "is_known",
        "history_days",
        "components",
        "last",
        "since",
        "until",
        "sink",
        "times",
        "words",
        "statuses",
        "port",
        "extra",
        "capacity",
        "client",
        "server",
        "people",
        "sources",
        "ports",
        "buffers",
        "refusals",
        "silent",
        "implausible",
        "unanswered",
        "delivered",
        "right",
        "columns",
        "least",
        "most",
        "synchronised",
        "table",
        "rows",
        "bytes",
        "parts",
        "reason",
        "count",
        "code",
        "work",
        "why",
        "early",
        "errors",
        "tables",
        "letters",
        "background",
        "migrations",
    ]
)


def _version(text: str) -> str:
    return text if _VERSION.fullmatch(text) else GONE if text else ""


def _text(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n"


def reduced(lines: Iterable[str], kept: Kept) -> Iterator[str]:
    """Yield what is known of each line, each once: when it came last, how often."""
    found: dict[str, tuple[str, int]] = {}
    for line in lines:
        stamp = _STAMP.match(line)
        stamp = stamp if stamp and stamp[0] >= _SINCE else None
        said = kept.of_any(line[stamp.end() if stamp else 0 :][:_LONGEST])
        if said not in found and len(found) >= _DISTINCT:
            continue
        last, times = found.get(said, ("", 0))
        found[said] = (stamp[0] if stamp else last, times + 1)
    for said, (last, times) in found.items():
        yield f"{last or '-'} {times} x {said}"


def logs_of(shell: Shell, components: Iterable[str], clickhouse_logs: str) -> dict[str, list[str]]:
    """Return the last lines of the log of each component on a host; of one that does not say, nothing."""
    found = {}
    for component in components:
        command = f"journalctl -q -u {UNITS[component]} --since=-2d -n {LINES} -o short-iso --no-hostname 2>/dev/null"
        if component == "clickhouse":
            command += f"; tail -n {LINES} {clickhouse_logs}/clickhouse-server.err.log 2>/dev/null"
        try:
            found[component] = shell.run(f"{command}; true", _PATIENCE).splitlines()
        except UnreachableError:
            continue
    return found


def tail(log: Path) -> list[str]:
    """Return the last lines of a log on this machine."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LINES * _LONGEST))
            return file.read().decode(errors="replace").splitlines()[-LINES:]
    except OSError:
        return []


def asked(rows: Rows) -> dict[str, Any]:
    """Return sizes, counts and errors of the store: nothing that anybody has sent or asked."""
    questions = {
        "errors": ("SELECT name, code, value AS times, last_error_time AS last FROM system.errors WHERE value > 0 ORDER BY value DESC LIMIT 200", ("name", "code", "times", "last")),
        "tables": ("SELECT table, sum(rows), sum(bytes), sum(parts) FROM storage_parts GROUP BY table ORDER BY table", ("table", "rows", "bytes", "parts")),
        "letters": ("SELECT reason, count() FROM events_dead_letter FINAL WHERE received_at > now() - 7 * 86400 GROUP BY reason ORDER BY reason", ("reason", "count")),
        "background": ("SELECT state, work, why FROM background_failures(at = now())", ("state", "work", "why")),
        "migrations": ("SELECT name FROM schema_migrations FINAL ORDER BY name", ("name",)),
    }  # fmt: skip
    found: dict[str, Any] = {}
    try:
        # what ClickHouse calls its errors, which no client has a part in
        found["error_names"] = [
            str(name)
            for (name,) in rows(
                "SELECT DISTINCT errorCodeToName(number) AS name FROM numbers(2000) WHERE name != ''"
            )
        ]
        for key, (question, names) in questions.items():
            found[key] = [dict(zip(names, row, strict=True)) for row in rows(question)]
    except CvatAnalyticsError as error:
        found["problem"] = str(error)
    return found
