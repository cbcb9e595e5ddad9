"""Which package each component's program comes from, and whether a service still runs the program from before it was installed."""

from __future__ import annotations

import shlex

PACKAGES = {
    "clickhouse": "clickhouse-common-static",
    "vector": "vector",
    "grafana": "grafana",
    "gateway": "nginx",
}
"""By component: the package with its program. The events API is this project's own."""


def runs_older(unit: str, package: str) -> str:
    """Return a command of sh that succeeds when `unit` was started before `package` was installed as it is now.

    dpkg writes the list of a package's files when it unpacks them. A date in the future says nothing: a clock was wrong.
    """
    listed = shlex.quote(f"/var/lib/dpkg/info/{package}.list")
    started = f'"$(TZ=UTC systemctl show --value -p ExecMainStartTimestamp {shlex.quote(unit)})"'
    return (
        f"( systemctl -q is-active {shlex.quote(unit)} && [ -e {listed} ] && installed=$(stat -c %Y {listed}) && "
        f'started=$(date -d {started} +%s) && [ "$installed" -gt "$started" ] && [ "$installed" -le "$(date +%s)" ] ) 2>/dev/null'
    )
