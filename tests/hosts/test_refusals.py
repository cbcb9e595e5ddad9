"""What cannot work is refused in one message, with exit code 2, and with the host as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .command import cvat_analytics
from .conftest import HostFactory
from .host import Host
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
    host_factory: HostFactory, inventory: Inventory, system: str, name: str
) -> None:
    host = host_factory()
    host.pretend_os(system)
    assert f"{name}" in refusal(host, inventory(host))


def test_bad_input_is_refused_before_the_host_is_changed(
    host_factory: HostFactory, inventory: Inventory, mirror: Repository, tmp_path: Path
) -> None:
    host = host_factory()
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


def test_sudo_gets_its_password_from_the_inventory(host_factory: HostFactory, inventory: Inventory) -> None:
    host = host_factory()
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


def test_one_unreachable_host_of_three_stops_the_run_before_it_changes_the_others(
    host_factory: HostFactory, inventory: Inventory
) -> None:
    store, ingest, gone = (host_factory() for _ in range(3))
    path = inventory({"clickhouse": [store], "vector": [ingest], "grafana": [gone]})
    gone.container.stop(timeout=1)
    assert f"host {gone.name}: cannot be reached" in refusal(store, path)


def test_a_store_that_another_clickhouse_uses_is_refused(
    host_factory: HostFactory, inventory: Inventory
) -> None:
    host = host_factory()
    host.run("mkdir -p /var/lib/clickhouse && touch /var/lib/clickhouse/status")
    host.run("systemd-run --unit=other flock /var/lib/clickhouse/status sleep 600 && sleep 1")
    assert "is in use by another ClickHouse" in refusal(host, inventory(host))
