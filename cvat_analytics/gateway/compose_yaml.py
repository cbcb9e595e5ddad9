"""The YAML of compose files as Docker Compose reads it: its encodings, its tags `!reset` and `!override`, and how files are merged.

What differs from other YAML was read in compose-go (`loader/reset.go`, `override/merge.go`) and is held against the real program in
tests/gateway/test_compose.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import yaml

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError

RESET, OVERRIDE = "!reset", "!override"
_YAML = "tag:yaml.org,2002:"
_MOST = 100_000
"""Nodes of one document, as in Docker Compose."""


@dataclass(frozen=True)
class Value:
    """What stands in a compose file, and where: text (None for null), a list, or a mapping."""

    data: str | list[Value] | dict[str, Value] | None
    file: str
    line: int
    tag: str = ""

    def wrong(self, key: str, reason: str) -> InputError:
        """Return the error that names this place."""
        return InputError(Code.COMPOSE_FILE, f"{self.file}: line {self.line}: {key} {reason}")

    def mapping(self, key: str) -> dict[str, Value]:
        """Return the mapping that this is; null is an empty one. Raises InputError otherwise."""
        if isinstance(self.data, dict):
            return {name: value for name, value in self.data.items() if value.tag != RESET}
        if self.data is None:
            return {}
        raise self.wrong(key, "is not a mapping (NAME: VALUE)")

    def items(self, key: str) -> list[Value]:
        """Return the list that this is; one text is a list too. Raises InputError for a mapping."""
        if isinstance(self.data, dict):
            raise self.wrong(key, "is not a list")
        found = self.data if isinstance(self.data, list) else [] if self.data is None else [self]
        return [item for item in found if item.tag != RESET]

    def text(self, key: str) -> str:
        """Return the text that this is. Raises InputError otherwise."""
        if isinstance(self.data, str):
            return self.data
        raise self.wrong(key, "is not a text")


def documents(content: bytes, file: str) -> list[Value]:
    """Return the documents in a file's `content`. Raises InputError, which names the line, for what Docker Compose does not read."""
    try:
        return [_Reading(file).value(node) for node in yaml.compose_all(content, Loader=yaml.SafeLoader)]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise InputError(
            Code.COMPOSE_FILE, f"{file}: {where}is no docker-compose.yml: {error.problem or error.context}"
        ) from None
    except yaml.reader.ReaderError as error:
        line = content[: error.position].count(b"\n") + 1
        raise InputError(
            Code.COMPOSE_FILE,
            f"{file}: line {line}: is not text that Docker Compose reads ({error.reason}). Save it as UTF-8",
        ) from None
    except RecursionError:
        raise InputError(Code.COMPOSE_FILE, f"{file}: is nested too deep") from None


class _Reading:
    def __init__(self, file: str) -> None:
        self._file = file
        self._done: dict[tuple[int, bool], Value] = {}
        self._open: set[int] = set()

    def value(self, node: yaml.Node, plain: bool = False) -> Value:
        """Return what `node` says; one that several places refer to is read once. Its tags mean nothing in a `plain` one."""
        known = self._done.get((id(node), plain))
        if known:
            return known
        line = node.start_mark.line + 1
        if id(node) in self._open:
            raise InputError(Code.COMPOSE_FILE, f"{self._file}: line {line}: is a part of itself")
        if len(self._done) > _MOST:
            raise InputError(
                Code.COMPOSE_FILE,
                f"{self._file}: has more than {_MOST} parts, which Docker Compose does not read",
            )
        self._open.add(id(node))
        tag = node.tag if node.tag in (RESET, OVERRIDE) and not plain else ""
        within = plain or bool(tag)
        data: str | list[Value] | dict[str, Value] | None
        if isinstance(node, yaml.MappingNode):
            data = self._mapping(node, within)
        elif isinstance(node, yaml.SequenceNode):
            data = [self.value(item, within) for item in node.value]
        else:
            data = None if node.tag == f"{_YAML}null" else node.value
        self._open.remove(id(node))
        self._done[id(node), plain] = value = Value(data, self._file, line, tag)
        return value

    def _mapping(self, node: yaml.MappingNode, plain: bool) -> dict[str, Value]:
        found: dict[str, Value] = {}
        merged: list[Value] = []
        seen: dict[str, int] = {}
        for key, child in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise InputError(
                    Code.COMPOSE_FILE, f"{self._file}: line {line}: has a key that is not a text"
                )
            if key.value in seen:
                raise InputError(
                    Code.COMPOSE_FILE,
                    f"{self._file}: line {line}: has the key {key.value!r} a second time, after line {seen[key.value]}",
                )
            seen[key.value] = line
            value = self.value(child, plain)
            if key.tag == f"{_YAML}merge":
                merged += value.data if isinstance(value.data, list) else [value]
            else:
                found[key.value] = value
        for value in merged:
            if not isinstance(value.data, dict):
                raise value.wrong("<<", "is not a mapping")
            for name, inherited in value.data.items():
                found.setdefault(name, inherited)
        return found


def merged(base: Value | None, over: Value, path: tuple[str, ...]) -> Value:
    """Return what a later file (`over`) makes of an earlier one's value at `path`; the later one's tags stay in it."""
    if base is None or over.tag:
        return over
    if path[:1] == ("services",) and path[2:] == ("environment",):
        return _environment(base, over)
    if path[:1] == ("services",) and path[2:] == ("env_file",):
        there = base.items("env_file")
        known = [plain(item) for item in there]
        return replace(
            over, data=there + [item for item in over.items("env_file") if plain(item) not in known]
        )
    if over.data is None:
        return base
    if isinstance(base.data, dict) and isinstance(over.data, dict):
        both = dict(base.data)
        for name, value in over.data.items():
            both[name] = merged(both.get(name), value, (*path, name))
        return replace(over, data=both)
    if isinstance(base.data, list) and isinstance(over.data, list):
        return replace(over, data=base.data + over.data)
    return over


def _environment(base: Value, over: Value) -> Value:
    """Each variable counts once. From an earlier mapping `!reset` takes one away, from a list it does not."""
    resets = [item for item in assignments(over) if item.tag == RESET]
    taken = {item.data for item in resets} if isinstance(base.data, dict) else set()
    kept = [item for item in assignments(base) if name_of(item) not in taken]
    found = {name_of(item): item for item in (*kept, *assignments(over)) if item.tag != RESET}
    return replace(over, data=[*found.values(), *resets])


def name_of(assignment: Value) -> str:
    """Return the NAME of NAME=VALUE, or of NAME alone."""
    return str(assignment.data).partition("=")[0]


def assignments(environment: Value) -> list[Value]:
    """Return an environment, a list or a mapping, as its NAME=VALUE, or NAME alone. Raises InputError when it is neither."""
    key = "environment"
    if environment.data is None:
        return []
    if isinstance(environment.data, list):
        for item in environment.data:
            item.text(key)
        return environment.data
    if not isinstance(environment.data, dict):
        raise environment.wrong(key, "is neither a list nor a mapping")
    found = []
    for name, value in environment.data.items():
        if isinstance(value.data, (dict, list)) and value.tag != RESET:
            raise value.wrong(f"{key}.{name}", "is not a text")
        alone = value.data is None or value.tag == RESET
        found.append(replace(value, data=name if alone else f"{name}={value.data}"))
    return found


def plain(value: Value) -> object:
    """Return what `value` says, without where it stands."""
    if isinstance(value.data, dict):
        return {name: plain(item) for name, item in sorted(value.data.items())}
    return [plain(item) for item in value.data] if isinstance(value.data, list) else value.data


def settled(value: Value) -> Value:
    """Return `value` with its tags carried out: what is to go is gone."""
    if isinstance(value.data, dict):
        kept: Mapping[str, Value] = {
            name: settled(item) for name, item in value.data.items() if item.tag != RESET
        }
        return replace(value, data=dict(kept), tag="")
    if isinstance(value.data, list):
        return replace(value, data=[settled(item) for item in value.data if item.tag != RESET], tag="")
    return replace(value, tag="")
