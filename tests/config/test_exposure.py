"""What listens on the network with nothing to keep strangers out is refused, with the lines that close it."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from cvat_analytics.base.errors import InputError
from cvat_analytics.config import topology
from cvat_analytics.config.exposure import refuse_open
from cvat_analytics.config.settings import COMPONENTS

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
        ("vector_listen_address", {"vector_username": "cvat"}, {"vector_tls": True}),
        ("clickhouse_listen_addresses", {"clickhouse_tls": True}, {"clickhouse_allowed_addresses": ["10.0.0.4"]}),
        ("grafana_listen_address", {"grafana_tls": True}, {"grafana_anonymous_viewer": True}),
    ],
)  # fmt: skip
def test_a_password_of_vectors_and_tls_of_the_others_are_enough(
    setting: str, safe: dict[str, Any], not_safe: dict[str, Any]
) -> None:
    here = listening(setting, "0.0.0.0")
    assert refusal(**here, **safe) == ""
    assert "listens on" in refusal(**here, **not_safe)


def test_a_store_that_other_hosts_read_over_the_network_is_refused_too() -> None:
    assert "hosts.py: host a: ClickHouse listens on 10.0.0.5, where" in refusal(APART)
    assert refusal(APART, clickhouse_tls=True) == ""


@pytest.mark.parametrize("everybody", ["0.0.0.0/0", "::/0"])
def test_a_firewall_that_lets_everybody_through_is_none(everybody: str) -> None:
    text = refusal(vector_listen_address="0.0.0.0", firewall=True, vector_allowed_addresses=[everybody])
    assert "'vector_allowed_addresses' lets everybody through the firewall" in text
    assert f'"{everybody}"' not in text


def test_the_lines_to_add_close_it_as_they_are() -> None:
    settings: dict[str, Any] = {
        "vector_listen_address": "0.0.0.0",
        "clickhouse_listen_addresses": ["10.0.0.5"],
        "clickhouse_allowed_addresses": ["10.0.0.4"],
    }
    text = refusal(**settings)
    pasted = [line[1:] for line in text.splitlines() if line.startswith(" ")]
    lines = tomllib.loads("\n".join(pasted[:-1]).replace("True", "true"))
    # where CVAT is stands in the inventory already
    assert lines == {
        "firewall": True,
        "clickhouse_allowed_addresses": ["10.0.0.4"],
        "vector_allowed_addresses": ["10.0.0.4"],
    }
    assert refusal(**settings | lines) == ""
    assert refusal(**settings | tomllib.loads(pasted[-1])) == ""


def test_where_nobody_is_known_the_line_says_who_is_missing() -> None:
    text = refusal(events_api_listen_address="0.0.0.0", vector_listen_address="0.0.0.0")
    assert 'vector_allowed_addresses = ["CVAT\'s address"]' in text
    assert "is neither an IP address nor a network" in refusal(vector_allowed_addresses=["CVAT's address"])
