"""What a step from one version of a vendor's part to another means: what it changes here, whether it is supported, whether it goes back.

The facts stand in versions.toml.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cvat_analytics.config.settings import Settings

GO_BACK = "docs/how-to/upgrade.md"
PARTS = ("clickhouse", "vector", "grafana", "plugin")
"""The parts that vendors make, in the order in which they are upgraded: the store before those who write to it and read from it."""
OWN = {"events_api": "the events API", "gateway": "the gateway"}
"""Parts that come with this project, each with the digest of what it is made of as its version, in the order of their turns."""
SETTINGS = {
    "clickhouse": "clickhouse_version",
    "vector": "vector_version",
    "grafana": "grafana_version",
    "plugin": "grafana_plugin_version",
}
"""The setting with each part's version."""
PREVIOUS = "/var/lib/cvat-analytics/previous"
"""Where a host keeps what a part ran with before its last upgrade, by the name of its unit: for root only."""
NOT_BROUGHT_BACK = "not brought back"
"""What the last line of the script `back` there begins with when it must not bring back the part."""
BROUGHT_BACK = "brought back"
"""What it begins with when it has; the moment when the part was stopped follows, in seconds since 1970."""

_YEAR = 12
_LTS_MONTHS = (3, 8)
"""In which months ClickHouse has releases that are supported for a year."""


def numbers(version: str) -> tuple[int, ...]:
    """Return a version as numbers to compare, without a package's own revision: of `0.58.0-1` (0, 58, 0)."""
    return tuple(map(int, re.findall(r"\d+", version.partition("-")[0])))


@dataclass(frozen=True)
class Note:
    """A change that matters to this stack."""

    since: str
    text: str
    source: str
    one_way: bool = False
    """Whether an older version may not be able to read what this one has written."""


@dataclass(frozen=True)
class Part:
    """What is known of a part. `tested` is the newest version that was, `tested_how` in which way."""

    name: str
    tested: str
    tested_how: str
    known_until: str
    """The newest release of which the notes are here."""
    notes: tuple[Note, ...]
    oldest: str = ""
    """The first release that runs this project's SQL; empty: any does."""


def _known() -> dict[str, dict[str, Any]]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text())


@functools.cache
def part(name: str) -> Part:
    """Return what is known of the part `name`, one of PARTS."""
    known = _known()[name]
    notes = tuple(Note(**each) for each in known.pop("notes"))
    return Part(**known, notes=notes)


def too_old(name: str, version: str) -> str:
    """Return why the part `name` does not do in that version; empty where it does."""
    known = part(name)
    if numbers(version) >= numbers(known.oldest):
        return ""
    return f"{known.name} {version} does not run the SQL of this version of cvat-analytics, which needs {known.oldest} or newer"


def refused_setting(name: str, settings: Settings) -> str:
    """Return why the setting with the version of `name` cannot be deployed, with what to do; empty where it can."""
    setting = SETTINGS[name]
    why = too_old(name, getattr(settings, setting))
    return why and (
        f"{why}. Set '{setting}' to such a one (the default is \"{Settings.model_fields[setting].default}\"), or deploy from the former checkout "
        f"({GO_BACK})"
    )


def not_delivered(step: Step, where: str) -> str:
    """Return why a Vector is not exchanged while ClickHouse does not answer at `where`; empty where its buffer stays its own."""
    if step.part != "vector" or step.direction == "none":
        return ""
    return (
        f"{step}: what waits in its buffer on disk is promised to no other version, and ClickHouse at {where} does not answer, "
        "so that it cannot be delivered before. See docs/how-to/clickhouse-is-down.md, then deploy again"
    )


@dataclass(frozen=True)
class Step:
    """A part's way from the version that is there to the one that is wanted."""

    part: str
    before: str
    after: str

    @property
    def direction(self) -> Literal["up", "down", "none"]:
        """Return whether the version grows, falls, or is the same but for the package's revision."""
        if self.part in OWN:
            return "none"
        before, after = numbers(self.before), numbers(self.after)
        return "up" if after > before else "down" if after < before else "none"

    @property
    def notes(self) -> list[Note]:
        """Return what lies between the two versions, the oldest first."""
        if self.part in OWN:
            return []
        low, high = sorted((numbers(self.before), numbers(self.after)))
        return [note for note in part(self.part).notes if low < numbers(note.since) <= high]

    @property
    def one_way(self) -> list[Note]:
        """Return what keeps the older of the two from reading what the newer has written."""
        return [note for note in self.notes if note.one_way]

    def __str__(self) -> str:
        """Return the step in words."""
        return f"{OWN.get(self.part) or part(self.part).name} {self.before} -> {self.after}"

    def refusal(self) -> str:
        """Return why the step is not taken, with what to do instead; empty where nothing speaks against it."""
        if self.direction == "none":
            return ""
        if self.direction == "down" and self.one_way:
            note = self.one_way[-1]
            return (
                f"{self}: {self.after} may not be able to read what {self.before} has written ({note.text}; {note.source}). "
                f"Set '{SETTINGS[self.part]}' back to \"{self.before}\"; what goes back, and how, says {GO_BACK}#go-back"
            )
        if self.part == "clickhouse" and not _within_support(self.before, self.after):
            return self._too_far()
        return ""

    def _too_far(self) -> str:
        why = (
            f"{self}: ClickHouse supports steps within a year, or with fewer than two LTS releases in between"
        )
        if self.direction == "down":
            return f"{why}. Set 'clickhouse_version' back to \"{self.before}\"; what goes back, and how, says {GO_BACK}#go-back"
        # releases are half a year apart, so that there is one within the year
        via = [each for each in _lts_between(self.before, self.after) if _months(self.before, each) < _YEAR]
        able = [each for each in via if not too_old(self.part, each)]
        way = f"set 'clickhouse_version' to the newest release of it, deploy, then to \"{self.after}\""
        if able:
            return f"{why}. Go by way of {able[-1]}: {way}"
        return f"{why}. Go by way of {via[-1]}, on which this version's SQL does not run: with the former checkout {way} with this one"


def _lts_between(one: str, other: str) -> list[str]:
    """Return ClickHouse's LTS releases that lie strictly between two versions, the oldest first."""
    low, high = sorted((numbers(one)[:2], numbers(other)[:2]))
    years = range(low[0], high[0] + 1)
    return [f"{year}.{month}" for year in years for month in _LTS_MONTHS if low < (year, month) < high]


def _within_support(one: str, other: str) -> bool:
    """Return whether ClickHouse supports the step between two versions (its page on self-managed upgrades)."""
    return _months(one, other) < _YEAR or len(_lts_between(one, other)) < 2


def _months(one: str, other: str) -> int:
    low, high = sorted((numbers(one)[:2], numbers(other)[:2]))
    return (high[0] - low[0]) * _YEAR + high[1] - low[1]


@dataclass(frozen=True)
class Took:
    """How long a script took at 20 million events, in seconds, and whether that grows with the events."""

    seconds: float
    grows: bool = False

    def at(self, events: int) -> float:
        """Return how long it takes where so many events are stored."""
        return self.seconds * events / 20_000_000 if self.grows else self.seconds


@functools.cache
def migrations_took() -> Mapping[str, Took]:
    """Return how long each script took that was measured, by its name below `clickhouse/`."""
    return {name: Took(**took) for name, took in _known()["migrations"].items()}
