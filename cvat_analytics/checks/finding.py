"""What is wrong with a stack, or soon will be: one line why, and one next step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Weight = Literal["now", "soon", "know"]
"""Wrong now; wrong soon, or hidden harm; worth knowing."""


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

    @property
    def rank(self) -> tuple[int, str, str, str]:
        """Return what it is sorted by: its weight first."""
        return get_args(Weight).index(self.weight), self.check, self.host, self.why


def by_weight(findings: Iterable[Finding]) -> Sequence[Finding]:
    """Return each finding once, the heaviest first."""
    return sorted(dict.fromkeys(findings), key=lambda finding: finding.rank)
