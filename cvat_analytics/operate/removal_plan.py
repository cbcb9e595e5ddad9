"""What is to be taken away from a host, given what there is: all that deploys have made, or some components, and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.operate.removal import LOCK, Removal
from cvat_analytics.operate.survey import Survey
from cvat_analytics.rendering import made
from cvat_analytics.rendering.made import BEFORE, DISTRIBUTIONS, FIREWALL, PARTS, RECORD, STATE, Part


def plan(found: Survey, purge: bool, parts: Collection[str] | None = None, backups: str = "") -> Removal:
    """Return what is to be done on a host where there is what was `found`.

    `parts`: of the components only these, and nothing that others use; `purge`: their data, too; `backups`: where those are by the
    settings, which stay as those do that are found. Raises InputError where they are among what is noted of deploys.
    """
    places = [*([backups] if backups else []), *found.backups]
    whole = parts is None
    for place in places if whole else ():
        if f"{place}/".startswith(f"{STATE}/"):
            raise InputError(
                Code.UNINSTALL_BACKUPS,
                f"the backups are in {place}, which goes with what is noted of deploys: move them elsewhere first, and 'backup_target' with them",
            )
    chosen = {name: PARTS[name] for name in PARTS if whole or name in (parts or ())}
    removal = Removal(whole=whole)
    if not (RECORD in found.kinds or found.is_earlier):
        removal.ends_record = whole and STATE in found.kinds
        return removal
    recorded = {line.partition(" ")[2] for line in found.record if line.startswith("package ")}
    if not whole:
        recorded &= {name for part in chosen.values() for name in part.packages}
    wanted = recorded & found.packages.keys()
    kept = dict(_in_use(found, wanted)) if whole else {}
    kept |= _needed(found, wanted - kept.keys())
    removal.packages = {name: found.packages[name].version for name in sorted(wanted - kept.keys())}
    removal.packages |= {name: found.remains[name] for name in sorted(recorded & found.remains.keys())}
    removal.left += [(f"package {name}", why) for name, why in sorted(kept.items())]
    _units(found, removal, chosen)
    _files(found, removal, chosen)
    for part in chosen.values():
        _data(found, removal, part, purge, places)
    removal.restored = sorted(
        path
        for path in found.before
        if whole or _matches(path, [each for part in chosen.values() for each in part.files])
    )
    if whole:
        members = [line.split() for line in found.record if line.startswith("member ")]
        removal.members = {user: groups[1:] for _, user, *groups in members if user in found.users}
        removal.left += _older(found, removal)
        notes = {path for path in found.kinds if path.startswith(f"{STATE}/")} - {RECORD}
        removal.ends_record = bool(notes) or (STATE in found.kinds and not removal.kept)
    for path in [*removal.trees]:
        if _holds(path, places):
            removal.trees.remove(path)
            removal.left.append((path, _BACKUPS))
    return removal


_BACKUPS = "the backups are in it"


def _holds(path: str, places: Iterable[str]) -> bool:
    return any(f"{place}/".startswith(f"{path}/") for place in places)


def _in_use(found: Survey, wanted: set[str]) -> Iterator[tuple[str, str]]:
    """Yield the packages of the distribution's that somebody else uses by now."""
    for name, unit in DISTRIBUTIONS.items():
        active, enabled = found.units.get(unit, ("", ""))
        if name in wanted and (active == "active" or enabled == "enabled"):
            yield name, f"{unit} is on, which no deploy does: somebody else uses it"


def _needed(found: Survey, wanted: set[str]) -> dict[str, str]:
    """Return which packages other ones need that stay, and which those are."""
    kept: dict[str, str] = {}
    providers: dict[str, list[str]] = {}
    for name, package in found.packages.items():
        for each in (name, *package.provides):
            providers.setdefault(each, []).append(name)
    waiting = [name for name in found.packages if name not in wanted]
    while waiting:
        name = waiting.pop()
        for group in found.packages[name].needs:
            there = [each for alternative in group for each in providers.get(alternative, [])]
            if there and all(each in wanted and each not in kept for each in there):
                kept[there[0]] = f"{name} needs it"
                waiting.append(there[0])
    return kept


def _units(found: Survey, removal: Removal, chosen: Mapping[str, Part]) -> None:
    """Put into `removal` which units are stopped, and which go on as before the first deploy."""
    before = {
        name: state
        for name, *state in (line.split()[1:] for line in found.record if line.startswith("unit "))
    }
    ours = [unit for part in chosen.values() for unit in part.units]
    if removal.whole:
        ours = [*(unit for unit in made.UNITS if unit not in (*ours, FIREWALL)), *ours, FIREWALL]
    for unit in ours:
        active, enabled = found.units.get(unit, ("", ""))
        if active in ("", "inactive") and enabled != "enabled":
            continue
        package = _OWNERS.get(unit, "")
        if not package or package in removal.packages:
            removal.units.append(unit)
        elif package in found.packages and unit in before:
            if before[unit][:1] == ["active"]:
                removal.again.append(unit)
            else:
                removal.units.append(unit)
        elif package in found.packages and found.is_earlier:
            removal.units.append(unit)
            removal.left.append(
                (f"service {unit}", "stopped; it may have been there before the first deploy: `systemctl enable --now "
                 f"{unit}` starts it")
            )  # fmt: skip


_OWNERS = {
    unit: part.packages[0]
    for part in PARTS.values()
    if part.packages
    for unit in part.units
    if not unit.startswith("cvat-analytics-")
}
"""The packages that bring units."""


def _files(found: Survey, removal: Removal, chosen: Mapping[str, Part]) -> None:
    """Put into `removal` which files and directories go."""
    gone = [part for part in chosen.values() if set(part.packages) & removal.packages.keys()]
    files = [pattern for part in chosen.values() for pattern in part.files]
    generated = [
        pattern
        for part in gone
        for pattern in part.generated
        if found.is_earlier or any(f"path {root}" in found.record for root in part.roots)
    ]
    data = {path for part in PARTS.values() for path in part.data}
    stays = {
        path
        for name, paths in made.BROUGHT.items()
        for path in paths
        if name in found.packages and name not in removal.packages
    }
    for path, kind in sorted(found.kinds.items()):
        if path in (STATE, RECORD, BEFORE, LOCK, *data, *stays, *found.before):
            continue
        if removal.whole and path.startswith(f"{STATE}/"):
            continue
        is_recorded = bool({f"path {path}", f"tree {path}"} & found.record)
        is_of_part = _matches(path, files)
        is_named = _matches(path, made.NAMED) if removal.whole else is_of_part and "cvat-analytics" in path
        is_around = removal.whole and path in made.AROUND
        known = is_named or (is_of_part and (is_recorded or found.is_earlier)) or _matches(path, generated)
        if kind != "directory" and (known or (removal.whole and is_recorded)):
            removal.files.append(path)
        elif kind == "directory" and (known or (removal.whole and f"tree {path}" in found.record)):
            removal.trees.append(path)
        elif kind == "directory" and removal.whole and (is_recorded or is_around):
            removal.directories.append(path)
        elif removal.whole and _matches(path, made.ALIKE):
            removal.left.append((path, "no deploy has made it, as far as is noted"))
    removal.directories += [
        root
        for part in gone
        for root in part.roots
        if found.kinds.get(root) == "directory" and root not in removal.directories
        and (f"path {root}" in found.record or found.is_earlier)
    ]  # fmt: skip
    removal.packages_own = [root for part in gone for root in part.roots]
    # what is inside comes first
    removal.directories.sort(key=len, reverse=True)
    # what is in a directory that goes needs no name of its own
    inside = tuple(f"{tree}/" for tree in removal.trees)
    removal.files = [path for path in removal.files if not path.startswith(inside)]
    removal.trees = [path for path in removal.trees if not path.startswith(inside)]


def _matches(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def _data(found: Survey, removal: Removal, part: Part, purge: bool, backups: Iterable[str]) -> None:
    """Put into `removal` what becomes of the data of `part`, and of the user whose it is."""
    stays = [name for name in part.packages if name in found.packages and name not in removal.packages]

    def is_ours(line: str) -> bool:
        return line in found.record or (found.is_earlier and _was_ours(found, part))

    # an empty disk's directory, mounted before the first deploy: whoever writes there came with it
    came = part.user and is_ours(f"user {part.user}") and _was_ours(found, part)
    kept: dict[str, int] = {}
    remains = False
    for path in part.data:
        if path not in found.kinds:
            continue
        is_made = "cvat-analytics" in path or is_ours(f"path {path}")
        if stays:
            removal.left.append((path, f"the package {', '.join(stays)} stays"))
        elif not (is_made or came or f"data {path}" in found.record):
            removal.left.append((path, "was there before the first deploy, or may have been"))
            remains = True
        elif purge and (_holds(path, backups) or _holds(found.leads.get(path, path), backups)):
            removal.left.append((path, _BACKUPS))
            remains = True
        elif purge:
            removal.data[path] = found.sizes.get(path, 0)
            if not is_made:
                removal.emptied.append(path)
                removal.left.append((path, "was there before the first deploy: stays, empty"))
        else:
            kept[path] = found.sizes.get(path, 0)
            removal.owned.append(f"{'path' if is_made else 'data'} {path}")
    removal.kept |= kept
    if not part.user or stays:
        return
    for kind, there, go in (("user", found.users, removal.users), ("group", found.groups, removal.groups)):
        if part.user not in there or not is_ours(f"{kind} {part.user}"):
            continue
        if kept or remains or not removal.whole:
            removal.owned.append(f"{kind} {part.user}")
        else:
            go.append(part.user)
    if (kept or remains) and f"user {part.user}" in removal.owned:
        removal.left.append((f"user {part.user}", "whose the data is that stays"))


def _was_ours(found: Survey, part: made.Part) -> bool:
    """Return whether a deploy has installed the packages of `part`, as far as is recorded."""
    return any(f"package {name}" in found.record for name in part.packages)


def _older(found: Survey, removal: Removal) -> Iterable[tuple[str, str]]:
    """Return what a host keeps that was there before, in another version or perhaps."""
    for line in sorted(found.record):
        if line.startswith("version "):
            _, name, version = line.split(" ", 2)
            if name in found.packages and name not in removal.packages:
                yield f"package {name} {found.packages[name].version}", f"was there before, as {version}"
    if not found.is_earlier:
        return
    for part in PARTS.values():
        for name in part.packages:
            if name in found.packages and f"package {name}" not in found.record:
                yield (
                    f"package {name}",
                    f"may have been there before the first deploy: `apt-get purge {name}` removes it",
                )
