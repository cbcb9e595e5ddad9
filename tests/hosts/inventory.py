"""Write an inventory as an operator would, for test hosts: where each host is, how to log in, and the settings."""

from __future__ import annotations

import pprint
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cvat_analytics.config.settings import GROUPS

from .host import SUDO_PASSWORD, Host


def write(
    directory: Path,
    hosts: Host | Mapping[str, Sequence[Host]],
    *,
    user: str = "ops",
    sudo_password: str | None = None,
    host_settings: Mapping[str, Mapping[str, Any]] | None = None,
    **settings: Any,
) -> Path:
    """Write `inventory/hosts.py` and `inventory/group_data/all.py` below `directory` and return the former.

    `hosts` is one host for everything, or the hosts of each group. `user` logs in and uses sudo; `ops-password` is
    asked for a password, which is the right one unless `sudo_password` is another, and is not there when that is empty. `host_settings` (by host name) are
    what one host has of its own beside its address; `settings` are everybody's. Hosts of the lab may listen on its network, which
    nobody else reaches.
    """
    settings = {"open_to_network": ["clickhouse", "vector", "grafana", "events_api"], **settings}
    groups = {group: [hosts] for group in GROUPS} if isinstance(hosts, Host) else hosts
    own = host_settings or {}
    text = '"""Test hosts."""\n\n'
    for group, members in groups.items():
        entries = [
            (host.name, {"address": host.ip, **_connection(host, user), **own.get(host.name, {})})
            for host in members
        ]
        text += f"{group} = {pprint.pformat(entries, sort_dicts=False)}\n"
    sudo: dict[str, Any] = {"_sudo": True}
    if user == "ops-password" and sudo_password != "":
        sudo["_sudo_password"] = sudo_password or SUDO_PASSWORD
    inventory = directory / "inventory"
    (inventory / "group_data").mkdir(parents=True, exist_ok=True)
    (inventory / "hosts.py").write_text(text)
    (inventory / "group_data" / "all.py").write_text(
        "".join(f"{name} = {value!r}\n" for name, value in {**sudo, **settings}.items())
    )
    return inventory / "hosts.py"


def _connection(host: Host, user: str) -> dict[str, Any]:
    """Return pyinfra's data for its SSH connector. Nothing of the tester's own SSH configuration takes part."""
    return {
        "ssh_hostname": host.ip,
        "ssh_port": 22,
        "ssh_user": user,
        "ssh_key": str(host.key),
        "ssh_known_hosts_file": str(host.known_hosts),
        "ssh_strict_host_key_checking": "yes",
        "ssh_config_file": "/dev/null",
    }
