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


def listed(package: str) -> str:
    """Return dpkg's list of a package's files, which it writes when it unpacks them: its date is when the package was installed as it is now."""
    return f"/var/lib/dpkg/info/{package}.list"


def has_run(unit: str, package: str, marker: str) -> str:
    """Return a command of sh that succeeds when `unit` was started with a `package` that was installed after the file `marker` was written.

    Whoever has started it, and whether it still runs: by a crash, the package's own script, or when the host was booted.
    """
    started = f'"$(TZ=UTC systemctl show --value -p ExecMainStartTimestamp {shlex.quote(unit)})"'
    return (
        f'( [ "$(find {shlex.quote(listed(package))} -newer {shlex.quote(marker)})" ] && at={started} && [ "$at" ] && '
        f'[ "$(date -d "$at" +%s)" -ge "$(stat -c %Y {shlex.quote(listed(package))})" ] ) 2>/dev/null'
    )


def runs_older(unit: str, package: str) -> str:
    """Return a command of sh that succeeds when `unit` was started before `package` was installed as it is now.

    A date in the future says nothing: a clock was wrong.
    """
    date = shlex.quote(listed(package))
    started = f'"$(TZ=UTC systemctl show --value -p ExecMainStartTimestamp {shlex.quote(unit)})"'
    return (
        f"( systemctl -q is-active {shlex.quote(unit)} && [ -e {date} ] && installed=$(stat -c %Y {date}) && "
        f'started=$(date -d {started} +%s) && [ "$installed" -gt "$started" ] && [ "$installed" -le "$(date +%s)" ] ) 2>/dev/null'
    )
