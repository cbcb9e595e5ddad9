"""Who the demo's team are, and what they annotate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Project:
    """A project: what is annotated, with which shapes, and what its tasks are called."""

    id: int
    name: str
    shapes: Sequence[str]
    places: Sequence[str]


@dataclass(frozen=True)
class Organization:
    """An organization with its projects."""

    id: int
    slug: str
    projects: Sequence[Project]


@dataclass(frozen=True)
class Member:
    """A person: `shift` is the hour (UTC) at which the day's work begins, `pace` the mean seconds between two actions."""

    id: int
    name: str
    organization: Organization
    role: str
    shift: int
    pace: float
    platform: tuple[str, str, str]

    @property
    def email(self) -> str:
        """Return the address."""
        return f"{self.name}@{self.organization.slug}.example"


ROADS = Organization(
    1,
    "northroad",
    (
        Project(
            11, "Traffic signs", ("rectangle",), ("Hamburg ring 2", "Oslo E18", "Gdansk harbour", "Turin A4")
        ),
        Project(
            12, "Pedestrians at night", ("rectangle", "points"), ("Bremen centre", "Lyon tram", "Osaka Namba")
        ),
        Project(
            13, "Lane markings", ("polyline", "polygon"), ("A7 north", "A7 south", "B96 rain", "Alpine pass")
        ),
    ),
)
CELLS = Organization(
    2,
    "celltrack",
    (
        Project(
            21, "Blood smears", ("ellipse", "polygon"), ("slide series B", "slide series C", "control group")
        ),
        Project(22, "Mitosis", ("polygon", "mask"), ("HeLa day 3", "HeLa day 5", "zebrafish larva")),
    ),
)
PROJECTS = (*ROADS.projects, *CELLS.projects)
_WINDOWS, LINUX = ("Chrome", "142.0.0", "Windows 10"), ("Firefox", "145.0", "Linux")
_MAC, _SAFARI = ("Chrome", "142.0.0", "macOS 15.6"), ("Safari", "18.6", "macOS 15.6")
_EDGE = ("Edge", "142.0.0", "Windows 11")
MEMBERS = (
    Member(1, "ingrid.solberg", ROADS, "maintainer", 7, 40, _MAC),
    Member(2, "anna.keller", ROADS, "annotator", 7, 42, _WINDOWS),
    Member(3, "bruno.costa", ROADS, "annotator", 8, 55, _WINDOWS),
    Member(4, "yamada.hanako", ROADS, "annotator", 0, 38, LINUX),
    Member(5, "dmitri.volkov", ROADS, "night shift", 21, 48, _EDGE),
    Member(6, "femi.adeyemi", ROADS, "night shift", 22, 60, LINUX),
    Member(7, "grace.obrien", ROADS, "reviewer", 9, 50, _SAFARI),
    Member(8, "chiara.ricci", CELLS, "maintainer", 8, 45, _SAFARI),
    Member(9, "elif.yilmaz", CELLS, "annotator", 6, 44, _WINDOWS),
    Member(10, "samuel.okafor", CELLS, "annotator", 9, 66, _EDGE),
    Member(11, "lena.novak", CELLS, "reviewer", 10, 52, LINUX),
)
