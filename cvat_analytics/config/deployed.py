"""What is deployed on a host, as the last deploy that came to its end has noted it there, and how the inventory differs from it.

Between an edit of the inventory and the next deploy the stack runs with what was deployed: whoever asks a part must ask it
there. A deploy that is cut off leaves the note as it was; what it has brought so far is then found at the inventory's addresses.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from cvat_analytics.config.reference import as_written
from cvat_analytics.config.settings import Settings

if TYPE_CHECKING:
    from cvat_analytics.config.inventory_file import Host
    from cvat_analytics.config.topology import Topology

NOTE = "/var/lib/cvat-analytics/deployed.json"
"""Where it is noted on a host, for root: there is no password in it, but whom alerts go to is nobody else's business."""
FILES = "/var/lib/cvat-analytics/deployed-files"
"""Which files the last deploy that came to its end has left on a host, for root: of each its sha256, mode, user, group and path."""

_OPERATORS_OWN = {"secrets_file", "package_signing_key", "vector_tls_key", "gateway_certificate_key",
                  "health_timeout", "minimum_free_disk"}  # fmt: skip
"""Settings that say where something is on the machine that deploys, or how a deploy behaves: none of it is on a host afterwards."""


LOGIN = ("ssh_hostname", "ssh_port", "ssh_user", "_sudo")
"""What is noted of the way to a host: no password, and no file on the operator's machine."""

Logins = Mapping[str, Mapping[str, Any]]
"""The way to each host, by its name."""


@dataclass(frozen=True)
class Deployed:
    """What is deployed on a host."""

    settings: Settings
    components: tuple[str, ...]
    hosts: Logins = field(default_factory=dict)
    """All hosts of the stack, those included that have left the inventory since, and were not uninstalled."""


@dataclass(frozen=True)
class Difference:
    """A setting, or a group, that the inventory has otherwise than it is deployed. Both values are in an operator's words."""

    name: str
    hosts: tuple[str, ...]
    inventory: str
    deployed: str

    def __str__(self) -> str:
        """Return it as a line, with what to do."""
        return (
            f"{self.name} of {', '.join(self.hosts)}: the inventory says {self.inventory}, deployed is {self.deployed}: "
            "run `cvat-analytics deploy`"
        )


def note(settings: Settings, components: Sequence[str], hosts: Logins | None = None) -> str:
    """Return what is noted of a host with `settings` that runs `components`, in a stack of these `hosts`."""
    values = settings.model_dump(exclude=_OPERATORS_OWN)
    noted = {"components": components, "settings": values, "hosts": hosts or {}}
    return json.dumps(noted, default=_plain, indent=1) + "\n"


def logins(hosts: Iterable[Host]) -> Logins:
    """Return what is noted of the way to each host."""
    return {host.name: {key: host.data[key] for key in LOGIN if key in host.data} for host in hosts}


def left(hosts: Iterable[Host], noted: Iterable[Logins]) -> Logins:
    """Return which of the hosts that were `noted` are not among the `hosts` of the inventory, be it under another name."""
    there = logins(hosts)
    places = {_place(name, login) for name, login in there.items()}
    every = {name: login for each in noted for name, login in each.items()}
    return {
        name: login
        for name, login in sorted(every.items())
        if name not in there and _place(name, login) not in places
    }


def _place(name: str, login: Mapping[str, Any]) -> tuple[str, int]:
    return str(login.get("ssh_hostname") or name), int(login.get("ssh_port") or 22)


def has_left(name: str) -> str:
    """Return what there is to say of a host that has left."""
    return (
        f"host {name}: is in the inventory no more, and what deploys have made there was not all taken away: "
        f"`cvat-analytics uninstall --limit {name}` takes it away, with --purge its data, too"
    )


def noted_hosts(text: str) -> Logins:
    """Return the hosts of the stack by the note `text`; none where there is no such note."""
    try:
        found: Logins = json.loads(text).get("hosts", {})
    except (ValueError, AttributeError):
        return {}
    return found


def without(text: str, name: str) -> str:
    """Return the note `text` without a host that has left."""
    noted = json.loads(text)
    noted["hosts"].pop(name, None)
    return json.dumps(noted, indent=1) + "\n"


def _plain(value: Any) -> str:
    if isinstance(value, timedelta):
        return f"{value // timedelta(milliseconds=1)}ms"
    # of a file of the operator's, its name: the directory is another on another operator's machine
    return value.name if isinstance(value, Path) else str(value)


def read(text: str, planned: Settings) -> Deployed | None:
    """Return what the note `text` says of a host that is to have the settings `planned`.

    None where there is no note yet, or none that this version understands. The operator's own files are those of `planned`.
    """
    try:
        noted = json.loads(text)
        values = {name: value for name, value in noted["settings"].items() if name in Settings.model_fields}
        for name, value in values.items():
            ours = getattr(planned, name)
            if value is not None and isinstance(ours, Path) and ours.name == value:
                values[name] = ours
        values |= {name: getattr(planned, name) for name in _OPERATORS_OWN}
        return Deployed(Settings(**values), tuple(noted["components"]), noted.get("hosts", {}))
    except (ValueError, TypeError, LookupError, AttributeError, ValidationError):
        return None


def differences(topology: Topology, deployed: Mapping[str, Deployed]) -> list[Difference]:
    """Return how the inventory differs from what is `deployed` on those hosts of which that is known, each once."""
    hosts: dict[tuple[str, str, str], list[str]] = {}
    for host, there in deployed.items():
        planned = topology.settings[host]
        for name in Settings.model_fields.keys() - _OPERATORS_OWN:
            values = getattr(planned, name), getattr(there.settings, name)
            if values[0] != values[1]:
                ours, theirs = (" ".join(as_written(value, name).split()) for value in values)
                hosts.setdefault((f"setting '{name}'", ours, theirs), []).append(host)
        for component in set(topology.components(host)) ^ set(there.components):
            is_planned = component in topology.components(host)
            words = (
                ("it runs there", "that it does not")
                if is_planned
                else ("it does not run there", "that it does")
            )
            hosts.setdefault((f"part '{component}'", *words), []).append(host)
    return [
        Difference(name, tuple(members), inventory, there)
        for (name, inventory, there), members in sorted(hosts.items())
    ]
