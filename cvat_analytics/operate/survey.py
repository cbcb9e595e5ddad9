"""What there is on a host of what deploys have made, or may have: asked by one command that changes nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from cvat_analytics.rendering import made
from cvat_analytics.rendering.made import BEFORE, DISTRIBUTIONS, PARTS, RECORD, STATE

_GLOBS = [
    *made.NAMED,
    *made.AROUND,
    *made.ALIKE,
    *(pattern for part in PARTS.values() for pattern in (*part.files, *part.generated, *part.roots, *part.data)),
    f"{STATE}/*",
]  # fmt: skip
_UNITS = [
    *made.UNITS,
    *(unit for part in PARTS.values() for unit in part.units if not unit.startswith("cvat-analytics-")),
    *DISTRIBUTIONS.values(),
]
_DATA = " ".join(path for part in PARTS.values() for path in part.data)
SURVEY = f"""record=$(cat {RECORD} 2>/dev/null || {{ {made.begun()}
}})
printf '%s\\n' "$record" | sed 's/^/record /'
{{ printf '%s\\n' "$record" | sed -n 's/^\\(path\\|tree\\) //p'; for path in {" ".join(_GLOBS)}; do echo "$path"; done; }} | sort -u |
while read -r path; do
if [ -L "$path" ]; then echo "link $path"; elif [ -d "$path" ]; then echo "directory $path"; elif [ -e "$path" ]; then echo "file $path"; fi
done
for path in {_DATA}; do
[ -d "$path" ] || continue
echo "size $(du -sxB1 "$path/" 2>/dev/null | cut -f 1) $path"
[ -L "$path" ] && echo "leads $path $(readlink -f "$path")"
done
find -H {STATE} {_DATA} -maxdepth 3 -type d -name snapshots 2>/dev/null | while read -r path; do
path=${{path%/*}}; [ -f "$path/config" ] && [ -d "$path/keys" ] && echo "backups $path"
done
dpkg-query -W -f 'package ${{Package}}\\t${{Version}}\\t${{db:Status-Status}}\\t${{Pre-Depends}}, ${{Depends}}\\t${{Provides}}\\n'
sed 's/:.*//; s/^/user /' /etc/passwd
sed 's/:.*//; s/^/group /' /etc/group
for unit in {" ".join(_UNITS)}; do
echo "unit $unit $(systemctl is-active "$unit" 2>/dev/null) $(systemctl is-enabled "$unit" 2>/dev/null)"
done
find {BEFORE} ! -type d -printf 'before /%P\\n' 2>/dev/null
true"""
"""The command that prints what there is on a host; it changes nothing."""


@dataclass(frozen=True)
class Package:
    """A package that dpkg knows, with what it needs: groups of alternatives."""

    version: str
    needs: Sequence[Sequence[str]]
    provides: Sequence[str]


@dataclass
class Survey:
    """What there is on a host."""

    record: set[str] = field(default_factory=set)
    """The record's lines; of a host that an earlier version has deployed to, how it would begin."""
    kinds: dict[str, str] = field(default_factory=dict)
    """`file`, `directory` or `link`, of each path that may be of a deploy and is there."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes in the directories with data."""
    leads: dict[str, str] = field(default_factory=dict)
    """Where those of them that are links lead to."""
    backups: list[str] = field(default_factory=list)
    """Where restic has backups among data and notes."""
    packages: dict[str, Package] = field(default_factory=dict)
    remains: dict[str, str] = field(default_factory=dict)
    """Packages that were removed already, but not purged, with their versions."""
    users: set[str] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)
    units: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Whether each is active and enabled, in systemd's words."""
    before: list[str] = field(default_factory=list)
    """Paths of what deploys have replaced and kept."""

    @property
    def is_earlier(self) -> bool:
        """Return whether an earlier version, which kept no record, was the first to deploy here."""
        return "earlier" in self.record


def surveyed(output: str) -> Survey:
    """Return what the command SURVEY has printed."""
    found = Survey()
    for line in output.splitlines():
        kind, _, rest = line.partition(" ")
        match kind:
            case "record" if rest:
                found.record.add(rest)
            case "file" | "directory" | "link":
                found.kinds[rest] = kind
            case "size":
                size, _, path = rest.partition(" ")
                found.sizes[path] = int(size or 0)
            case "leads":
                path, _, place = rest.partition(" ")
                found.leads[path] = place
            case "backups":
                found.backups.append(rest)
            case "package":
                name, version, status, needs, provides = rest.split("\t")
                if status == "config-files":
                    found.remains[name] = version
                elif status != "not-installed":
                    found.packages[name] = Package(
                        version, _needs(needs), [each for (each, *_) in _needs(provides)]
                    )
            case "user":
                found.users.add(rest)
            case "group":
                found.groups.add(rest)
            case "unit":
                name, *states = rest.split(" ")
                found.units[name] = (states[0] if states else "", states[1] if len(states) > 1 else "")
            case "before":
                found.before.append(rest)
    return found


def _needs(text: str) -> list[list[str]]:
    """Return the names in a field such as `Depends`: groups of alternatives, without versions and architectures."""
    groups = (each.split("|") for each in text.split(",") if each.strip())
    return [[re.split(r"[ (:\[]", name.strip())[0] for name in group] for group in groups]
