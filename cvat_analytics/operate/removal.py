"""Take away from a host what deploys have made there, all of it or some components, and nothing else.

What is there is asked first (survey.py), what is to be done is worked out here (`plan`), shown, and then done by one line of sh
(`Removal.script`). Each of its steps looks for what is left to do, and the record of what deploys have made goes last: what was cut
off is completed by the same command.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from cvat_analytics.base.errors import InputError
from cvat_analytics.operate.survey import Survey
from cvat_analytics.rendering import made
from cvat_analytics.rendering.made import BEFORE, DISTRIBUTIONS, FIREWALL, PARTS, RECORD, STATE, Part

LOCK = "/run/cvat-analytics-deploy.lock"
"""What a deploy holds while it works on a host (deploys/lock.py)."""


@dataclass
class Removal:
    """What is to be taken away from a host, and what stays."""

    units: list[str] = field(default_factory=list)
    """To be stopped and turned off."""
    again: list[str] = field(default_factory=list)
    """Services of packages that stay: started again with what they had before."""
    packages: dict[str, str] = field(default_factory=dict)
    """With their versions."""
    files: list[str] = field(default_factory=list)
    trees: list[str] = field(default_factory=list)
    """Directories with all that is in them."""
    directories: list[str] = field(default_factory=list)
    """Removed where nothing is in them any more."""
    restored: list[str] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    members: dict[str, list[str]] = field(default_factory=dict)
    """Users that were there before, with the groups that they were in beside their own."""
    data: dict[str, int] = field(default_factory=dict)
    """Directories with data that are deleted for good, with their bytes."""
    kept: dict[str, int] = field(default_factory=dict)
    """Directories with data that stay, with their bytes."""
    owned: list[str] = field(default_factory=list)
    """Lines of the record about what is kept: it is a deploy's, and goes with a later `--purge`."""
    left: list[tuple[str, str]] = field(default_factory=list)
    """What else stays, and why."""
    whole: bool = True
    """Whether the host is left by the whole stack."""
    ends_record: bool = False
    """Whether there are notes of deploys that go last: all of them, or where data stays those that are not about it."""

    @property
    def is_nothing(self) -> bool:
        """Return whether there is nothing to do."""
        return not any(
            (self.units, self.again, self.packages, self.files, self.trees, self.restored, self.users, self.groups, self.data, self.ends_record)
        )  # fmt: skip

    def steps(self) -> Iterator[tuple[str, str]]:
        """Yield what is done, one after the other: what it is called, and the command, which may be repeated."""
        # of a host that an earlier version has deployed to, what is known by its files alone
        yield "note what deploys have made", f"[ -e {RECORD} ] || {{ {made.begin()}; }}"
        if self.units:
            # 5: systemd does not know it any more
            stop = "systemctl disable -q --now {0} 2>/dev/null || systemctl stop {0} || [ $? = 5 ] || exit 1"
            yield (
                f"stop {', '.join(self.units)}",
                "; ".join(stop.format(_words([unit])) for unit in self.units),
            )
        if self.packages:
            yield f"remove the packages {', '.join(self.packages)}", _purge(self.packages)
        if self.data:
            yield f"delete {', '.join(self.data)}", f"rm -rf {_words(self.data)}"
        if self.files or self.trees or self.directories:
            yield f"remove {len(self.files)} files and {len(self.trees)} directories", self._remove()
        if self.restored:
            copies = " && ".join(
                f"{{ [ ! -e {_words([BEFORE + path])} ] || {{ rm -rf {_words([path])} && mkdir -p {_words([str(PurePosixPath(path).parent)])} && mv {_words([BEFORE + path, path])}; }}; }}"
                for path in self.restored
            )
            yield f"put back {', '.join(self.restored)}", copies
        if self.users or self.groups:
            gone = [
                f"{{ ! getent passwd {_words([each])} >/dev/null || userdel {_words([each])}; }}"
                for each in self.users
            ]
            gone += [
                f"{{ ! getent group {_words([each])} >/dev/null || groupdel {_words([each])}; }}"
                for each in self.groups
            ]
            yield (
                f"remove the users {', '.join(dict.fromkeys([*self.users, *self.groups]))}",
                " && ".join(gone),
            )
        forgotten = f"systemctl reset-failed {_words(self.units)} 2>/dev/null; true" if self.units else "true"
        for user, groups in self.members.items():
            yield (
                f"let the user {user} be in the groups of before",
                f"usermod -G {_words([','.join(groups)])} {_words([user])}",
            )
        yield "let systemd read its units anew", f"systemctl daemon-reload && {{ {forgotten}; }}"
        for unit in self.again:
            yield f"start {unit} with what it had before", f"systemctl restart {_words([unit])}"
        yield "end the record of what deploys have made", self._forget()

    def _remove(self) -> str:
        """Return the command that removes files and directories, and says what others have in those that were made for ours."""
        files = [each for path in self.files for each in (path, _unfinished(path))]
        commands = [f"rm -f {_words(files)}", f"rm -rf {_words(self.trees)}"]
        if "clickhouse-common-static" in self.packages:
            # links to a program that is gone
            commands.append("find /usr/bin -maxdepth 1 -xtype l -lname '*clickhouse' -delete")
        for path in self.directories:
            find = f"find {_words([path])} -xdev"
            said = (
                ""
                if path.startswith(tuple(self.kept))
                else f"; {find} ! -type d -printf 'left %p\\n' 2>/dev/null >&3"
            )
            commands.append(
                f"{{ [ ! -d {_words([path])} ] || {{ {find} -depth -type d -empty -delete{said}; true; }}; }}"
            )
        return " && ".join(commands)

    def _forget(self) -> str:
        """Return the command after which the record has no more than what is still there."""
        if self.whole and not self.kept:
            return f"rm -rf {STATE} {LOCK}"
        gone = [
            *(f"package {name}" for name in self.packages),
            *(f"path {path}" for path in (*self.files, *self.data)),
            *(f"tree {path}" for path in self.trees),
            *(f"user {name}" for name in self.users),
            *(f"group {name}" for name in self.groups),
        ]
        lines = [
            f"grep -vxF {' '.join(f'-e {_words([each])}' for each in gone)} {RECORD}"
            if gone
            else f"cat {RECORD}",
            f"grep -vE {_words([f'^(unit {"|unit ".join(map(re.escape, [*self.units, *self.again, "-"]))}) '])}",
        ]
        forget = f"{{ {{ {' | '.join(lines)}; printf '%s\\n' {_words(self.owned)}; }} | grep . | sort -u > {RECORD}.new; mv {RECORD}.new {RECORD}; }}"
        if self.whole:
            forget += f" && find {STATE} -mindepth 1 -maxdepth 1 ! -name {PurePosixPath(RECORD).name} -exec rm -rf {{}} +"
        return forget

    def script(self, who: str) -> str:
        """Return all steps as sh; `who` has begun it.

        It says each as `step`, each file of somebody else's in a directory that was made for ours as `left`, and at its end `done`, or
        `failed` and why.
        """
        lines = [
            f'exec 9>>{LOCK}; flock -w 10 9 || {{ echo "failed another deploy is at work there: $(cat {LOCK})"; exit; }}',
            f"echo {_words([who])}, $$ > {LOCK}",
            "exec 3>&1; export LC_ALL=C DEBIAN_FRONTEND=noninteractive",
        ]
        for name, command in self.steps():
            lines += [
                f"echo {_words([f'step {name}'])}; said=$( {{ {command}",
                "} 2>&1 ) || { echo \"failed $(printf '%s' \"$said\" | tail -n 3 | tr '\\n' ' ')\"; exit; }",
            ]
        return "\n".join([*lines, "echo done"])


def plan(found: Survey, purge: bool, parts: Collection[str] | None = None, backups: str = "") -> Removal:
    """Return what is to be done on a host where there is what was `found`.

    `parts`: of the components only these, and nothing that others use; `purge`: their data, too; `backups`: where those are, which
    stay. Raises InputError where they are among what is noted of deploys.
    """
    if f"{backups}/".startswith(f"{STATE}/"):
        raise InputError(
            f"the backups are in {backups}, which goes with what is noted of deploys: move them elsewhere first, and 'backup_target' with them"
        )
    whole = parts is None
    chosen = {name: PARTS[name] for name in PARTS if whole or name in (parts or ())}
    removal = Removal(whole=whole)
    if not found.record:
        removal.ends_record = whole and STATE in found.kinds
        return removal
    recorded = {line.partition(" ")[2] for line in found.record if line.startswith("package ")}
    wanted = recorded & found.packages.keys()
    if not whole:
        wanted &= {name for part in chosen.values() for name in part.packages}
    kept = dict(_in_use(found, wanted)) if whole else {}
    kept |= _needed(found, wanted - kept.keys())
    removal.packages = {name: found.packages[name].version for name in sorted(wanted - kept.keys())}
    removal.left += [(f"package {name}", why) for name, why in sorted(kept.items())]
    _units(found, removal, chosen)
    _files(found, removal, chosen)
    for part in chosen.values():
        _data(found, removal, part, purge)
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
    for path in [*removal.trees, *removal.data]:
        if f"{backups}/".startswith(f"{path}/"):
            removal.trees = [tree for tree in removal.trees if tree != path]
            removal.data.pop(path, None)
            removal.left.append((path, "the backups are in it"))
    return removal


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
        others = [
            unit
            for unit in found.units
            if unit.startswith("cvat-analytics-") and unit not in (*ours, FIREWALL)
        ]
        # timers before what they start
        ours = [*sorted(others, key=lambda unit: not unit.endswith(".timer")), *ours, FIREWALL]
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
    for path, kind in sorted(found.kinds.items()):
        if path in (STATE, RECORD, BEFORE, LOCK, *data, *found.before):
            continue
        if removal.whole and path.startswith(f"{STATE}/"):
            continue
        is_recorded = bool({f"path {path}", f"tree {path}"} & found.record)
        is_of_part = _matches(path, files)
        is_named = _matches(path, made.NAMED) if removal.whole else is_of_part and "cvat-analytics" in path
        known = is_named or (is_of_part and (is_recorded or found.is_earlier)) or _matches(path, generated)
        if kind != "directory" and (known or (removal.whole and is_recorded)):
            removal.files.append(path)
        elif kind == "directory" and (known or (removal.whole and f"tree {path}" in found.record)):
            removal.trees.append(path)
        elif kind == "directory" and removal.whole and is_recorded:
            removal.directories.append(path)
    removal.directories += [
        root
        for part in gone
        for root in part.roots
        if found.kinds.get(root) == "directory" and root not in removal.directories
        and (f"path {root}" in found.record or found.is_earlier)
    ]  # fmt: skip
    # what is inside comes first
    removal.directories.sort(key=len, reverse=True)
    # what is in a directory that goes needs no name of its own
    inside = tuple(f"{tree}/" for tree in removal.trees)
    removal.files = [path for path in removal.files if not path.startswith(inside)]
    removal.trees = [path for path in removal.trees if not path.startswith(inside)]


def _matches(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def _data(found: Survey, removal: Removal, part: Part, purge: bool) -> None:
    """Put into `removal` what becomes of the data of `part`, and of the user whose it is."""
    stays = [name for name in part.packages if name in found.packages and name not in removal.packages]

    def is_ours(line: str) -> bool:
        return line in found.record or (found.is_earlier and _was_ours(found, part))

    kept: dict[str, int] = {}
    for path in part.data:
        if path not in found.kinds:
            continue
        if stays:
            removal.left.append((path, f"the package {', '.join(stays)} stays"))
        elif "cvat-analytics" not in path and not is_ours(f"path {path}"):
            removal.left.append((path, "was there before the first deploy, or may have been"))
        elif purge:
            removal.data[path] = found.sizes.get(path, 0)
        else:
            kept[path] = found.sizes.get(path, 0)
    removal.kept |= kept
    removal.owned += [f"path {path}" for path in kept]
    if not part.user or stays:
        return
    for kind, there, go in (("user", found.users, removal.users), ("group", found.groups, removal.groups)):
        if part.user not in there or not is_ours(f"{kind} {part.user}"):
            continue
        if kept or not removal.whole:
            removal.owned.append(f"{kind} {part.user}")
        else:
            go.append(part.user)
    if kept and f"user {part.user}" in removal.owned:
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


def _purge(packages: Iterable[str]) -> str:
    """Return the command that purges `packages` and no others: dpkg, unlike apt, never takes one along."""
    names = _words(packages)
    downloaded = " ".join(f"/var/cache/apt/archives/{_words([name])}_*.deb" for name in packages)
    return (
        f"end=$(($(date +%s) + 120)); until said=$(dpkg --configure -a 2>&1 && dpkg --purge {names} 2>&1); do "
        'case $said in *lock*) [ "$(date +%s)" -lt "$end" ] && sleep 1 && continue ;; esac; echo "$said"; exit 1; done; '
        f"rm -f {downloaded}"
    )


def _unfinished(path: str) -> str:
    """Return the name that a file has until all of it is there (deploys/operations.py)."""
    place = PurePosixPath(path)
    return str(place.with_name(f".{place.name}.new"))


def _words(values: Iterable[str]) -> str:
    return " ".join(shlex.quote(each) for each in values)
