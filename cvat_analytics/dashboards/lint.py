"""Find in dashboards what would show people nothing, something wrong, or another instance's leftovers.

Each rule is a function that yields findings for one dashboard; what a rule cannot know of one dashboard alone (an address
or a title that is used twice) is looked for among all. SQL has rules of its own, in `lint_sql`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvat_analytics.dashboards import defaults, lint_sql
from cvat_analytics.dashboards.model import DATASOURCE_TYPE, DATASOURCE_UID, read
from cvat_analytics.dashboards.places import Model, Problems, Refusal, name_of, panels

COLUMNS = 24
"""Grafana's grid. https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/#panel-size-and-position"""
_WITHOUT_DATA = ("row", "text")
"""Panels that query nothing."""
_BUILT_IN = {"-- Grafana --"}
"""Grafana's own source of annotations, which it puts into each dashboard."""


@dataclass(frozen=True)
class Finding:
    """What is wrong, where, and what to do about it."""

    file: str
    where: str
    what: str
    next_step: str

    def __str__(self) -> str:
        """Return the finding as one line."""
        return f"{self.file}: {self.where + ': ' if self.where else ''}{self.what}. {self.next_step}"


def lint(files: Iterable[Path], refusal: Refusal | None = None) -> list[Finding]:
    """Return what is wrong with the dashboard `files`, each for itself and among each other.

    With `refusal` each query is put to an engine; without, its syntax is checked here. Raises InputError for a file
    that cannot be read as JSON.
    """
    models = [(str(file), read(file)) for file in files]
    findings = [finding for name, model in models for finding in lint_model(name, model, refusal)]
    return findings + [
        Finding(name, *problem) for key in ("uid", "title") for name, problem in _shared(models, key)
    ]


def lint_model(name: str, model: Model, refusal: Refusal | None = None) -> list[Finding]:
    """Return what is wrong with one dashboard, called `name` in the findings."""
    rules: tuple[Callable[[Model], Problems], ...] = (
        _identity,
        _instance,
        _ids,
        _descriptions,
        _datasources,
        _ref_ids,
        _grid,
        lambda model: lint_sql.queries(model, refusal),
    )
    return [Finding(name, *problem) for rule in rules for problem in rule(model)]


def lint_data(name: str, model: Model, refusal: Refusal | None = None) -> list[Finding]:
    """Return why panels and filters of a dashboard would show nothing here, or something wrong; how its file should look does not count."""
    rules: tuple[Callable[[Model], Problems], ...] = (
        _libraries,
        _datasources,
        lambda model: lint_sql.queries(model, refusal),
    )
    return [Finding(name, *problem) for rule in rules for problem in rule(model)]


def _shared(models: Sequence[tuple[str, Model]], key: str) -> Iterator[tuple[str, tuple[str, str, str]]]:
    first: dict[Any, str] = {}
    for name, model in models:
        value = model.get(key)
        if value and value in first:
            yield (
                name,
                ("", f"its {key} {value!r} is also that of {first[value]}", f"Give it a {key} of its own"),
            )
        first.setdefault(value, name)


def _identity(model: Model) -> Problems:
    for key in ("uid", "title"):
        if not isinstance(model.get(key), str) or not model[key]:
            yield "", f"it has no {key}", f"Give it one; the {key} is how links and people find it"


def _instance(model: Model) -> Problems:
    for key in sorted(defaults.INSTANCE_KEYS & model.keys()):
        yield (
            "",
            f"{key!r} belongs to one Grafana only",
            "Remove it, or fetch the dashboard with `dashboards pull`",
        )


def _ids(model: Model) -> Problems:
    seen: dict[Any, Model] = {}
    for panel in panels(model):
        id_ = panel.get("id")
        if not isinstance(id_, int) or isinstance(id_, bool) or id_ < 1:
            yield name_of(panel), "it has no id", "Give it a number that no other panel of the dashboard has"
        elif id_ in seen:
            yield (
                name_of(panel),
                f"its id {id_} is also that of {name_of(seen[id_])}",
                "Give one of them another",
            )
        seen.setdefault(id_, panel)


def _descriptions(model: Model) -> Problems:
    for panel in panels(model):
        if panel.get("type") not in _WITHOUT_DATA and not str(panel.get("description", "")).strip():
            yield (
                name_of(panel),
                "it has no description",
                "Write what the number means; it stands behind the (i)",
            )


def _libraries(model: Model) -> Problems:
    for panel in panels(model):
        if panel.get("libraryPanel"):
            yield (
                name_of(panel),
                "it is one of its Grafana's library panels, which do not come along",
                "Unlink it there, and save the dashboard",
            )


def _datasources(model: Model) -> Problems:
    for panel in panels(model):
        if panel.get("type") in _WITHOUT_DATA:
            continue
        yield from _datasource(name_of(panel), panel)
        for target in panel.get("targets", []):
            yield from _datasource(f"{name_of(panel)}, query {target.get('refId', '?')}", target)
    for variable in model.get("templating", {}).get("list", []):
        if variable.get("type") == "query":
            yield from _datasource(f"variable {variable.get('name')!r}", variable)
    for annotation in model.get("annotations", {}).get("list", []):
        source = annotation.get("datasource")
        if not (isinstance(source, Mapping) and source.get("uid") in _BUILT_IN):
            yield from _datasource(f"annotation {annotation.get('name')!r}", annotation)


def _datasource(where: str, model: Model) -> Problems:
    expected = {"type": DATASOURCE_TYPE, "uid": DATASOURCE_UID}
    source = model.get("datasource")
    if source is None:
        yield where, "it names no datasource", f"Write {json.dumps(expected)} as its datasource"
    elif source != expected:
        yield (
            where,
            f"its datasource {json.dumps(source)} is another one",
            f"Write {json.dumps(expected)} instead",
        )


def _ref_ids(model: Model) -> Problems:
    for panel in panels(model):
        seen = set()
        for target in panel.get("targets", []):
            ref_id = target.get("refId")
            if not ref_id:
                yield name_of(panel), "a query has no refId", "Give it a letter, the first query A"
            elif ref_id in seen:
                yield (
                    name_of(panel),
                    f"two queries have the refId {ref_id!r}",
                    "Give one of them another letter",
                )
            seen.add(ref_id)


def _grid(model: Model) -> Problems:
    levels = [model, *(panel for panel in panels(model) if panel.get("panels"))]
    for level in levels:
        placed: list[Model] = []
        for panel in level.get("panels", []):
            position = panel.get("gridPos")
            if not isinstance(position, Mapping) or not all(isinstance(position.get(k), int) for k in "hwxy"):
                yield name_of(panel), "it has no place (gridPos)", "Give it x, y, w and h"
                continue
            x, w = position["x"], position["w"]
            if x < 0 or position["y"] < 0 or w < 1 or position["h"] < 1 or x + w > COLUMNS:
                yield (
                    name_of(panel),
                    f"it lies outside the grid (x {x}, width {w}, of {COLUMNS} columns)",
                    "Make it narrower or move it to the left",
                )
            for other in placed:
                if _overlap(position, other["gridPos"]):
                    yield name_of(panel), f"it overlaps {name_of(other)}", "Move one of them"
            placed.append(panel)


def _overlap(one: Model, other: Model) -> bool:
    return all(
        one[start] < other[start] + other[size] and other[start] < one[start] + one[size]
        for start, size in (("x", "w"), ("y", "h"))
    )
