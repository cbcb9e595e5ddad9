"""Remember in ClickHouse when something was deployed, for the marks on the dashboards."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
from collections.abc import Iterable

from cvat_analytics.base.project import ROOT
from cvat_analytics.connect.access import Access
from cvat_analytics.connect.clickhouse_errors import plain_errors


def record(access: Access, hosts: Iterable[str], changes: int) -> None:
    """Note that `changes` operations have changed something on `hosts`. Raises CvatAnalyticsError."""
    client = access.client()
    row = (importlib.metadata.version("cvat-analytics"), revision(), ", ".join(sorted(set(hosts))), changes)
    with plain_errors():
        client.insert(
            f"{access.database}.deployments",
            [row],
            column_names=["version", "revision", "host", "changes"],
        )


def revision() -> str:
    """Return the checkout's git revision, with `+` when files differ from it; empty when git does not know."""
    if not shutil.which("git") or not (ROOT / ".git").exists():
        return ""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else ""
