"""What a section has measured, whether it meets its targets, and how that is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal

Verdict = Literal["met", "missed", "void"]


class BenchmarkError(Exception):
    """Something that is measured did not work; the text says what."""


@dataclass(frozen=True)
class Measurement:
    """One quantity, measured once or more often."""

    name: str
    values: Sequence[float]
    unit: str = "s"

    @property
    def median(self) -> float:
        """Return the middle value."""
        return median(self.values)

    def row(self) -> list[str]:
        """Return the cells of the table: name, median, min, max, number of runs."""
        numbers = (self.median, min(self.values), max(self.values))
        return [self.name, *(amount(number, self.unit) for number in numbers), str(len(self.values))]

    def as_json(self) -> dict[str, Any]:
        """Return everything that was measured."""
        summary = {"median": self.median, "min": min(self.values), "max": max(self.values)}
        return {"name": self.name, "unit": self.unit, **summary, "values": list(self.values)}


@dataclass(frozen=True)
class Target:
    """What a value must be: at most or at least `limit`. Where there is none to judge, `void` says why."""

    name: str
    value: float | None
    kind: Literal["at most", "at least"]
    limit: float
    unit: str
    void: str = ""

    @property
    def verdict(self) -> Verdict:
        """Return whether the target is met; the limit itself meets it."""
        if self.void or self.value is None:
            return "void"
        met = self.value <= self.limit if self.kind == "at most" else self.value >= self.limit
        return "met" if met else "missed"

    def row(self) -> list[str]:
        """Return the cells of the table: name, value, limit, verdict."""
        verdict = f"void: {self.void}" if self.void else self.verdict
        return [
            self.name,
            "-" if self.value is None else amount(self.value, self.unit),
            f"{self.kind} {amount(self.limit, self.unit)}",
            verdict,
        ]

    def as_json(self) -> dict[str, Any]:
        """Return the target, the value and the verdict."""
        return {
            "name": self.name,
            "value": self.value,
            "kind": self.kind,
            "limit": self.limit,
            "unit": self.unit,
            "verdict": self.verdict,
            **({"void": self.void} if self.void else {}),
        }


@dataclass(frozen=True)
class Report:
    """The outcome of one section."""

    title: str
    measurements: Sequence[Measurement]
    targets: Sequence[Target] = ()
    notes: Sequence[str] = field(default=())
    """What a reader of the figures must know."""

    @property
    def met(self) -> bool:
        """Return whether every target is met; a void one is not."""
        return all(target.verdict == "met" for target in self.targets)

    def text(self) -> str:
        """Return the report as tables for a terminal."""
        parts = [
            self.title,
            table(["", "median", "min", "max", "runs"], [each.row() for each in self.measurements]),
            table(["target", "measured", "limit", ""], [each.row() for each in self.targets]),
            "\n".join(f"- {note}" for note in self.notes),
        ]
        return "\n\n".join(part for part in parts if part)

    def as_json(self) -> dict[str, Any]:
        """Return the report for a file."""
        return {
            "title": self.title,
            "measurements": [each.as_json() for each in self.measurements],
            "targets": [each.as_json() for each in self.targets],
            "notes": list(self.notes),
        }


def tail(output: str) -> str:
    """Return the last lines of what a program printed, short enough for a message."""
    return "\n".join(line[:300] for line in output.splitlines()[-15:])


def ratio(slower: Measurement, faster: Measurement) -> float:
    """Return how many times faster one is than the other, by their medians."""
    return slower.median / faster.median


def amount(value: float, unit: str) -> str:
    """Return a number with its unit; one without a unit is a count."""
    if not unit:
        return f"{value:g}"
    return f"{value:.2f}{'' if unit == 'x' else ' '}{unit}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return aligned columns: the first to the left, numbers to the right, a last column of words to the left."""
    if not rows:
        return ""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line[:-1], widths[:-1], strict=True))
        )
        + "  "
        + (line[-1].rjust(widths[-1]) if header[-1] else line[-1])
        for line in lines
    ).rstrip()
