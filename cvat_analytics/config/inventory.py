"""Read a pyinfra inventory into the stack's topology, settings and secrets, without touching a host."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.config import certificate_names, host_data, inventory_file, topology
from cvat_analytics.config.inventory_file import Host
from cvat_analytics.config.settings import COMPONENTS, Settings
from cvat_analytics.config.topology import Topology
from cvat_analytics.credentials import secrets

if TYPE_CHECKING:
    from cvat_analytics.credentials.certificates import Authority


@dataclass(frozen=True)
class Stack:
    """What an inventory describes. The secrets file may not exist yet."""

    topology: Topology
    secrets_file: Path
    hosts: Sequence[Host]
    preview: bool = False
    """Whether nothing may be written beside the inventory: what a deploy would make there is then made up."""

    @property
    def authority(self) -> Authority:
        """Return the stack's own authority, whose files may not exist yet."""
        # with the library that makes certificates, which most commands can do without
        from cvat_analytics.credentials.certificates import Authority

        permitted = certificate_names.of_stack(self.topology)
        return Authority(self.secrets_file.parent / "certificates", self.preview, permitted)

    @property
    def makes_secrets(self) -> bool:
        """Return whether passwords may be generated: a file that a setting names must be there.

        New ones would change every password without anybody noticing.
        """
        return not any(settings.secrets_file for settings in self.topology.settings.values())

    def secrets(self) -> secrets.Secrets:
        """Return the passwords. Raises InputError when the file is missing or not private."""
        if self.preview and self.makes_secrets:
            return secrets.preview(self.secrets_file)
        return secrets.load(self.secrets_file)


def load(path: Path) -> Stack:
    """Return what the inventory file `path` (with its `group_data/`) describes.

    Raises InputError naming every mistake in it.
    """
    if not path.is_file():
        raise InputError(
            Code.INVENTORY_MISSING,
            f"inventory {path}: there is no such file. Copy inventory/hosts.py and put your hosts there",
        )
    return describe(inventory_file.read(path), path)


def describe(hosts: Sequence[Host], path: Path, *, preview: bool = False) -> Stack:
    """Return the stack of the `hosts` that pyinfra has read from the file `path`. Raises InputError as `load`.

    `preview`: as in `Stack`.
    """
    # pyinfra takes any list for a group: with a mistyped one a stack would go without that part, and nobody would say so
    for group in sorted({group for host in hosts for group in host.groups} - set(COMPONENTS)):
        if near := difflib.get_close_matches(group, COMPONENTS, n=1, cutoff=0.85):
            raise InputError(
                Code.HOST_NAME_UNKNOWN,
                f"inventory {path}: unknown group {group!r}: did you mean {near[0]!r}?",
            )
    groups = {group: [host.name for host in hosts if group in host.groups] for group in COMPONENTS}
    wrong = {host.name: dict(host_data.mistakes(host.data, Settings.model_fields)) for host in hosts}
    values = {
        host.name: {
            name: value
            for name, value in host.data.items()
            if not host_data.is_pyinfras(name) and name not in wrong[host.name]
        }
        for host in hosts
    }
    code = Code.SETTING_WRONG
    mistakes = dict.fromkeys(f"inventory {path}: {each}" for own in wrong.values() for each in own.values())
    try:
        described = topology.build(groups, values, where=f"inventory {path}")
    except InputError as error:
        code = code if mistakes else error.code
        mistakes |= dict.fromkeys(str(error).splitlines())
    if mistakes:
        raise InputError(code, "\n".join(mistakes))
    settings = described.settings[described.clickhouse_host]
    return Stack(described, settings.secrets_file or path.parent / "secrets.json", hosts, preview)
