"""A part on its way to another host: what is noted of it on both, and what the groups are meanwhile and afterwards.

The inventory is the operator's. A move works with groups that are changed in memory, and the note keeps everybody from deploying
what the inventory says until that agrees with it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from cvat_analytics.config.inventory_file import Host

NOTE = "/var/lib/cvat-analytics/moving.json"
"""Where it is noted, on every host: each of them would otherwise let itself be brought back to where the part was."""
PARTS = ("clickhouse", "vector", "grafana")
BEGUN, COPIED, SWITCHING, SWITCHED, MOVED, LEAVING = (
    "begun",
    "copied",
    "switching",
    "switched",
    "moved",
    "leaving",
)
"""How far it is. `copied`: the new host has what there was, and nobody uses it yet; `switching`: some may; `moved`: all that is left is to
remove the old part; `leaving`: which was looked at once more, and is being removed."""

BEFORE, BOTH, AFTER = "before", "both", "after"
"""With which groups a deploy of a move works: the inventory's, with the part on both hosts, on the new one alone."""


@dataclass(frozen=True)
class Move:
    """A part that goes from one host to another."""

    part: str
    source: str
    target: str
    along: tuple[str, ...] = ()
    """What goes with it: a gateway and the events API are on Grafana's host."""
    step: str = BEGUN
    since: str = field(default="", compare=False)

    @property
    def parts(self) -> tuple[str, ...]:
        """Return all that goes."""
        return (self.part, *self.along)

    @property
    def command(self) -> str:
        """Return the command that begins it, goes on with it, and with `--finish` ends it."""
        return f"cvat-analytics move {self.part} --to {self.target}"

    @property
    def back(self) -> Move:
        """Return the way back."""
        return replace(self, source=self.target, target=self.source)

    @property
    def is_used(self) -> bool:
        """Return whether somebody may use the part on its new host, so that there is more there than on the old one."""
        return self.step not in (BEGUN, COPIED)

    @property
    def is_moved(self) -> bool:
        """Return whether all that is left is to remove the old part."""
        return self.step in (MOVED, LEAVING)

    def text(self) -> str:
        """Return what is noted."""
        return json.dumps(asdict(self)) + "\n"

    def is_same(self, other: Move) -> bool:
        """Return whether both are the same, however far."""
        return (self.part, self.source, self.target) == (other.part, other.source, other.target)

    def disagreement(self, groups: Mapping[str, Collection[str]]) -> str:
        """Return what has to be changed in an inventory with these `groups` once the part has moved; nothing where it agrees."""
        wrong = [
            part for part in self.parts if self.source in groups[part] or self.target not in groups[part]
        ]
        if not wrong:
            return ""
        named = f"group{'s' if len(wrong) > 1 else ''} {', '.join(map(repr, wrong))}"
        return (
            f"{self.part} has moved from {self.source} to {self.target}, and the inventory says otherwise: put {self.target} in the place of "
            f"{self.source} in the {named}"
        )

    def elsewhere(self, groups: Mapping[str, Collection[str]]) -> str:
        """Return why nobody may work with the ClickHouse that an inventory with these `groups` names; nothing where it is the one in use."""
        in_use = self.target if self.is_used else self.source
        # of the others both are at work, or the old one has been stopped
        if self.part != "clickhouse" or in_use in groups["clickhouse"]:
            return ""
        if self.is_moved:
            return self.disagreement(groups)
        return f"clickhouse is on its way from {self.source} to {self.target}, and {in_use} is in use: first complete that by `{self.command}`"

    def refusal(self, groups: Mapping[str, Collection[str]]) -> str:
        """Return why nobody may deploy an inventory with these `groups`; nothing where it agrees with the move."""
        if not self.is_moved:
            return f"{self.part} is on its way from {self.source} to {self.target} since {self.since}: first complete that by `{self.command}`"
        if reason := self.disagreement(groups):
            return reason
        if self.part == "vector":
            # whose rights in ClickHouse the inventory no longer gives, and which delivers what waits in it
            return f"the old Vector on {self.source} is still at work: first take it away by `{self.command} --finish`"
        return ""


def read(text: str) -> Move | None:
    """Return what is noted; None where nothing is, or nothing that can be read."""
    try:
        values = json.loads(text)
        return Move(**{**values, "along": tuple(values["along"])})
    except (ValueError, TypeError, LookupError):
        return None


def regrouped(hosts: Sequence[Host], move: Move, *, both: bool = False) -> list[Host]:
    """Return the hosts of an inventory with the new one in the old one's place, or with `both` beside it, before it."""
    (target,) = (host for host in hosts if host.name == move.target)
    others = [host for host in hosts if host is not target]
    at = [host.name for host in others].index(move.source)
    left = [group for group in others[at].groups if group not in move.parts]
    source = replace(others[at], groups=[*left, *(move.parts if both else ())])
    new = replace(target, groups=list(dict.fromkeys([*target.groups, *move.parts])))
    return [*others[:at], new, source, *others[at + 1 :]]
