"""What is wrong with a stack, or soon will be: one line why, and one next step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from cvat_analytics.base.codes import Code

Weight = Literal["now", "soon", "know"]
"""Wrong now; wrong soon, or hidden harm; worth knowing."""

CODES = {
    "part": Code.PART_FAILING,
    "host": Code.HOST_UNREACHABLE,
    "pipeline": Code.PIPELINE_UNKNOWN,
    "refused": Code.BATCH_WAITS,
    "sources": Code.CLIENT_SILENT,
    "silence": Code.EVENTS_SILENT,
    "future": Code.EVENTS_FROM_FUTURE,
    "implausible-dates": Code.DATES_IMPLAUSIBLE,
    "two-cvats": Code.TWO_CVATS,
    "cvat-refused": Code.CVAT_REFUSED,
    "dead-letters": Code.LETTERS_RISE,
    "buffer": Code.BUFFER_FILLS,
    "port": Code.OLD_PORT,
    "users": Code.FOREIGN_USERS,
    "vector": Code.VECTOR_SILENT,
    "not-deployed": Code.NOT_DEPLOYED,
    "host-left": Code.HOST_LEFT,
    "clock": Code.CLOCK_WRONG,
    "disk": Code.DISK_LOW,
    "disk-forecast": Code.DISK_FORECAST,
    "certificate": Code.CERTIFICATE_ENDS,
    "route": Code.ROUTE_CLOSED,
    "cvat-side": Code.CVAT_SIDE,
    "open-port": Code.PORT_OPEN,
    "file": Code.FILE_CHANGED,
    "package": Code.PACKAGE_DIFFERS,
    "unit": Code.UNIT_WRONG,
    "timer": Code.TIMER_OFF,
    "memory": Code.MEMORY_TIGHT,
    "version": Code.VERSION_FAULT,
    "backup": Code.BACKUP_OVERDUE,
    "smoke": Code.SCHEMA_BEHIND,
}
"""By check: the code of what it finds, where the finding has none of its own."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or about to be."""

    weight: Weight
    check: str
    """Its name: docs/reference/doctor.md has a line for each."""
    why: str
    next: str = ""
    """What to do: words, or a page of the documentation."""
    command: tuple[str, ...] = ()
    """The words of a command of ours that mends it, to be pasted; then `next` may be empty."""
    host: str = ""
    """Empty: it is about the stack."""
    own: Code | None = None
    """Its code, where one check finds several things to look up."""

    @property
    def code(self) -> Code:
        """Return what it is looked up by."""
        return self.own or CODES[self.check]

    @property
    def rank(self) -> tuple[int, str, str, str]:
        """Return what it is sorted by: its weight first."""
        return get_args(Weight).index(self.weight), self.check, self.host, self.why


def by_weight(findings: Iterable[Finding]) -> Sequence[Finding]:
    """Return each finding once, the heaviest first."""
    return sorted(dict.fromkeys(findings), key=lambda finding: finding.rank)
