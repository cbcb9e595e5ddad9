"""What listens on the network with nothing to keep strangers out is refused, with the lines that close it."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from cvat_analytics.base.errors import InputError
from cvat_analytics.config import topology
from cvat_analytics.config.exposure import refuse_open
from cvat_analytics.config.settings import COMPONENTS
from cvat_analytics.credentials import secrets
from cvat_analytics.gateway.gateway import guarded_ports
from cvat_analytics.rendering.context import Context

GROUPS = {name: ["a"] for name in COMPONENTS if name != "gateway"}
APART = {"clickhouse": ["a"], "vector": ["b"], "grafana": ["a"]}
PART = {
    "vector_listen_address": "vector",
    "grafana_listen_address": "grafana",
    "events_api_listen_address": "events_api",
    "clickhouse_listen_addresses": "clickhouse",
}


def refusal(groups: dict[str, list[str]] = GROUPS, **settings: Any) -> str:
    own = {host: {"address": f"10.0.0.{number}"} | settings for number, host in enumerate("ab", 5)}
    try:
        refuse_open(topology.build(groups, own, where="test"), "hosts.py")
    except InputError as error:
        return str(error)
    return ""


def listening(setting: str, address: str) -> dict[str, Any]:
    return {setting: [address] if setting.endswith("es") else address}


@pytest.mark.parametrize("address", ["0.0.0.0", "10.0.0.5", "::", "fe80::1%eth0"])
@pytest.mark.parametrize("setting", PART)
def test_each_part_is_refused_on_the_network_until_it_is_closed_or_named(setting: str, address: str) -> None:
    here = listening(setting, address)
    text = refusal(**here)
    assert text.startswith("hosts.py: host a: ")
    assert f" listens on {address}, where " in text
    assert refusal(**here, firewall=True) == ""
    assert refusal(**here, open_to_network=[PART[setting]]) == ""
    others = [part for part in PART.values() if part != PART[setting]]
    assert refusal(**here, open_to_network=others) == text, "that of another part says nothing of this one"


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1"])
@pytest.mark.parametrize("setting", PART)
def test_on_its_own_host_everything_may_listen(setting: str, address: str) -> None:
    assert refusal(**listening(setting, address)) == ""


def test_the_default_of_one_host_is_not_refused() -> None:
    assert refusal() == ""


@pytest.mark.parametrize("firewall", [False, True])
def test_the_gateway_may_be_open_to_all(firewall: bool) -> None:
    people = {"gateway_listen_address": "0.0.0.0", "grafana_root_url": "https://a.example.org/"}
    assert refusal({name: ["a"] for name in COMPONENTS}, **people, firewall=firewall) == ""


@pytest.mark.parametrize(
    ("setting", "safe", "not_safe"),
    [
        ("vector_listen_address", {"vector_username": "cvat", "vector_tls": True}, {"vector_tls": True}),
        ("vector_listen_address", {"vector_username": "cvat", "firewall": True}, {"vector_username": "cvat"}),
        ("clickhouse_listen_addresses", {"clickhouse_tls": True}, {"clickhouse_allowed_addresses": ["10.0.0.4"]}),
        ("grafana_listen_address", {"grafana_tls": True}, {"grafana_anonymous_viewer": True}),
    ],
)  # fmt: skip
def test_tls_is_enough_and_of_vectors_with_a_password_alone(
    setting: str, safe: dict[str, Any], not_safe: dict[str, Any]
) -> None:
    here = listening(setting, "0.0.0.0")
    assert refusal(**here, **safe) == ""
    assert "listens on" in refusal(**here, **not_safe)


def test_a_store_that_other_hosts_read_over_the_network_is_refused_too() -> None:
    assert "hosts.py: host a: ClickHouse listens on 10.0.0.5, where" in refusal(APART)
    assert refusal(APART, clickhouse_tls=True) == ""


def test_a_password_that_everybody_on_the_way_can_read_is_said_so() -> None:
    text = refusal(vector_listen_address="0.0.0.0", vector_username="cvat")
    assert "Vector listens on 0.0.0.0, where the password passes in clear text" in text


@pytest.mark.parametrize(
    "everybody",
    [
        ["0.0.0.0/0"],
        ["::/0"],
        ["0.0.0.0/1", "128.0.0.0/1"],
        ["128.0.0.0/1"],
        ["2000::/3"],
        [f"{first}.0.0.0/8" for first in range(64, 80)],
    ],
    ids=["0.0.0.0", "0", "halves", "one half", "public addresses of IPv6", "many neighbours"],
)
def test_a_firewall_that_lets_everybody_through_is_none(everybody: list[str]) -> None:
    allowed = ["10.0.0.4", *everybody]
    text = refusal(vector_listen_address="0.0.0.0", firewall=True, vector_allowed_addresses=allowed)
    assert "'vector_allowed_addresses' lets everybody through the firewall" in text
    assert ' vector_allowed_addresses = ["10.0.0.4"]' in text.splitlines()


@pytest.mark.parametrize("somebody", ["10.0.0.0/8", "fc00::/7", "44.0.0.0/8", "2001:db8::/32"])
def test_a_large_network_of_ones_own_is_not_everybody(somebody: str) -> None:
    assert refusal(vector_listen_address="0.0.0.0", firewall=True, vector_allowed_addresses=[somebody]) == ""


def pasted(text: str) -> dict[str, Any]:
    """Return the settings that are to be pasted, without the last line, which is the other way."""
    lines = [line[1:] for line in text.splitlines() if line.startswith(" ")]
    return tomllib.loads("\n".join(lines[:-1]).replace("True", "true"))


def test_the_lines_leave_what_is_reached_by_design_as_it_is() -> None:
    settings: dict[str, Any] = {
        "vector_listen_address": "10.0.0.5",
        "grafana_listen_address": "0.0.0.0",
        "grafana_tls": True,
        "clickhouse_listen_addresses": ["10.0.0.5"],
        "clickhouse_tls": True,
    }
    lines = pasted(refusal(**settings))
    assert lines == {
        "firewall": True,
        "vector_allowed_addresses": [],
        "grafana_allowed_addresses": ["0.0.0.0/0", "::/0"],
    }
    described = topology.build(GROUPS, {"a": settings | lines | {"address": "10.0.0.5"}}, where="test")
    addresses = {
        part["name"]: part["addresses"] for part in guarded_ports(Context("a", described, secrets.generate()))
    }
    assert addresses["grafana"] == {"ip": ["0.0.0.0/0"], "ip6": ["::/0"]}
    assert addresses["vector"] == {}
    assert refusal(**settings | lines) == ""


def test_so_it_is_with_what_is_open_by_name() -> None:
    settings: dict[str, Any] = {
        "vector_listen_address": "10.0.0.5",
        "grafana_listen_address": "0.0.0.0",
        "open_to_network": ["vector"],
    }
    lines = pasted(refusal(**settings))
    assert lines == {
        "firewall": True,
        "vector_allowed_addresses": ["0.0.0.0/0", "::/0"],
        "grafana_allowed_addresses": [],
    }
    assert refusal(**settings | lines) == ""


def test_of_a_list_that_is_two_parts_the_line_names_the_other() -> None:
    settings: dict[str, Any] = {
        "grafana_listen_address": "0.0.0.0",
        "grafana_tls": True,
        "events_api_listen_address": "0.0.0.0",
    }
    text = refusal(**settings)
    assert pasted(text) == {"firewall": True, "grafana_allowed_addresses": []}
    assert "also for Grafana" in text
    text = refusal(**settings, grafana_allowed_addresses=["10.0.0.4"])
    assert ' grafana_allowed_addresses = ["10.0.0.4"]  # from now on for Grafana, too' in text.splitlines()


def test_the_lines_to_add_close_it_as_they_are() -> None:
    settings: dict[str, Any] = {
        "vector_listen_address": "0.0.0.0",
        "clickhouse_listen_addresses": ["10.0.0.5"],
        "clickhouse_allowed_addresses": ["10.0.0.4"],
    }
    text = refusal(**settings)
    lines = pasted(text)
    # where CVAT is stands in the inventory already
    assert lines == {
        "firewall": True,
        "clickhouse_allowed_addresses": ["10.0.0.4"],
        "vector_allowed_addresses": ["10.0.0.4"],
    }
    assert refusal(**settings | lines) == ""
    assert refusal(**settings | tomllib.loads(text.splitlines()[-1])) == ""


def test_where_nobody_is_known_the_line_says_who_is_missing_and_is_taken_as_it_is() -> None:
    settings: dict[str, Any] = {
        "events_api_listen_address": "0.0.0.0",
        "vector_listen_address": "0.0.0.0",
        "clickhouse_listen_addresses": ["10.0.0.5"],
    }
    text = refusal(**settings)
    assert ' vector_allowed_addresses = []  # CVAT\'s address, such as "10.0.0.4"' in text.splitlines()
    assert "clickhouse_allowed_addresses" not in text, "the stack's own hosts are let through without it"
    assert refusal(**settings | pasted(text)) == ""


def test_a_store_that_is_open_to_everybody_is_closed_by_its_line() -> None:
    settings: dict[str, Any] = {
        "clickhouse_listen_addresses": ["10.0.0.5"],
        "clickhouse_allowed_addresses": ["0.0.0.0/0"],
    }
    assert refusal(**settings | pasted(refusal(**settings))) == ""
