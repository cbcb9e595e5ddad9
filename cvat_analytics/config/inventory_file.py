"""Read an inventory file and its `group_data/` as pyinfra does: into hosts, each with its groups and its data.

Nearly every inventory is plain Python, and is read here. Any other is read by pyinfra in a process of its own, which takes
half a second: its command line replaces Python's sockets and threads for the whole process (gevent), and what an inventory
imports would stay. tests/config/test_inventory_file.py holds the two ways to each other.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError

_LOCAL = "@local"
"""The one of pyinfra's connectors that makes no data of a host's name."""


@dataclass(frozen=True)
class Host:
    """A host as the inventory has it: its groups, and its data with that of its groups merged in."""

    name: str
    groups: Sequence[str]
    data: Mapping[str, Any]


class _NotPlainError(Exception):
    """The inventory needs what only pyinfra's own process has."""


def read(path: Path) -> list[Host]:
    """Return the hosts of the inventory file `path`. Raises InputError when it cannot be read."""
    output = io.StringIO()
    # whatever the operator's code raises: pyinfra then says what is wrong, in its own words
    with contextlib.suppress(Exception, SystemExit), contextlib.redirect_stdout(output):
        with contextlib.chdir(path.absolute().parent):  # where pyinfra is started below
            hosts = plain(path.absolute())
        if not output.getvalue():
            return hosts
    return by_pyinfra(path)


def by_pyinfra(path: Path) -> list[Host]:
    """Return the hosts as pyinfra's command line reads them. Raises InputError when it cannot."""
    command = [sys.executable, "-m", "pyinfra", str(path.absolute()), "debug-inventory", "--json"]
    answer = subprocess.run(command, cwd=path.absolute().parent, capture_output=True, text=True, check=False)
    try:
        return [Host(host["name"], host["groups"], host["data"]) for host in json.loads(answer.stdout)]
    except ValueError:
        reason = next(
            (line for line in reversed(answer.stderr.splitlines()) if "Error" in line), "it is not usable"
        )
        raise InputError(Code.INVENTORY_UNREADABLE, f"inventory {path}: {reason.strip()}") from None


def plain(path: Path) -> list[Host]:
    """Return the hosts of an inventory that imports nothing but Python's own library and names hosts without connectors.

    Raises whatever reading another one comes to.
    """
    groups = {name: value for name, value in _executed(path)[0].items() if _is_group(name, value)}
    folder = path.parent.resolve() / "group_data"
    group_data = {file.stem: _group_data(file) for file in folder.glob("*.py")}
    everybody, common = _parts(groups.pop("all")) if "all" in groups else (_members(groups), {})
    groups.setdefault(path.name.rpartition(".")[0], everybody)
    common = {**common, **group_data.get("all", {})}
    of_host: dict[str, dict[str, Any]] = {}
    of_groups: dict[str, dict[str, Any]] = {}
    names: dict[str, list[str]] = {}
    for group, value in groups.items():
        hosts, data = _parts(value)
        for name, own in map(_parts, hosts):
            of_host.setdefault(name, {}).update(own)
            of_groups.setdefault(name, {}).update({**data, **group_data.get(group, {})})
            names.setdefault(name, []).append(group)
    for name, own in map(_parts, everybody):
        if name.startswith("@"):
            if name != _LOCAL:
                raise _NotPlainError(name)
            names.setdefault(name, []).append(name)
        of_host.setdefault(name, {}).update(own)
    return [
        Host(name, names.get(name, []), {**common, **of_groups.get(name, {}), **of_host[name]})
        for name in dict.fromkeys(_parts(each)[0] for each in everybody)
    ]


def _executed(path: Path) -> tuple[dict[str, Any], set[str]]:
    """Return the names that the file binds, and those of them that it imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    for module in _imports(tree):
        if module.partition(".")[0] not in sys.stdlib_module_names:
            raise _NotPlainError(module)
    namespace: dict[str, Any] = {"__file__": str(path)}
    exec(compile(tree, str(path), "exec"), namespace)  # noqa: S102 - an inventory is a program of the operator's
    statements = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    imported = {alias.asname or alias.name.partition(".")[0] for node in statements for alias in node.names}
    return namespace, imported


def _imports(tree: ast.AST) -> Iterator[str]:
    """Yield the modules that are imported anywhere in the file; a relative import has no name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "" if node.level else str(node.module)


def _group_data(file: Path) -> dict[str, Any]:
    """Return what the file says about its group: what it names in `__all__`, otherwise all that it does not import."""
    namespace, imported = _executed(file)
    chosen = namespace.get("__all__", namespace.keys() - imported)
    return {name: value for name, value in namespace.items() if name in chosen and not name.startswith("__")}


def _is_group(name: str, value: Any) -> bool:
    """Return whether a name that the inventory binds is a group: a list of hosts, or a tuple of that and its data."""
    if name.startswith("_") or not isinstance(value, list | tuple):
        return False
    return all(isinstance(host, str | tuple) for host in _parts(value)[0])


def _parts(value: Any) -> tuple[Any, dict[str, Any]]:
    """Return hosts, or a host's name, and the data that may stand beside them in a tuple."""
    return (value[0], value[1]) if isinstance(value, tuple) else (value, {})


def _members(groups: Mapping[str, Any]) -> list[str]:
    """Return the names of all hosts, in the order in which the groups have them."""
    return list(dict.fromkeys(_parts(host)[0] for value in groups.values() for host in _parts(value)[0]))
