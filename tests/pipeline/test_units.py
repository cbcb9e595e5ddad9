"""What systemd says of a host's parts is understood: what runs and since when, and what beside it does not.

The host is this machine's shell, with a stand-in for `systemctl` that answers as systemd does (systemctl(1)); tests/hosts asks the real one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cvat_analytics.checks import units
from cvat_analytics.checks.units import Unit
from cvat_analytics.config.validation import validate
from cvat_analytics.connect.shell import Shell

Asked = Callable[..., dict[str, Unit]]
STARTED = 1_790_000_000
USUAL = {
    "is-active": "active",
    "is-enabled": "enabled",
    "NRestarts": "0",
    "Result": "success",
    "ActiveEnterTimestamp": f"{datetime.fromtimestamp(STARTED, UTC):%a %Y-%m-%d %H:%M:%S} UTC",
}


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Return a function that asks a host whose systemd answers as usual, but for some questions of some units."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    plugin = tmp_path / "plugin"
    plugin.mkdir()
    (plugin / "plugin.json").touch()
    monkeypatch.setattr(units, "_PLUGIN", str(plugin))

    def ask(*components: str, firewall: bool = False, **different: str) -> dict[str, Unit]:
        cases = "".join(
            f'  "{key.replace("__", " ").replace("_", "-")}") echo "{value}" ;;\n'
            for key, value in different.items()
        )
        usual = "".join(f'  "{word} "*) echo "{value}" ;;\n' for word, value in USUAL.items())
        program = '#!/bin/sh\n[ "$1" = show ] && shift 3\ncase "$*" in\n' + cases + usual + "esac\n"
        (tmp_path / "systemctl").write_text(program)
        (tmp_path / "systemctl").chmod(0o755)
        settings = validate({"firewall": firewall} if firewall else {}, where="test")
        return units.of(Shell("one", {}, None), components, settings)

    return ask


def test_what_runs_and_since_when(asked: Asked) -> None:
    found = asked("vector", "grafana", is_active__grafana_server="failed")
    vector = found["vector"]
    assert (vector.active, vector.started, vector.restarts, vector.faults) == (True, STARTED, 0, [])
    assert vector.now is not None
    assert abs(vector.now - time.time()) < 60
    assert vector.hostname
    assert vector.log == "`journalctl -u vector`"
    assert not found["grafana"].active


def test_what_reloads_its_settings_runs(asked: Asked) -> None:
    assert asked("vector", is_active__vector="reloading")["vector"].active
    assert not asked("vector", is_active__vector="deactivating")["vector"].active


def test_what_was_started_just_now_is_young_unless_it_ends_again_and_again() -> None:
    unit = Unit(active=True, started=100, now=130)
    assert unit.young
    assert not Unit(active=True, started=100, now=300).young
    assert not Unit(active=True, started=100, now=130, restarts=3).young
    assert not Unit(active=True).young


@pytest.mark.parametrize(
    ("different", "words"),
    [
        ({"is_active__cvat_analytics_journal.timer": "inactive"}, "cvat-analytics-journal.timer is inactive"),
        ({"is_enabled__cvat_analytics_journal.timer": "disabled"}, "cvat-analytics-journal.timer is disabled"),
        ({"is_enabled__cvat_analytics_journal.timer": "masked"}, "cvat-analytics-journal.timer is masked"),
        ({"is_enabled__cvat_analytics_journal.timer": ""}, "cvat-analytics-journal.timer is missing"),
        ({"Result__cvat_analytics_journal.service": "exit-code"}, "failed when it ran last (exit-code): see `journalctl -u cvat-analytics-journal`"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)  # fmt: skip
def test_a_timer_that_does_not_run_is_told(asked: Asked, different: dict[str, Any], words: str) -> None:
    (fault,) = asked("vector", **different)["vector"].faults
    assert words in fault


@pytest.mark.parametrize(
    ("different", "words"),
    [
        ({"is_active__cvat_analytics_room.service": "inactive"}, "cvat-analytics-room.service is inactive"),
        ({"is_active__cvat_analytics_room.service": "activating"}, "cvat-analytics-room.service is activating"),
        ({"is_enabled__cvat_analytics_room.service": "disabled"}, "cvat-analytics-room.service is disabled"),
        ({"is_enabled__cvat_analytics_room.service": ""}, "cvat-analytics-room.service is missing"),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else "",
)  # fmt: skip
def test_what_keeps_room_and_does_not_run_is_told(
    asked: Asked, different: dict[str, Any], words: str
) -> None:
    (fault,) = asked("vector", **different)["vector"].faults
    assert fault.startswith(f"{words}, so that nothing stops the intake before the disk is full, or opens it")
    assert fault.endswith("`systemctl enable --now cvat-analytics-room.service`, or deploy again")


def test_a_plugin_that_is_gone_is_told(asked: Asked, tmp_path: Path) -> None:
    assert asked("grafana")["grafana"].faults == []
    (tmp_path / "plugin" / "plugin.json").unlink()
    (fault,) = asked("grafana")["grafana"].faults
    assert fault.startswith("its ClickHouse plugin is not in ")
    assert fault.endswith("deploy again")


def test_the_rules_of_a_host_stand_with_its_first_part(asked: Asked) -> None:
    closed = asked("vector", "grafana", firewall=True)
    assert [each.faults for each in closed.values()] == [[], []]
    found = asked("vector", "grafana", firewall=True, is_active__cvat_analytics_firewall="inactive")
    (fault,) = found["vector"].faults
    assert "firewall's rules of this host are not loaded" in fault
    assert found["grafana"].faults == []
    (fault,) = asked("gateway", is_active__cvat_analytics_firewall="inactive")["gateway"].faults
    assert "nobody counts connections to the gateway" in fault
    assert asked("vector", is_active__cvat_analytics_firewall="inactive")["vector"].faults == [], (
        "not asked for"
    )
