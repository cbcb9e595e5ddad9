"""What cannot work is refused in one message, with exit code 2, and with the host as it was."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from .command import cvat_analytics
from .host import Host
from .lab import Lab
from .repository import Repository
from .test_deploy import changes, state

Inventory = Callable[..., Path]


def refusal(host: Host, path: Path, *arguments: object) -> str:
    """Return what a deploy says that must refuse, having checked that it changed nothing."""
    before = state(host)
    outcome = cvat_analytics("deploy", "--inventory", path, *arguments)
    assert outcome.exit_code == 2, outcome.text
    assert changes(before, state(host)) == {}
    assert "Traceback" not in outcome.text
    return outcome.error


@pytest.mark.parametrize(
    ("system", "name"),
    [("fedora", "Fedora"), ("debian-11", "Debian GNU/Linux 11")],
    ids=["fedora", "debian 11"],
)
def test_another_system_is_refused_by_name(
    untouched_host: Host, inventory: Inventory, system: str, name: str
) -> None:
    host = untouched_host
    with host.pretending(system):
        assert f"{name}" in refusal(host, inventory(host))


def test_bad_input_is_refused_before_the_host_is_changed(
    untouched_host: Host, inventory: Inventory, mirror: Repository, tmp_path: Path
) -> None:
    host = untouched_host
    for settings, message in (
        ({"vector_prot": 1}, "unknown setting 'vector_prot': did you mean 'vector_port'?"),
        (
            {"vector_port": 70000},
            "setting 'vector_port': Input should be less than or equal to 65535 (got 70000)",
        ),
        ({"vector_port": 3000}, "setting 'grafana_port': port 3000 of host"),
        (
            {"secrets_file": str(tmp_path / "none.json")},
            f"secrets file {tmp_path / 'none.json'}: there is none",
        ),
        ({"minimum_free_disk": "900TiB"}, "GiB free below /var/lib, but"),
        ({"vector_version": "0.1.0-1"}, "has no vector 0.1.0-1 for amd64; it has"),
        (
            {"events_api_listen_address": "10.9.9.9", "vector_listen_address": "10.9.9.8"},
            "has no address 10.9.9.8 to listen on",
        ),
        (
            {"vector_listen_address": host.ip, "open_to_network": []},
            f"Vector listens on {host.ip}, where whoever reaches it can invent events",
        ),
        ({"vector_port": 22}, "port 22 (setting 'vector_port') is already in use by sshd"),
        (mirror.settings() | {"package_source": f"{mirror.url}nowhere/"}, "cannot be read for clickhouse"),
    ):
        assert message in refusal(host, inventory(host, **settings))


def test_sudo_gets_its_password_from_the_inventory(untouched_host: Host, inventory: Inventory) -> None:
    host = untouched_host
    message = refusal(host, inventory(host, user="ops-password", sudo_password="wrong"))
    assert "Check the user, `_sudo` and `_sudo_password`" in message
    message = refusal(host, inventory(host, user="ops-password", sudo_password=""))
    assert (
        "sudo wants a password there, and nobody can be asked for it. Give it as `_sudo_password`" in message
    )
    # so far it comes with the right one: it has taken the lock of the host
    message = refusal(host, inventory(host, user="ops-password", minimum_free_disk="900TiB"))
    assert "GiB free below /var/lib, but" in message
    outcome = cvat_analytics("deploy", "--inventory", inventory(host, user="ops-password"), "--dry")
    assert outcome.exit_code == 0, outcome.text
    assert "would change" in outcome.output


def test_one_unreachable_host_stops_the_run_before_it_changes_the_others(
    untouched_host: Host, inventory: Inventory, host_lab: Lab
) -> None:
    host = untouched_host
    gone = dataclasses.replace(host, name="gone", ip=host_lab.lan.next_address())
    path = inventory({"clickhouse": [host], "vector": [host], "grafana": [gone]})
    assert "host gone: cannot be reached" in refusal(host, path)


def test_a_store_that_another_clickhouse_uses_is_refused(untouched_host: Host, inventory: Inventory) -> None:
    host, lock = untouched_host, "/var/lib/clickhouse/status"
    host.run(
        f"mkdir -p /var/lib/clickhouse && touch {lock} && systemd-run --unit=other flock {lock} sleep 600"
    )
    host.run(f"timeout 60 sh -c 'while flock -n {lock} true; do sleep 0.1; done'")
    try:
        assert "is in use by another ClickHouse" in refusal(host, inventory(host))
    finally:
        host.run("systemctl stop other && rm -r /var/lib/clickhouse")
