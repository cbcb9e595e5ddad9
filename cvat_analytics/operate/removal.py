"""Take away from a host what deploys have made there, all of it or some components, and nothing else.

What is there is asked first (survey.py), what is to be done is worked out (removal_plan.py), shown, and then done by one line of sh
(`Removal.script`). Each of its steps looks for what is left to do, and the record of what deploys have made goes last: what was cut
off is completed by the same command.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from cvat_analytics.rendering import made
from cvat_analytics.rendering.made import BEFORE, RECORD, STATE

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
    packages_own: list[str] = field(default_factory=list)
    """Those of them that packages have made, in which empty directories are theirs, too."""
    restored: list[str] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    members: dict[str, list[str]] = field(default_factory=dict)
    """Users that were there before, with the groups that they were in beside their own."""
    data: dict[str, int] = field(default_factory=dict)
    """Directories with data that are deleted for good, with their bytes."""
    emptied: list[str] = field(default_factory=list)
    """Those of them that were there before the first deploy, and stay as they were then: empty, root's."""
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
            yield (
                f"delete {', '.join(self.data)}",
                " && ".join(_deleted(path, path in self.emptied) for path in self.data),
            )
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
            # what others have in it may need its empty directories
            remove = (
                f"{find} -depth -type d -empty -delete"
                if path in self.packages_own
                else f"rmdir {_words([path])} 2>/dev/null"
            )
            what = "! -type d" if path in self.packages_own else "-mindepth 1 -maxdepth 1"
            other = "".join(f" ! -path {_words([each])}" for each in (*self.kept, *dict(self.left)))
            # of a part that leaves its host nobody asks what is left, and what is in data that stays is no surprise
            is_asked = self.whole and not path.startswith(tuple(self.kept))
            said = f"; {find} {what}{other} -printf 'left %p\\n' 2>/dev/null >&3" if is_asked else ""
            commands.append(f"{{ [ ! -d {_words([path])} ] || {{ {remove}{said}; true; }}; }}")
        return " && ".join(commands)

    def _forget(self) -> str:
        """Return the command after which the record has no more than what is still there."""
        # the record, by which all of this is known, outlives every other note; and a lock that is held is not removed
        notes = (
            f"find {STATE} -mindepth 1 -maxdepth 1 ! -name {PurePosixPath(RECORD).name} -exec rm -rf {{}} +"
        )
        if self.whole and not self.kept:
            return f"{notes} && rm -f {RECORD} && {{ rmdir {STATE} 2>/dev/null; true; }}"
        gone = [
            *(f"package {name}" for name in self.packages),
            *(f"path {path}" for path in (*self.files, *self.data)),
            *(f"data {path}" for path in self.data),
            *(f"tree {path}" for path in self.trees),
            *(f"user {name}" for name in self.users),
            *(f"group {name}" for name in self.groups),
        ]
        lines = [
            f"grep -vxF {' '.join(f'-e {_words([each])}' for each in gone)} {RECORD}"
            if gone
            else f"cat {RECORD}",
            # what was there before is as it was
            "grep -vE '^(earlier$|(member|unit|version) )'"
            if self.whole
            else f"grep -vE {_words([f'^(unit {"|unit ".join(map(re.escape, [*self.units, *self.again, "-"]))}) '])}",
        ]
        forget = f"{{ {{ {' | '.join(lines)}; printf '%s\\n' {_words(self.owned)}; }} | grep . | sort -u > {RECORD}.new; mv {RECORD}.new {RECORD}; }}"
        if self.whole:
            forget += f" && {notes}"
        return forget

    def script(self, who: str, *, shares: bool = False) -> str:
        """Return all steps as sh; `who` has begun it, and `shares` the lock that it holds already.

        It says each as `step`, each file of somebody else's in a directory that was made for ours as `left`, and at its end `done`,
        `failed` and why, or `locked` and the note of whoever has the lock.
        """
        how = "-s " if shares else ""
        lines = [
            f'exec 9>>{LOCK}; flock {how}-w 10 9 || {{ echo "locked $(cat {LOCK})"; exit; }}',
            ":" if shares else f"echo {_words([who])}, \"since $(date -u '+%F %T') UTC\" $$ > {LOCK}",
            "exec 3>&1; export LC_ALL=C DEBIAN_FRONTEND=noninteractive",
        ]
        for name, command in self.steps():
            lines += [
                f"echo {_words([f'step {name}'])}; said=$( {{ {command}",
                "} 2>&1 ) || { echo \"failed $(printf '%s' \"$said\" | tail -n 3 | tr '\\n' ' ')\"; exit; }",
            ]
        return "\n".join([*lines, "echo done"])


def _deleted(path: str, stays: bool) -> str:
    """Return the command that deletes what is in a directory, wherever a link leads to; and itself, unless it `stays` or is a disk's."""
    name = _words([path])
    itself, link = (
        ('chown root:root "$place"', "true")
        if stays
        else ('{ rmdir "$place" 2>/dev/null; true; }', f"{{ [ ! -L {name} ] || rm -f {name}; }}")
    )
    return (
        f'{{ [ ! -d {name} ] || {{ place=$(readlink -f {name}) && find "$place" -mindepth 1 ! -type d -delete && '
        # a directory at which a disk is mounted stays
        f'{{ find "$place" -mindepth 1 -type d ! -name lost+found -delete 2>/dev/null; true; }} && {itself}; }}; }} && {link}'
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
