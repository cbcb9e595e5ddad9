"""Read a pyinfra inventory into the stack's topology, settings and secrets, without touching a host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvat_analytics import secrets, topology
from cvat_analytics.errors import InputError
from cvat_analytics.settings import GROUPS
from cvat_analytics.topology import Topology

if TYPE_CHECKING:
    from pyinfra.api.inventory import Inventory

# How to reach a host is pyinfra's business (its connectors' data keys and its global arguments)
_CONNECTOR_PREFIXES = ("_", "ssh_", "docker_", "podman_", "chroot_", "local_", "fake_")


@dataclass(frozen=True)
class Stack:
    """What an inventory describes. `secrets_file` may not exist yet."""

    topology: Topology
    secrets_file: Path
    hosts: Inventory

    def secrets(self) -> secrets.Secrets:
        """Return the passwords. Raises InputError when the file is missing or not private."""
        return secrets.load(self.secrets_file)


def load(path: Path) -> Stack:
    """Return what the inventory file `path` (with its `group_data/`) describes.

    Raises InputError naming every mistake in it.
    """
    # pyinfra's command line is imported here only: it brings gevent, which the embedded stack does without
    from pyinfra.api import State
    from pyinfra.context import ctx_state
    from pyinfra_cli.inventory import make_inventory_from_files

    if not path.is_file():
        raise InputError(
            f"inventory {path}: there is no such file. Copy inventory/hosts.py and put your hosts there"
        )
    try:
        with ctx_state.use(State()):  # pyinfra notes there which file it executes
            hosts = make_inventory_from_files(str(path))
    except (SyntaxError, NameError, TypeError, AttributeError, ImportError) as error:
        raise InputError(f"inventory {path}: is not usable Python: {error}") from None
    except Exception as error:  # pyinfra wraps whatever the file raises
        raise InputError(f"inventory {path}: {getattr(error, 'exception', error)}") from None
    return describe(hosts, path)


def describe(hosts: Inventory, path: Path) -> Stack:
    """Return the stack of an inventory that pyinfra has already read from the file `path`."""
    groups = {group: [host.name for host in hosts.groups.get(group, [])] for group in GROUPS}
    values = {
        host.name: setting_values(host.data.dict())  # type: ignore[no-untyped-call]
        for host in hosts
    }
    described = topology.build(groups, values, where=f"inventory {path}")
    settings = described.settings[described.clickhouse_host]
    return Stack(described, settings.secrets_file or path.parent / "secrets.json", hosts)


def setting_values(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a host's data are settings of this project, known or not."""
    return {name: value for name, value in data.items() if not name.startswith(_CONNECTOR_PREFIXES)}
