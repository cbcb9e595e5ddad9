"""What a deploy notes on a host, and how an inventory that was edited since differs from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cvat_analytics.config import deployed, topology
from cvat_analytics.config.deployed import Deployed
from cvat_analytics.config.inventory_file import Host
from cvat_analytics.config.settings import Settings
from cvat_analytics.config.topology import Topology
from cvat_analytics.config.validation import validate

PARTS = ("clickhouse", "vector", "grafana")


def settings(**values: Any) -> Settings:
    return validate(values, where="test")


def stack(**values: dict[str, Any]) -> Topology:
    """Return a stack on the hosts of `values`, the first with all parts and every other with Vector."""
    hosts = tuple(values)
    groups = {"clickhouse": hosts[:1], "vector": hosts, "grafana": hosts[:1]}
    addresses = {host: {"address": f"10.0.0.{number}"} for number, host in enumerate(hosts, 1)}
    return topology.build(groups, {host: addresses[host] | values[host] for host in hosts}, where="test")


def test_what_is_noted_is_read_as_it_was() -> None:
    for values in (
        {},
        {"events_retention": "400d", "vector_extra_ports": [8383, 8484], "vector_buffer_size": "2GiB", "health_timeout": "15s"},
        {"clickhouse_tls": True, "grafana_root_url": "https://here.example.org/analytics/", "address": "10.0.0.7"},
    ):  # fmt: skip
        there = settings(**values)
        assert deployed.read(deployed.note(there, PARTS), there) == Deployed(there, PARTS)


def test_nothing_of_the_operator_s_machine_is_noted(tmp_path: Path) -> None:
    def files(operator: str) -> dict[str, Path]:
        directory = tmp_path / operator
        directory.mkdir()
        made = {"vector_tls_certificate": directory / "one.pem", "vector_tls_key": directory / "one.key"}
        for file in made.values():
            file.touch()
        return made

    there = settings(**files("one"), secrets_file=tmp_path / "secrets.json")
    text = deployed.note(there, PARTS)
    assert str(tmp_path) not in text
    assert "secrets" not in text
    elsewhere = files("another")
    found = deployed.read(text, settings(**elsewhere))
    assert found
    assert found.settings.vector_tls_certificate == elsewhere["vector_tls_certificate"]


@pytest.mark.parametrize(
    "text", ["", "no JSON", "[]", "{}", '{"settings": {"vector_port": "much"}, "components": []}']
)
def test_what_cannot_be_understood_is_not_known(text: str) -> None:
    assert deployed.read(text, settings()) is None


def test_a_setting_that_this_version_does_not_have_is_passed_over() -> None:
    noted = json.loads(deployed.note(settings(), PARTS))
    noted["settings"]["of_tomorrow"] = 1
    assert deployed.read(json.dumps(noted), settings()) == Deployed(settings(), PARTS)


def test_each_edit_is_one_line_with_both_values_and_what_to_do() -> None:
    edit = {"vector_port": 9283, "events_retention": "90d", "health_timeout": "5m"}
    before, after = stack(one={}, two={}), stack(one=edit, two=edit | {"vector_username": "cvat"})
    there = {host: Deployed(before.settings[host], before.components(host)) for host in before.settings}
    assert [str(each) for each in deployed.differences(after, there)] == [
        'setting \'events_retention\' of one, two: the inventory says "90d", deployed is "forever": run `cvat-analytics deploy`',
        "setting 'vector_port' of one, two: the inventory says 9283, deployed is 8282: run `cvat-analytics deploy`",
        "setting 'vector_username' of two: the inventory says \"cvat\", deployed is None: run `cvat-analytics deploy`",
    ]
    assert deployed.differences(before, there) == []
    assert deployed.differences(after, {}) == [], "of which nothing is known"


def test_a_part_that_came_or_went_is_a_difference() -> None:
    described = stack(one={}, two={})
    there = {"two": Deployed(described.settings["two"], ("grafana",))}
    assert [str(each).split(": run")[0] for each in deployed.differences(described, there)] == [
        "part 'grafana' of two: the inventory says it does not run there, deployed is that it does",
        "part 'vector' of two: the inventory says it runs there, deployed is that it does not",
    ]


def test_a_host_that_has_left_is_told_from_one_that_was_renamed_or_never_was() -> None:
    def host(name: str, **data: Any) -> Host:
        return Host(name, (), {"ssh_key": "/home/somebody/key", "ssh_password": "secret", **data})

    every = deployed.logins(
        [host("a"), host("b", ssh_hostname="10.0.0.2", ssh_user="ops", _sudo=True), host("c", ssh_port=2222)]
    )
    text = deployed.note(settings(), PARTS, every)
    assert "secret" not in text
    assert "somebody" not in text
    noted = deployed.noted_hosts(text)
    assert noted == every
    renamed = host("new name of c", ssh_hostname="c", ssh_port=2222)
    assert deployed.left([host("a"), renamed, host("d")], [noted, {}]) == {"b": every["b"]}
    assert deployed.left([host("a"), host("b"), host("c")], [noted]) == {}
    assert deployed.noted_hosts(deployed.without(text, "b")).keys() == {"a", "c"}
    assert deployed.noted_hosts("") == deployed.noted_hosts("[]") == {}
