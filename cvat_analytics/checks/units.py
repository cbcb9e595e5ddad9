"""What systemd has to say of a host's parts: which run, since when, in which version, and what beside them does not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cvat_analytics.rendering import programs
from cvat_analytics.rendering.files import UNITS, Paths

if TYPE_CHECKING:
    from cvat_analytics.config.settings import Settings
    from cvat_analytics.connect.shell import Shell

_PLUGIN = f"{Paths().grafana_plugins}/grafana-clickhouse-datasource"
_FIREWALL = "cvat-analytics-firewall"
_PACKAGES = {
    "clickhouse": "clickhouse-server",
    "vector": "vector",
    "grafana": "grafana",
    "events_api": "",
    "gateway": "nginx",
}
"""Each component's package, whose version is the component's."""
_TIMERS = {"vector": ("cvat-analytics-journal",)}
"""Timers that do a part of a component's work, by the name of their two units."""
_KEEPERS = {"vector": ("cvat-analytics-room",)}
"""Services that do a part of a component's work, and do so all the time."""
STARTING_SECONDS = 90.0
"""How long what has been started may take until its first work is seen."""
_PATIENCE = 30.0
"""Seconds for a host's answer about its units: one that has begun to hang does not hold up what is known of the others."""


@dataclass(frozen=True)
class Unit:
    """A component's unit on a host, and what belongs to it there."""

    active: bool
    version: str = ""
    started: float | None = None
    """When it was started, by the host's clock; None where that is not known."""
    now: float | None = None
    """What the host's clock shows."""
    hostname: str = ""
    """The host's own name for itself, under which Vector reports; empty where it is not known."""
    restarts: int = 0
    """How often systemd has started it again since somebody last did."""
    older: bool = False
    """Whether it still runs the program from before its package was installed as it is now."""
    faults: Sequence[str] = field(default=())
    """What is not as a deploy has left it, with what to do."""
    log: str = "its log"
    """Where its log is, as a command where it needs one."""
    mend: str = "deploy again"
    """What puts it right again."""

    @property
    def young(self) -> bool:
        """Return whether it has just been started; one that ends again and again is not young each time."""
        if self.started is None or self.now is None or self.restarts:
            return False
        return self.now - self.started < STARTING_SECONDS


def of(shell: Shell, components: Iterable[str], settings: Settings) -> dict[str, Unit]:
    """Return how the units of `components` are on a host. Raises UnreachableError when it does not say."""
    components = tuple(components)
    lines = ['echo "host - $(date +%s) $(hostname)"', *(_question(each) for each in components)]
    if components and (settings.firewall or "gateway" in components):
        # every host has its own rules, which are no part by themselves
        lines.append(f'echo "rules {components[0]} $(systemctl is-active {_FIREWALL})"')
    script = "\n".join([*lines, "true"])
    answer = shell.run(script, _PATIENCE)
    said = {}
    for line in answer.splitlines():
        words = ["unit", *line.split()] if line.startswith(components) else line.split()
        said[tuple(words[:2])] = words[2:]
    now, hostname = _first(2, said.get(("host", "-")))
    units = {}
    for component in components:
        active, version = _first(2, said.get(("unit", component)))
        restarts, started = _first(2, said.get(("since", component)))
        units[component] = Unit(
            # what reloads its settings runs while it does
            active in ("active", "reloading"),
            version,
            _seconds(started),
            _seconds(now),
            hostname,
            int(_seconds(restarts) or 0),
            ("older", component) in said,
            _faults(component, said),
            f"`journalctl -u {UNITS[component]}`",
        )
    return units


def _first(count: int, words: Sequence[str] | None) -> Sequence[str]:
    """Return so many words, empty where there are fewer."""
    return [*(words or ()), *[""] * count][:count]


def _seconds(text: str) -> float | None:
    return float(text) if text.isdigit() else None


def _question(component: str) -> str:
    """Return the lines of sh that tell of a component: each prints what it is about and what is so."""
    unit, package = UNITS[component], _PACKAGES[component]
    lines = [
        f'echo "{component} $(systemctl is-active {unit}) '
        + (f"$(dpkg-query -W -f '${{Version}}' {package} 2>/dev/null)" if package else "")
        + '"',
        f'echo "since {component} $(systemctl show --value -p NRestarts {unit}) $(date -d "$(TZ=UTC systemctl show --value -p ActiveEnterTimestamp {unit})" +%s 2>/dev/null)"',
    ]
    if component in programs.PACKAGES:
        lines.append(
            f'if {programs.runs_older(unit, programs.PACKAGES[component])}; then echo "older {component}"; fi'
        )
    for timer in _TIMERS.get(component, ()):
        lines.append(
            f'enabled=$(systemctl is-enabled {timer}.timer 2>/dev/null); echo "timer {timer} $(systemctl is-active {timer}.timer) '
            f'${{enabled:-missing}} $(systemctl show --value -p Result {timer}.service)"'
        )
    for keeper in _KEEPERS.get(component, ()):
        lines.append(
            f'enabled=$(systemctl is-enabled {keeper}.service 2>/dev/null); echo "keeper {keeper} $(systemctl is-active {keeper}.service) ${{enabled:-missing}}"'
        )
    if component == "grafana":
        lines.append(f'[ -e {f"{_PLUGIN}/plugin.json"} ] || echo "missing {component}"')
    return "\n".join(lines)


def _faults(component: str, said: Mapping[tuple[str, ...], Sequence[str]]) -> list[str]:
    faults = []
    if ("older", component) in said:
        faults.append(
            f"it runs the program from before {programs.PACKAGES[component]} was installed as it is now: `systemctl restart {UNITS[component]}`, "
            "or deploy again"
        )
    for timer in _TIMERS.get(component, ()):
        match said.get(("timer", timer)):
            case [active, enabled, _] if (active, enabled) != ("active", "enabled"):
                faults.append(
                    f"{timer}.timer is {enabled if active == 'active' else active}, so that nothing keeps the journal within its size: "
                    f"`systemctl enable --now {timer}.timer`, or deploy again"
                )
            case [_, _, result] if result != "success":
                faults.append(
                    f"{timer}.service failed when it ran last ({result}): see `journalctl -u {timer}`"
                )
    for keeper in _KEEPERS.get(component, ()):
        match said.get(("keeper", keeper)):
            case [active, enabled] if (active, enabled) != ("active", "enabled"):
                faults.append(
                    f"{keeper}.service is {enabled if active == 'active' else active}, so that nothing stops the intake before the disk is full, "
                    f"or opens it again: `systemctl enable --now {keeper}.service`, or deploy again"
                )
    if ("missing", component) in said:
        faults.append(
            f"its ClickHouse plugin is not in {_PLUGIN}, so that no dashboard shows anything: deploy again"
        )
    if said.get(("rules", component), ["active"]) != ["active"]:
        faults.append(
            "the firewall's rules of this host are not loaded: the ports that they close are open to all, and nobody counts connections "
            f"to the gateway. See `journalctl -u {_FIREWALL}`, deploy again"
        )
    return faults
