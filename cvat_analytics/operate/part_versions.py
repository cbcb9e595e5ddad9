"""What a host says of its parts' versions, sizes and room, and whether there is room for another version: for the plan and the deploy."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from cvat_analytics.config.versions import OWN, Step
from cvat_analytics.connect.volumes import size
from cvat_analytics.gateway import gateway
from cvat_analytics.rendering import plugin, programs
from cvat_analytics.rendering.files import Paths

_FILES = Paths()
_PLUGIN = f"{_FILES.grafana_plugins}/{plugin.NAME}/plugin.json"


def said(answer: str | None) -> dict[str, str]:
    """Return the answer to `question` as names and values."""
    return dict(line.split("=", 1) for line in (answer or "").splitlines() if "=" in line)


def free(said: Mapping[str, str]) -> int:
    """Return the free bytes below /var/lib."""
    return int(said.get("free") or 0) * 1024


def needed(part: str, said: Mapping[str, str]) -> int:
    """Return how many bytes another version of `part` needs: the new package, and what is kept of the one that is there."""
    return (int(said.get(f"{part}.size") or 0) * 2 + int(said.get(f"{part}.data") or 0)) * 1024


def without_room(step: Step, said: Mapping[str, str]) -> str:
    """Return why there is no room for a step, with what to do; empty where there is."""
    if needed(step.part, said) <= free(said):
        return ""
    return (
        f"{step}: {size(free(said))} are free in /var/lib, and {size(needed(step.part, said))} are needed for the new package and a copy of what "
        "is there now. Make room (docs/how-to/disk-is-full.md)"
    )


def question(components: Sequence[str]) -> str:
    """Return the lines of sh that tell of a host's versions, sizes and room, each as `name=value`; sizes in KiB."""
    lines = [
        "echo free=$(df -Pk /var/lib | awk 'NR == 2 {print $4}')",
        "echo architecture=$(dpkg --print-architecture)",
        '. /etc/os-release; echo "os=$ID-$VERSION_ID"',
    ]
    for part, package in programs.PACKAGES.items():
        if part in components and part not in OWN:
            show = f"dpkg-query -W -f '${{db:Status-Status}} {part}=${{Version}}\\n{part}.size=${{Installed-Size}}\\n' {package} 2>/dev/null"
            lines.append(f"{show} | sed -n 's/^installed //p; /^{part}.size=[0-9]/p'")
    if "vector" in components:
        places = " ".join(
            f"{shlex.quote(f'{_FILES.vector_data}/{place}')}" for place in ("buffer", "substitute")
        )
        lines.append(f"echo vector.data=$(du -sck {places} 2>/dev/null | tail -n 1 | cut -f 1)")
    if "grafana" in components:
        lines.append(f"echo grafana.data=$(du -sk {_FILES.grafana_data}/grafana.db 2>/dev/null | cut -f 1)")
        lines.append(
            f"""echo plugin=$(sed -n 's/.*"version": *"\\([^"]*\\)".*/\\1/p' {_PLUGIN} 2>/dev/null | head -n 1)"""
        )
    if "events_api" in components:
        note = f"/var/lib/cvat-analytics/{_FILES.events_api_program.rpartition('/')[2]}.sha256"
        lines.append(f"echo events_api=$(cat {note} 2>/dev/null)")
        lines.append(f"echo events_api.size=$(du -sk {_FILES.events_api_program} 2>/dev/null | cut -f 1)")
    if "gateway" in components:
        lines.append(f"echo gateway=$({gateway.digest_there(_FILES.gateway_config)})")
    return "\n".join([*lines, "true"])
