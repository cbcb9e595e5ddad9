"""The gateway and the firewall in a deploy, on pyinfra's fake hosts: order, refusals, and taking things away again."""

from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import PyinfraError

from tests.deploys.conftest import Deploy
from tests.deploys.test_deploy import system

EVERYTHING = {name: ["@fake/a"] for name in ("clickhouse", "vector", "grafana", "events_api", "gateway")}
ADDRESS = {"grafana_root_url": "https://analytics.example.org/analytics/"}

SERVICES = (
    "clickhouse-server",
    "vector",
    "grafana-server",
    "cvat-analytics-events-api",
    "cvat-analytics-gateway",
)


def test_nginx_of_the_distribution_is_kept_from_starting_and_ours_starts_last(run_deploy: Deploy) -> None:
    run = run_deploy(groups=EVERYTHING, settings=ADDRESS)
    assert run.failed == set()
    mask, install = run.position("systemctl mask -q nginx.service"), run.position("install nginx")
    # any package may bring it along: those of an offline bundle do
    assert mask < run.position("apt-get .*install") <= install
    starts = [
        run.position(f"systemctl restart {unit}") for unit in ("grafana-server", "cvat-analytics-gateway")
    ]
    assert install < starts[0] < starts[1]


def test_an_nginx_that_is_there_already_keeps_its_service(run_deploy: Deploy) -> None:
    there = ["nginx 1.22.1-9+deb12u11 installed"]
    run = run_deploy(
        groups=EVERYTHING, settings=ADDRESS, answers={"nginx 2>": there, "nginx nftables 2>": there}
    )
    assert run.matching("systemctl mask") == []
    assert run.matching("noninteractive.*install .*nginx") == []


def test_the_certificates_key_is_in_no_command(run_deploy: Deploy, tmp_path: Path) -> None:
    run = run_deploy(groups=EVERYTHING, settings=ADDRESS)
    keys = list((tmp_path / "certificates").rglob("*-key.pem"))
    assert len(keys) == 2
    text = "\n".join(run.commands["@fake/a"])
    assert [file.name for file in keys if file.read_text().splitlines()[1] in text] == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "'grafana_root_url' of host @fake/a: .* is not where people reach the gateway"),
        (
            {"grafana_root_url": "https://a.example.org/analytics/", "grafana_serve_from_sub_path": False},
            "'grafana_serve_from_sub_path' of host @fake/a: must stay True",
        ),
        (ADDRESS | {"gateway_certificate": "/nowhere.pem"}, "give both or neither"),
        (
            ADDRESS | {"gateway_certificate": "/nowhere.pem", "gateway_certificate_key": "/nowhere-key.pem"},
            "/nowhere.pem cannot be read",
        ),
    ],
)
def test_what_would_let_nobody_in_is_refused_before_the_first_change(
    run_deploy: Deploy, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(PyinfraError, match=message):
        run_deploy(groups=EVERYTHING, settings=settings)


def test_a_port_that_the_gateway_still_has_goes_to_another_part_in_two_deploys(run_deploy: Deploy) -> None:
    with pytest.raises(
        PyinfraError,
        match=r"port 8443 .* is held by nginx. If that is the gateway, deploy once with its new port",
    ):
        run_deploy(
            groups=EVERYTHING,
            settings=ADDRESS | {"clickhouse_tls": True, "gateway_https_port": 9443},
            answers=system(gateway_runs="yes", listener='0.0.0.0:8443 users:(("nginx",pid=7,fd=6))'),
        )


def test_a_port_of_another_nginx_is_refused_and_our_own_is_not(run_deploy: Deploy) -> None:
    nginx = '0.0.0.0:443 users:(("nginx",pid=7,fd=6))'
    with pytest.raises(
        PyinfraError, match=r"port 443 \(setting 'gateway_https_port'\) is already in use by nginx"
    ):
        run_deploy(groups=EVERYTHING, settings=ADDRESS, answers=system(listener=nginx))
    answers = system(gateway_runs="yes", listener=nginx)
    assert run_deploy(groups=EVERYTHING, settings=ADDRESS, answers=answers).failed == set()


def test_a_gateway_apart_from_what_it_guards_is_refused(run_deploy: Deploy) -> None:
    apart = EVERYTHING | {"gateway": ["@fake/b"]}
    addresses = {f"@fake/{name}": {"address": f"10.0.0.{number}"} for number, name in enumerate("ab", 1)}
    with pytest.raises(PyinfraError, match="@fake/b: is in the group 'gateway' but not in 'grafana'"):
        run_deploy(groups=apart, settings=ADDRESS, host_settings=addresses)


def test_the_firewall_comes_with_its_setting_and_goes_with_it(run_deploy: Deploy) -> None:
    assert run_deploy().matching("nftables|cvat-analytics-firewall.* disable") == []
    run = run_deploy(settings={"firewall": True})
    # a restart would leave the ports open between the old rules and the new ones
    assert run.position("install nftables") < run.position(
        "systemctl reload-or-restart cvat-analytics-firewall"
    )
    assert run.matching("systemctl restart cvat-analytics-firewall") == []
    run = run_deploy(groups=EVERYTHING, settings=ADDRESS | {"firewall": True})
    # what is closed by rules is never up without them, wherever the deploy ends
    assert run.position("systemctl reload-or-restart cvat-analytics-firewall") < min(
        run.position(f"systemctl restart {unit}") for unit in SERVICES
    )
    # the gateway's connections are counted with or without it
    run = run_deploy(groups=EVERYTHING, settings=ADDRESS)
    assert run.position("install nftables") < run.position(
        "systemctl reload-or-restart cvat-analytics-firewall"
    )
    # and what is opened is opened when all that listened there has been restarted
    assert run.position("systemctl reload-or-restart cvat-analytics-firewall") > max(
        run.position(f"systemctl restart {unit}") for unit in SERVICES
    )
    unit = "/etc/systemd/system/cvat-analytics-firewall.service"
    listing = [f"{'0' * 64} 644 root root 1793000000 {unit}"]
    run = run_deploy(answers={unit: listing})
    assert run.position("disable -q --now cvat-analytics-firewall") > run.position(
        "systemctl restart grafana-server"
    )
