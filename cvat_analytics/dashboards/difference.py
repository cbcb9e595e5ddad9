"""Say how two versions of a dashboard differ, as a person would: by panel and field, SQL line by line."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cvat_analytics.dashboards.places import Model, panels

_IDENTITY = ("refId", "id", "name", "title", "matcher")
"""What tells one item of a list from another, the first that all items have."""


def difference(before: Model, after: Model) -> list[str]:
    """Return lines that say what `after` has other than `before`; none when both are the same dashboard."""
    lines: list[str] = []
    rest = ("panels", "templating", "annotations")
    own = _changes(_without(before, *rest), _without(after, *rest))
    lines += list(own)
    old, new = _panels(before), _panels(after)
    for id_ in [*old, *(id_ for id_ in new if id_ not in old)]:
        lines += _part(_panel_name(id_, old.get(id_) or new[id_]), old.get(id_), new.get(id_))
    if list(old) != list(new) and sorted(old, key=str) == sorted(new, key=str):
        order = ", ".join(_panel_name(id_, panel) for id_, panel in new.items())
        lines.append(f"panels are in another order in the file: {order}")
    for kind, word in (("templating", "variable"), ("annotations", "annotation")):
        was, is_ = _named(before, kind), _named(after, kind)
        for name in [*was, *(name for name in is_ if name not in was)]:
            lines += _part(f"{word} {name!r}", was.get(name), is_.get(name))
        if list(was) != list(is_) and sorted(was) == sorted(is_):
            lines.append(f"{word}s are in another order: {', '.join(is_)}")
    return lines


def _part(name: str, before: Model | None, after: Model | None) -> list[str]:
    if before is None or after is None:
        return [f"{name}: {'added' if before is None else 'removed'}"]
    changes = [f"  {line}" for line in _changes(before, after)]
    return [f"{name}:", *changes] if changes else []


def _without(model: Model, *names: str) -> dict[str, Any]:
    return {key: value for key, value in model.items() if key not in names}


def _panels(model: Model) -> dict[Any, Model]:
    """Return the panels, those in collapsed rows too, by id: a panel with another title is still the same panel."""
    return {
        panel.get("id"): _without(panel, "panels") if panel.get("panels") else panel
        for panel in panels(model)
    }


def _panel_name(id_: Any, panel: Model) -> str:
    return f"panel {panel.get('title') or panel.get('type', '')!r} (#{id_})"


def _named(model: Model, kind: str) -> dict[str, Model]:
    return {str(each.get("name")): each for each in model.get(kind, {}).get("list", [])}


def _changes(before: Any, after: Any, path: str = "") -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted(before.keys() | after.keys()):
            yield from _changes(
                before.get(key, _ABSENT), after.get(key, _ABSENT), f"{path}.{key}" if path else str(key)
            )
    elif isinstance(before, list) and isinstance(after, list):
        yield from _list_changes(before, after, path)
    elif type(before) is not type(after) or before != after:
        yield from _value(path, before, after)


_ABSENT = object()


def _list_changes(before: list[Any], after: list[Any], path: str) -> Iterator[str]:
    key = next((key for key in _IDENTITY if _tells_apart(key, before) and _tells_apart(key, after)), None)
    if key is None or not before or not after:
        if before != after:
            yield from _value(path, before, after)
        return
    old, new = ({_label(item[key]): item for item in items} for items in (before, after))
    for label in [*old, *(label for label in new if label not in old)]:
        yield from _changes(old.get(label, _ABSENT), new.get(label, _ABSENT), f"{path}[{label}]")
    if list(old) != list(new) and sorted(old) == sorted(new):
        yield f"{path}: in another order: {', '.join(new)}"


def _tells_apart(key: str, items: Sequence[Any]) -> bool:
    if not all(isinstance(item, Mapping) and key in item for item in items):
        return False
    labels = [_label(item[key]) for item in items]
    return len(set(labels)) == len(labels)


def _label(value: Any) -> str:
    if isinstance(value, Mapping):
        return str(value.get("options", value))
    return str(value)


def _value(path: str, before: Any, after: Any) -> Iterator[str]:
    texts = [value for value in (before, after) if isinstance(value, str)]
    if len(texts) == 2 and any("\n" in text for text in texts):
        yield f"{path}:"
        for line in difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=1):
            if not line.startswith(("---", "+++", "@@")):
                yield f"  {line}"
    elif before is _ABSENT:
        yield f"{path}: {_shown(after)} (new)"
    elif after is _ABSENT:
        yield f"{path}: was {_shown(before)}, now not there"
    else:
        yield f"{path}: {_shown(before)} -> {_shown(after)}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= 200 else text[:200] + "…"
