"""Settings and topology: what is accepted, and that each mistake is one clear message before anything happens."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvat_analytics.base.errors import InputError
from cvat_analytics.config import query_limits, topology
from cvat_analytics.config import types as setting_types
from cvat_analytics.config.validation import validate

ONE_HOST = {"clickhouse": ["a"], "vector": ["a"], "grafana": ["a"]}
THREE_HOSTS = {"clickhouse": ["a"], "vector": ["b"], "grafana": ["c"]}


def mistakes(values: dict[str, Any]) -> list[str]:
    with pytest.raises(InputError) as caught:
        validate(values, where="all.py")
    return str(caught.value).splitlines()


def test_the_defaults_are_valid() -> None:
    assert validate({}, where="all.py").clickhouse_http_port == 8123


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"vector_allowed_addresses": "10.0.0.4"},
            "all.py: setting 'vector_allowed_addresses': is not a list. Write it in brackets, one value too: [...] (got '10.0.0.4')",
        ),
        ({"grafana_prot": 1}, "all.py: unknown setting 'grafana_prot': did you mean 'grafana_port'?"),
        ({"zzz": 1}, "all.py: unknown setting 'zzz': docs/reference/settings.md lists all settings"),
        (
            {"vector_port": 70000},
            "all.py: setting 'vector_port': Input should be less than or equal to 65535 (got 70000)",
        ),
        (
            {"vector_port": 0},
            "all.py: setting 'vector_port': Input should be greater than or equal to 1 (got 0)",
        ),
        (
            {"events_retention": "5 parsecs"},
            "all.py: setting 'events_retention': '5 parsecs' is not a duration: write a whole number and ms, s, m, h, d, w or y, as in '90d'",
        ),
        (
            {"events_retention": "0d"},
            "all.py: setting 'events_retention': '0d' is not a duration: write a whole number and ms, s, m, h, d, w or y, as in '90d'",
        ),
        (
            {"names_retention": "5 parsecs"},
            "all.py: setting 'names_retention': '5 parsecs' is not a duration: write a whole number and ms, s, m, h, d, w or y, as in '90d'; "
            "or 'events', for as long as events are kept",
        ),
        (
            {"names_retention": "399d", "events_retention": "400d"},
            "all.py: setting 'names_retention': is shorter than 'events_retention', and events hold names themselves; write 'events', or a longer time",
        ),
        (
            {"names_retention": "9y"},
            "all.py: setting 'names_retention': is shorter than 'events_retention', and events hold names themselves; write 'events', or a longer time",
        ),
        (
            {"vector_buffer_size": "1MiB"},
            "all.py: setting 'vector_buffer_size': Input should be greater than or equal to 268435488 (got 1048576)",
        ),
        (
            {"clickhouse_memory_limit": "2 gigs"},
            "all.py: setting 'clickhouse_memory_limit': '2 gigs' is not a size: write a whole number and KiB, MiB, GiB or TiB, as in '512MiB'",
        ),
        (
            {"vector_listen_address": "everywhere"},
            "all.py: setting 'vector_listen_address': 'everywhere' is not an IP address",
        ),
        (
            {"database": "system"},
            "all.py: setting 'database': 'system' is not usable as a database name: small letters, digits and _ only, and not one of ClickHouse's own",
        ),
        (
            {"database": "a; DROP TABLE b"},
            "all.py: setting 'database': 'a; DROP TABLE b' is not usable as a database name: small letters, digits and _ only, and not one of ClickHouse's own",
        ),
        (
            {"package_source": "/nowhere/at/all"},
            "all.py: setting 'package_source': '/nowhere/at/all' is neither 'vendor', nor a URL, nor an existing directory",
        ),
        (
            {"package_source": "https://mirror.example"},
            "all.py: setting 'package_signing_key': needed because 'package_source' is a mirror; give the file with its public key",
        ),
        (
            {"clickhouse_allowed_addresses": ["10.0.0.0/33"]},
            "all.py: setting 'clickhouse_allowed_addresses': '10.0.0.0/33' is neither an IP address nor a network",
        ),
        (
            {"gateway_trusted_proxies": ["10.0.0.4", "traefik"]},
            "all.py: setting 'gateway_trusted_proxies': 'traefik' is neither an IP address nor a network",
        ),
        (
            {"gateway_trusted_proxies": ["::/0"]},
            "all.py: setting 'gateway_trusted_proxies': with '::/0' everybody could claim to come from elsewhere; give the proxy's address",
        ),
        (
            {"grafana_max_queries": 40},
            "all.py: setting 'clickhouse_max_queries': readers may run 60 queries at the same time ('grafana_max_queries' (40) + "
            "'events_api_max_queries' (15) + 'cvat_max_queries' (5)), and Vector and the administrator need 12 beside them; lower one "
            "of these, or set it to 72 or more (got 50)",
        ),
        (
            {"cvat_memory_percent": 21},
            "all.py: settings 'grafana_memory_percent' (35) + 'events_api_memory_percent' (25) + 'cvat_memory_percent' (21): together "
            "81 % of ClickHouse's memory, which leaves Vector's inserts too little; lower one of them, so that they are 80 or less",
        ),
        (
            {"events_api_max_queries": 5},
            "all.py: setting 'events_api_max_queries': Input should be greater than or equal to 6 (got 5)",
        ),
        (
            {"grafana_root_url": "analytics.example.org"},
            "all.py: setting 'grafana_root_url': 'analytics.example.org' is not a URL: it must start with http:// or https:// and name a host",
        ),
    ],
)
def test_a_mistake_is_one_message(values: dict[str, Any], message: str) -> None:
    assert mistakes(values) == [message]


def test_all_mistakes_are_reported_at_once() -> None:
    assert len(mistakes({"grafana_prot": 1, "vector_port": 0, "journal_retention": "soon"})) == 3


@given(st.integers(1, 10**6), st.sampled_from(sorted(setting_types._DURATION_UNITS)))
def test_a_duration_is_number_times_unit(number: int, unit: str) -> None:
    assert setting_types.parse_duration(f"{number}{unit}") == number * timedelta(
        seconds=setting_types._DURATION_UNITS[unit]
    )


@given(st.text(max_size=12))
def test_any_other_text_is_refused_or_means_a_positive_duration(text: str) -> None:
    try:
        duration = setting_types.parse_duration(text)
    except (ValueError, OverflowError):
        return
    assert duration > timedelta(0)


@pytest.mark.parametrize(("text", "size"), [("512MiB", 2**29), ("2 GiB", 2**31), ("100", 100), (7, 7)])
def test_a_size_is_in_bytes(text: str | int, size: int) -> None:
    assert setting_types.parse_size(text) == size


def test_forever_keeps_everything() -> None:
    assert validate({"events_retention": "forever"}, where="x").events_retention is None


def test_names_are_kept_as_long_as_events_unless_said_otherwise() -> None:
    def kept(**values: str) -> timedelta | None:
        return validate(values, where="x").names_kept

    assert kept() is None
    assert kept(events_retention="400d") == timedelta(days=400)
    assert kept(events_retention="400d", names_retention="2y") == timedelta(days=730)
    assert kept(events_retention="400d", names_retention="forever") is None


def test_a_retention_with_which_clickhouse_would_delete_everything_at_once_is_refused() -> None:
    for setting in ("events_retention", "dead_letters_retention", "system_logs_retention"):
        with pytest.raises(
            InputError,
            match="'80y' is more than 50 years, which ClickHouse cannot reckon with: write 'forever'",
        ):
            validate({setting: "80y"}, where="x")
    assert validate({"events_retention": "50y"}, where="x").events_retention


def test_the_port_of_grafana_is_in_its_default_address() -> None:
    assert validate({"grafana_port": 3333}, where="x").grafana_root_url == "http://localhost:3333/analytics/"


def build(groups: dict[str, list[str]], values: dict[str, dict[str, Any]]) -> topology.Topology:
    return topology.build(groups, values, where="hosts.py")


def test_one_host_reaches_everything_on_loopback() -> None:
    stack = build(ONE_HOST, {"a": {}})
    assert stack.clickhouse_listen_addresses() == ("127.0.0.1",)
    assert stack.clickhouse_address("a") == "127.0.0.1"
    assert stack.client_addresses("vector") == ("127.0.0.1",)


def test_three_hosts_reach_clickhouse_at_its_own_address_and_only_they_may() -> None:
    stack = build(
        THREE_HOSTS, {name: {"address": f"10.0.0.{number}"} for number, name in enumerate("abc", 1)}
    )
    assert stack.clickhouse_listen_addresses() == ("127.0.0.1", "10.0.0.1")
    assert stack.clickhouse_address("b") == "10.0.0.1"
    assert stack.client_addresses("vector") == ("10.0.0.2",)
    assert stack.client_addresses("grafana") == ("10.0.0.3",)


@pytest.mark.parametrize(
    ("groups", "values", "message"),
    [
        (
            {**ONE_HOST, "vector": []},
            {"a": {}},
            "hosts.py: the group 'vector' has no host: put at least one there",
        ),
        (
            {**ONE_HOST, "clickhouse": ["a", "b"]},
            {"a": {}, "b": {}},
            "hosts.py: the group 'clickhouse' has 2 hosts: this stack keeps its data on exactly one",
        ),
        (
            ONE_HOST,
            {"a": {"vector_port": 3000}},
            "hosts.py: setting 'grafana_port': port 3000 of host a is already used by 'vector_port'; give each its own",
        ),
        (
            {**ONE_HOST, "grafana": ["b"]},
            {"a": {"address": "10.0.0.1"}, "b": {}},
            "hosts.py: setting 'address' of host b: needed because the stack is on several hosts; give the address at which the others reach it",
        ),
    ],
)
def test_what_cannot_work_together_is_refused(
    groups: dict[str, list[str]], values: dict[str, dict[str, Any]], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        build(groups, values)
    assert str(caught.value) == message


def test_one_port_may_be_used_on_two_hosts() -> None:
    groups = {"clickhouse": ["a"], "vector": ["b"], "grafana": ["a"]}
    values = {
        name: {"address": f"10.0.0.{number}", "vector_port": 3000} for number, name in enumerate("ab", 1)
    }
    assert build(groups, values).components("b") == ("vector",)


def test_a_sum_that_leaves_the_reserve_is_taken() -> None:
    assert validate({"grafana_max_queries": 18}, where="x").grafana_max_queries == 18


@pytest.mark.parametrize("most", [*range(6, 60), 1000])
def test_pools_and_places_keep_below_the_limit_of_their_user(most: int) -> None:
    places = query_limits.places(most)
    assert min(places) >= 1
    assert sum(places) < most
    assert 1 <= query_limits.connections(most) < most


def test_hosts_of_one_group_share_the_limit_of_its_user() -> None:
    groups = {**THREE_HOSTS, "grafana": ["b", "c"], "events_api": ["b", "c"]}
    own: dict[str, dict[str, Any]] = {
        name: {"address": f"10.0.0.{number}"} for number, name in enumerate("abc", 1)
    }
    stack = build(groups, own)
    assert (stack.max_queries("grafana"), stack.max_queries("events_api")) == (7, 7)
    own["a"] |= {"events_api_max_queries": 11}
    with pytest.raises(InputError) as caught:
        build(groups, own)
    assert str(caught.value) == (
        "hosts.py: setting 'events_api_max_queries' of host a: the 2 hosts of the group 'events_api' share it, and each needs 6; "
        "set it to 12 or more (got 11)"
    )
