"""The newest supported system for real: the whole stack on Debian 13, whose Python (3.13), nginx, nftables, systemd and
OpenSSL are newer than those of Debian 12, on which the other tests run. It is installed from an offline bundle, without a network.
"""

from __future__ import annotations

from cvat_analytics.config.settings import COMPONENTS
from cvat_analytics.rendering.events_api_wheels import Target

from . import image, packages
from .command import cvat_analytics, deploy, smoke
from .conftest import HostFactory
from .repository import RepositoryServer
from .test_deploy import changes, sql, state
from .test_front_door import UNITS, Inventory, add_people, curl, export, exposure

OWN_UNITS = [f"{unit}.service" for unit in UNITS if unit.startswith("cvat-analytics-")]


def test_the_whole_stack_with_gateway_and_firewall_runs_on_debian_13(
    host_factory: HostFactory, inventory: Inventory, repository_server: RepositoryServer
) -> None:
    # its kernel lets nobody lower a nice value, as in many containers: ClickHouse has to start without that capability
    host = host_factory("trixie", lowers_nice=False)
    target = Target("3.13", packages.architecture())
    source = repository_server.complete()
    source.add_files(image.debian_packages("trixie"))
    settings = {
        **source.bundle_settings(),
        "grafana_root_url": f"https://{host.ip}/analytics/",
        "gateway_listen_address": host.ip,
        "firewall": True,
    }
    path = inventory({name: [host] for name in COMPONENTS}, **settings)
    add_people(path)

    # a bundle without the wheels is refused, and filled by the command that the refusal names
    host.cut_network()
    before = state(host)
    refused = cvat_analytics("deploy", "--inventory", path)
    assert refused.exit_code == 2, refused.text
    assert (
        f"package_source {source.directory}: lacks wheels of the events API for {target}: annotated-doc "
        in refused.text
    )
    assert changes(before, state(host)) == {}
    chosen = ("--system", "debian-13", "--architecture", target.architecture)
    filled = cvat_analytics("bundle", "wheels", source.directory, *chosen)
    assert filled.exit_code == 0, filled.text
    deploy(path)
    assert [line for line in smoke(path) if not line.startswith("PASS")] == []

    # it is what it says: the distribution's Python runs the archive that was made for it
    process = host.run("systemctl show --value -p MainPID cvat-analytics-events-api").output.strip()
    assert host.run(f"readlink /proc/{process}/exe").output.strip() == f"/usr/bin/python{target.python}"

    sql(
        host,
        "INSERT INTO cvat.events (scope, source, timestamp, user_id, job_id) "
        "SELECT 'save:job', 'client', now() - number, if(number < 3, 4, 5), 7 FROM numbers(5)",
    )
    for who, rows in (("boss", 5), ("worker", 3)):
        _, file = export(path, host, "job_id=7&filename=job.csv", who)
        assert len(file.splitlines()) == 1 + rows, file
    dashboards = f"https://{host.ip}/analytics/api/search"
    assert [curl(path, dashboards, who=who)[0] for who in ("reader", "worker", "")] == [200, 403, 401]

    assert {unit: level for unit in UNITS if (level := exposure(host, unit)) > 3.0} == {}
    assert host.run("systemctl --failed --no-legend --plain").output == ""
    # nothing in our units or in nginx's configuration is deprecated there
    assert host.run(f"systemd-analyze verify {' '.join(OWN_UNITS)} 2>&1").output == ""
    gateway = host.run("journalctl --no-pager -o cat -u cvat-analytics-gateway").output
    assert [line for line in gateway.splitlines() if "[" in line] == []

    held = host.run("systemctl show --value -p AmbientCapabilities -p ActiveState clickhouse-server").output
    assert held.split() == ["active"]

    before = state(host)
    assert "Nothing to change" in deploy(path).output
    assert changes(before, state(host)) == {}
