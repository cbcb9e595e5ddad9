"""Put Grafana's database of a backup in the place of the one that a host has: users, hand-made dashboards, the state of alerts.

Unlike tables it cannot be added to: the one that is there is kept beside it, and Grafana is down for some seconds.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.connect.shell import Shell
from cvat_analytics.operate.backup import over_ssh
from cvat_analytics.rendering.files import UNITS, Paths

if TYPE_CHECKING:
    from cvat_analytics.config.inventory import Stack
    from cvat_analytics.connect.remote import ReachedHost
    from cvat_analytics.operate.backup.running import Tell

KEPT = "grafana.db.before-restore"
"""How what the one before is called begins; the instant follows, so that a second restore keeps the first one's."""


def refuse_older(there: str, backed_up: str) -> None:
    """Raise InputError where the Grafana that is installed is older than the one whose database it is: it cannot read what that made."""
    if _parts(there) < _parts(backed_up):
        raise InputError(
            Code.BACKUP_VERSION,
            f"Grafana's database is of version {backed_up}, and {there} is installed, which may not understand it: set 'grafana_version' to "
            f"{backed_up} or newer, deploy, then run this again",
        )


def _parts(version: str) -> list[int]:
    return [int(part) for part in version.partition("-")[0].split(".") if part.isdigit()]


def put_back(shell: Shell, place: str) -> None:
    """Put the file `place` of the host there, which is removed. A run that was cut off is completed by another one.

    Raises UnreachableError where something fails; Grafana is started again whatever happens.
    """
    database, unit = f"{Paths().grafana_data}/grafana.db", UNITS["grafana"]
    kept = f"{Paths().grafana_data}/{KEPT}"
    new = f"{database}.new"
    shell.run(
        f"set -e; trap 'systemctl start {unit}' EXIT; install -o grafana -g grafana -m 640 {shlex.quote(place)} {new}; systemctl stop {unit}; "
        # what was never finished writing belongs to the one that goes
        # with what it has not taken over from beside it yet
        f"kept={kept}-$(date -u +%Y-%m-%dT%H-%M-%SZ); "
        f'for each in "" -wal -journal; do if [ -e {database}$each ]; then cp -aT --remove-destination {database}$each "$kept$each"; fi; done; '
        f"rm -f {database}-wal {database}-shm {database}-journal; "
        f"mv -fT {new} {database}; rm -f {shlex.quote(place)}"
    )


def restore(
    stack: Stack, hosts: Mapping[str, ReachedHost], name: str, target: str, version: str, tell: Tell
) -> None:
    """Bring Grafana's database of the backup `name`, which was of that version, back to the stack's first Grafana. Raises CvatAnalyticsError."""
    host = stack.topology.groups["grafana"][0]
    noted = hosts[host].deployed
    refuse_older((noted.settings if noted else stack.topology.settings[host]).grafana_version, version)
    shell = hosts[host].shell
    place = over_ssh.on_host(shell, target, ["fetch", name, "grafana"], tell)["place"]
    put_back(shell, str(place))
    tell({"step": "Grafana has its users and dashboards", "state": "done"})
