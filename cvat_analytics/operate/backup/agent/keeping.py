"""Which backups there are, and which go. A backup is the snapshots with its name; it is one as soon as its manifest is there."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from cvat_analytics.base.codes import Code
from cvat_analytics.operate.backup.agent.config import Config
from cvat_analytics.operate.backup.agent.report import BAD_INPUT, AgentError, say, step
from cvat_analytics.operate.backup.agent.restic import MANIFEST, NAME, PARTS, LockedError, Restic

PROVEN = "proven"
"""The tag of a manifest whose backup has been restored and compared."""
DAMAGED = "damaged"
"""The tag of one that was tried last and was not what had been backed up."""
_BEFORE = timedelta(minutes=10)
"""What another host began at most so long before a backup is not waited for any more: timers start within a minute, clocks differ."""
_AT_MOST = timedelta(hours=20)
"""So much earlier it may have begun to belong to the backup after all, where no backup has it yet: hosts have zones of their own, and catch up."""
_AHEAD = timedelta(minutes=10)
"""So far ahead of this host's clock others' may be: what was put there under a later time may be of any day."""
_LACKS = "lacks="
"""How the tag of a manifest begins that names a part of another host, and since when that is lacking."""
NOT_THERE = "its directory is not there"
"""What stands in the place of that time for the host's own."""
_HOLDS = "holds="
"""How the tag of a manifest begins that names what another host has put there, and could not be given the backup's name yet."""
_LOOK_AGAIN = 10
_OTHERS = timedelta(days=2)
"""How old what another host has put there is at least before it goes, where no backup has it."""
_FAR_FEWER = 10
"""So many times as many events are lost, not aged out."""


def names(snapshot: dict[str, Any]) -> list[str]:
    """Return the names of the backups that a snapshot belongs to."""
    return [tag for tag in snapshot.get("tags") or [] if NAME.fullmatch(tag)]


def made_as(snapshot: dict[str, Any]) -> str:
    """Return the id that a snapshot was made with: with each tag it gets a new one."""
    return str(snapshot.get("original") or snapshot["id"])


def belongs(snapshot: dict[str, Any], backup: Mapping[str, Any]) -> bool:
    """Return whether a snapshot is of a backup: it has its name, or is to get it."""
    return backup["name"] in names(snapshot) or made_as(snapshot) in backup["holds"]


def part(snapshot: dict[str, Any]) -> str:
    """Return which part of a stack a snapshot holds; nothing for a manifest."""
    return next((tag for tag in snapshot.get("tags") or [] if tag in PARTS), "")


def backups(restic: Restic) -> list[dict[str, Any]]:
    """Return the complete backups, the newest first: `name`, `finished`, `host`, `events`, `bytes`, `proven`, `lacks`, `holds`."""
    found = []
    for snapshot in restic.snapshots(MANIFEST):
        said = dict(tag.split("=", 1) for tag in snapshot["tags"] if "=" in tag)
        found += [
            {
                "name": name,
                "finished": snapshot["time"],
                "host": snapshot["hostname"],
                "events": int(said.get("events", 0)),
                "bytes": int(said.get("bytes", 0)),
                "proven": PROVEN in snapshot["tags"],
                "damaged": DAMAGED in snapshot["tags"],
                "lacks": dict(
                    tag.removeprefix(_LACKS).split("=", 1)
                    for tag in snapshot["tags"]
                    if tag.startswith(_LACKS)
                ),
                "holds": _held(snapshot),
                "snapshot": snapshot["id"],
                "path": snapshot["paths"][0],
            }
            for name in names(snapshot)
        ]
    return sorted(found, key=lambda each: str(each["name"]), reverse=True)


def chosen(
    every: list[dict[str, Any]], name: str, target: str, *, to_restore: bool = False
) -> dict[str, Any]:
    """Return the backup of that name, or without one the newest. Raises AgentError where there is none.

    To be restored is one that is damaged by its name alone, and so is one without events where others have some: it was made after a loss.
    """
    for each in every:
        if to_restore and not name and each["damaged"]:
            continue
        if name in ("", each["name"]):
            full = next((other for other in every if other["events"]), None)
            if to_restore and not name and not each["events"] and full:
                raise AgentError(
                    Code.BACKUP_UNKNOWN,
                    f"target {target}: the newest backup {each['name']} has no events, {full['name']} has {full['events']:,}. "
                    "Say which one is meant, by its name",
                    BAD_INPUT,
                )
            return each
    there = f"there are {', '.join(each['name'] for each in every[:5])}" if every else "there is none yet"
    raise AgentError(
        Code.BACKUP_UNKNOWN, f"target {target}: has no backup {name}; {there}".replace("  ", " "), BAD_INPUT
    )


def precious(every: list[dict[str, Any]]) -> set[str]:
    """Return the names of those that stay whatever their age: the newest that was proven, that lacks nothing, and that is not far smaller than the largest.

    `every`: the newest first. One without events never counts, nor one that is damaged. Whoever loses events goes on making backups, and has weeks to notice it.
    """
    full = [each for each in every if each["events"] and not each["damaged"]]
    most = max((each["events"] for each in full), default=0)
    proven = [each["name"] for each in full if each["proven"]]
    large = [each for each in full if _FAR_FEWER * each["events"] >= most]
    whole = [each["name"] for each in large if not each["lacks"]]
    return {*proven[:1], *whole[:1], *(each["name"] for each in large[:1])}


def _held(manifest: dict[str, Any]) -> list[str]:
    return [tag.removeprefix(_HOLDS) for tag in manifest["tags"] if tag.startswith(_HOLDS)]


def _began(snapshot: dict[str, Any]) -> datetime:
    # restic writes nanoseconds
    return datetime.fromisoformat(snapshot["time"][:19]).replace(tzinfo=timezone.utc)


def _age(snapshot: dict[str, Any]) -> timedelta:
    return datetime.now(timezone.utc) - _began(snapshot)


@dataclass(frozen=True)
class Awaited:
    """What of other hosts belongs to a backup."""

    since: datetime
    """When its run began, the first of several tries."""
    brought: Collection[str] = ()
    """The snapshots that they have made for it, as somebody knows who has asked them."""
    patience: float = 0
    """Seconds to wait for what they have not put there yet."""


def adopt(
    config: Config, restic: Restic, name: str, awaited: Awaited
) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """Give the backup `name` what the other hosts have put into the repository, and return that by part and host, what it lacks, and tags for its manifest.

    Of each the newest. It belongs to the backup if it was brought for it; or if no backup has it yet, and it began at most ten minutes
    before the run of that. For what does not, or is not there yet, it waits; in the end what began some hours before will do. What is
    lacking then has the one before in its place, of which the second mapping says when that began; nothing, where there never was one.
    """
    deadline = time.monotonic() + awaited.patience
    while True:
        is_last = time.monotonic() >= deadline
        newest, lacks = _of_others(config, restic, awaited, _AT_MOST if is_last else _BEFORE)
        if not lacks or is_last:
            break
        time.sleep(min(_LOOK_AGAIN, max(0.0, deadline - time.monotonic())))
    tags = lacking_tags(lacks)
    ids = {made_as(each): each["id"] for each in newest.values()}
    if ids and _is_named(restic, [name], ids.values()):
        # with a name a snapshot has another id
        ids |= {made_as(each): each["id"] for each in restic.snapshots(name)}
    else:
        tags += [f"{_HOLDS}{id}" for id in ids]
    found = {
        named: {
            "snapshot": ids[made_as(each)],
            "path": each["paths"][0],
            "bytes": 0,
            "age": int(_age(each).total_seconds()),
        }
        for named, each in newest.items()
    }
    return found, lacks, tags


def _of_others(
    config: Config, restic: Restic, awaited: Awaited, before: timedelta
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return the newest of each, and since when what is lacking is there; `before`: so much earlier what is not brought may have begun."""
    every = restic.snapshots()
    taken = _complete(every)
    held = {id for each in every if MANIFEST in (each.get("tags") or []) for id in _held(each)}
    latest = datetime.now(timezone.utc) + _AHEAD

    def rank(snapshot: dict[str, Any]) -> int:
        # an earlier restic says the beginning of an id only
        return 2 if made_as(snapshot).startswith(tuple(awaited.brought)) else int(_began(snapshot) <= latest)

    newest: dict[str, dict[str, Any]] = {}
    for snapshot in every:
        named = f"{part(snapshot)} of {snapshot['hostname']}"
        if named in config.others and (named not in newest or rank(snapshot) >= rank(newest[named])):
            newest[named] = snapshot

    def is_new(snapshot: dict[str, Any]) -> bool:
        if rank(snapshot) != 1:
            return rank(snapshot) == 2
        is_taken = taken.intersection(names(snapshot)) or made_as(snapshot) in held
        return not is_taken and _began(snapshot) >= awaited.since - before

    lacks = {
        named: _began(newest[named]).isoformat() if named in newest else ""
        for named in config.others
        if named not in newest or not is_new(newest[named])
    }
    return newest, lacks


def _complete(every: Collection[dict[str, Any]]) -> set[str]:
    return {name for each in every if MANIFEST in (each.get("tags") or []) for name in names(each)}


def _is_named(restic: Restic, wanted: Collection[str], ids: Collection[str]) -> bool:
    """Return whether snapshots have got these names: not where another host is at work at the target, which may be so for hours."""
    try:
        restic.run("tag", *(f"--add={name}" for name in wanted), *ids)
    except LockedError as error:
        say("others", "note", message=f"named by the next run: {error}")
        return False
    return True


def lacking_tags(lacks: Mapping[str, str]) -> list[str]:
    """Return the tags of the manifest of a backup that lacks that."""
    return [f"{_LACKS}{named}={since}" for named, since in lacks.items()]


def lacking(lacks: Mapping[str, str]) -> str:
    """Return in words what a backup lacks."""
    said = []
    for named, since in lacks.items():
        what, _, host = named.partition(" of ")
        newest = f"the newest is of {since[:16].replace('T', ' ')} UTC" if since else "there never was one"
        newest = since if since == NOT_THERE else newest
        said.append(f"{what} of host {host} ({newest})")
    return f"it lacks {', '.join(said)}"


def forget_unfinished(config: Config, restic: Restic) -> list[str]:
    """Forget what has no manifest: of this host's, what a run that was cut off has left; of others', what a newer one follows, or nobody awaits.

    Only ClickHouse's host, which writes the manifests, can tell. What a run could not name gets its names first. While another host is
    at work at the target, nothing goes: the next run does it.
    """
    if not config.clickhouse_url:
        return []
    every = restic.snapshots()
    complete = _complete(every)
    held: dict[str, set[str]] = {}
    for manifest in every:
        if MANIFEST in (manifest.get("tags") or []):
            for id in _held(manifest):
                held.setdefault(id, set()).update(names(manifest))
    for snapshot in every:
        lacking = held.get(made_as(snapshot), set()).difference(names(snapshot))
        if lacking and not _is_named(restic, sorted(lacking), [snapshot["id"]]):
            return []
    followed: set[tuple[str, str]] = set()
    gone: list[str] = []
    for snapshot in reversed(every):
        key = (part(snapshot), snapshot["hostname"])
        is_of_one = complete.intersection(names(snapshot)) or made_as(snapshot) in held
        if not is_of_one and names(snapshot):
            own = snapshot["hostname"] == config.host
            awaited = f"{part(snapshot)} of {snapshot['hostname']}" in config.others
            if own or ((key in followed or not awaited) and _age(snapshot) > _OTHERS):
                gone.append(snapshot["id"])
        followed.add(key)
    if gone:
        try:
            restic.run("forget", *gone)
        except LockedError as error:
            say("forget", "note", message=f"done by the next run: {error}")
            return []
    return gone


def prune(config: Config, restic: Restic) -> dict[str, Any]:
    """Forget what is older than is to be kept, and give its room back. Return the names that went and those that stay."""
    restic.unlock()
    every = backups(restic)
    before = [each["name"] for each in every]
    with step("forget") as said:
        keep = [
            f"--keep-{word}={count}"
            for word, count in (
                ("daily", config.keep_daily),
                ("weekly", config.keep_weekly),
                ("monthly", config.keep_monthly),
            )
        ]
        keep += [f"--keep-tag={name}" for name in sorted(precious(every))]
        # the manifests first: what loses its manifest is no backup any more
        restic.run("forget", f"--tag={MANIFEST}", "--group-by=", "--keep-last=1", *keep)
        forget_unfinished(config, restic)
        after = [each["name"] for each in backups(restic)]
        gone = [name for name in before if name not in after]
        said["gone"] = gone
    with step("prune"):
        restic.run("prune")
    return {"gone": gone, "kept": after}
