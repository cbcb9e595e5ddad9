"""Every rendered file parses as what it is, and holds no secret that it need not hold."""

import configparser
import re
import tomllib
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Any

import pytest
import yaml

from cvat_analytics.config import topology
from cvat_analytics.config.validation import validate
from cvat_analytics.credentials import secrets
from cvat_analytics.rendering import memory, render
from cvat_analytics.rendering.context import Context
from cvat_analytics.rendering.files import RenderedFile

ONE = {"clickhouse": ["a"], "vector": ["a"], "grafana": ["a"]}
THREE = {"clickhouse": ["a"], "vector": ["b"], "grafana": ["c"]}
ADDRESSES = {"a": "10.0.0.1", "b": "fd00::2", "c": "10.0.0.3"}


def context(groups: dict[str, list[str]] = ONE, host: str = "a", **values: Any) -> Context:
    own: dict[str, dict[str, Any]] = {
        name: {"address": ADDRESSES[name], **values}
        for name in sorted({h for hosts in groups.values() for h in hosts})
    }
    return Context(host, topology.build(groups, own, where="test"), secrets.generate())


def files(stack: Context) -> dict[str, RenderedFile]:
    parts = (render.clickhouse_files, render.vector_files, render.grafana_files)
    return {file.path: file for part in parts for file in part(stack)}


@pytest.mark.parametrize("groups", [ONE, THREE], ids=["one host", "three hosts"])
@pytest.mark.parametrize(
    "values", [{}, {"system_logs_retention": "forever", "clickhouse_listen_addresses": ["10.9.9.9"]}]
)
def test_every_file_parses(groups: dict[str, list[str]], values: dict[str, Any]) -> None:
    for host in {"a", *groups["vector"], *groups["grafana"]}:
        for path, file in files(context(groups, host, **values)).items():
            if path.endswith(".xml"):
                ET.fromstring(file.content)
            elif path.endswith(".toml"):
                tomllib.loads(file.content)
            elif path.endswith(".yaml"):
                assert yaml.safe_load(file.content)
            elif path.endswith(".ini") or ".service.d/" in path:
                parser = configparser.RawConfigParser(strict=False)
                parser.optionxform = str  # type: ignore[method-assign,assignment]  # as its documentation says
                parser.read_string(file.content)


def test_a_secret_stands_only_in_files_that_are_marked_as_secret() -> None:
    wanted = context()
    for path, file in files(wanted).items():
        if not file.secret:
            assert [name for name in wanted.secrets if wanted.secrets[name] in file.content] == [], path
            assert [n for n in wanted.secrets if wanted.secrets.sha256(n) in file.content] == [], path


def test_files_with_a_readable_secret_are_for_root_alone() -> None:
    wanted = context()
    holders = [
        f for f in files(wanted).values() if any(value in f.content for value in wanted.secrets.values())
    ]
    assert len(holders) == 5
    assert {(file.user, file.group, file.mode) for file in holders} == {("root", "root", "600")}


def test_changing_a_port_changes_every_file_that_refers_to_it() -> None:
    at_first = context(THREE)

    def changed_to(**values: Any) -> dict[str, RenderedFile]:
        # with the same passwords: by chance a number stands in the hash of a new one
        return files(replace(context(THREE, **values), secrets=at_first.secrets))

    before, after = files(at_first), changed_to(clickhouse_http_port=8999)
    changed = sorted(
        path for path in before if before[path].content != after[path].content and not before[path].secret
    )
    assert changed == ["/etc/clickhouse-server/config.d/cvat-analytics.xml", "/etc/vector/vector.toml"]
    assert "8999" in after["/etc/vector/vector.toml"].content
    after = changed_to(clickhouse_native_port=9999)
    changed = sorted(
        path
        for path in before
        if before[path].content != after[path].content and "9999" in after[path].content
    )
    assert changed == [
        "/etc/clickhouse-server/config.d/cvat-analytics.xml",
        "/etc/cvat-analytics/secrets/clickhouse-client.xml",
        "/etc/grafana/provisioning/datasources/cvat-analytics.yaml",
    ]


def users(stack: Context) -> ET.Element:
    element = ET.fromstring(files(stack)["/etc/clickhouse-server/users.d/cvat-analytics.xml"].content).find(
        "users"
    )
    assert element is not None
    return element


def test_each_clickhouse_user_may_log_in_only_from_where_he_is() -> None:
    found = users(context(THREE, clickhouse_allowed_addresses=["10.5.0.0/16"]))
    networks = {user.tag: [ip.text for ip in user.findall("networks/ip")] for user in found}
    assert networks == {
        "default": [],
        "admin": ["127.0.0.1"],
        "vector": ["fd00::2"],
        "grafana": ["10.0.0.3"],
        "events_api": ["127.0.0.1"],
        "cvat": ["127.0.0.1", "10.5.0.0/16"],
    }


def test_vector_may_insert_and_nothing_else() -> None:
    grants = [query.text for query in users(context()).findall("vector/grants/query")]
    tables = ("incoming_events", "incoming_dead_letters", "pipeline_metrics")
    views = (
        *("incoming_events_judged", "judged_events_let_in", "judged_events_late", "late_events_let_in"),
        "incoming_dead_letters_let_in",
        # what the version before asks for until its schema has been brought up to date
        "incoming_events_let_in",
    )
    assert grants == [
        *(f"GRANT INSERT ON cvat.{table}" for table in tables),
        *(f"GRANT SHOW COLUMNS ON cvat.{view}" for view in views),
    ]


def test_system_logs_are_limited_or_off() -> None:
    root = ET.fromstring(
        files(context(system_logs_retention="3d"))[
            "/etc/clickhouse-server/config.d/cvat-analytics.xml"
        ].content
    )
    logs = {element.tag: element for element in root if element.tag.endswith("_log")}
    assert {tag for tag, log in logs.items() if log.get("remove")} >= {"trace_log", "text_log"}
    kept = [log for log in logs.values() if not log.get("remove")]
    assert {log.findtext("ttl") for log in kept} == {"event_date + INTERVAL 3 DAY DELETE"}


@pytest.mark.parametrize(
    ("gib", "values", "name", "limit"),
    [
        (4, {}, "small", 2 * 2**30),
        (16, {}, "medium", int(16 * 2**30 * 0.6)),
        (64, {}, "large", 48 * 2**30),
        (64, {"memory_profile": "small"}, "small", 32 * 2**30),
        (4, {"clickhouse_memory_limit": "1GiB"}, "small", 2**30),
    ],
)
def test_memory_follows_the_host_and_can_be_overridden(
    gib: int, values: dict[str, str], name: str, limit: int
) -> None:
    memory_profile = memory.profile(validate(values, where="x"), gib * 2**30)
    assert (memory_profile.name, memory_profile.server_limit) == (name, limit)
    assert memory_profile.user_limits == {
        "grafana": limit * 35 // 100,
        "events_api": limit // 4,
        "cvat": limit // 5,
    }
    assert all(
        memory_profile.query_limits[user] <= share for user, share in memory_profile.user_limits.items()
    )


def test_the_store_s_unit_keeps_the_capabilities_without_which_the_kernel_does_not_run_its_program() -> None:
    """The package marks /usr/bin/clickhouse with four (ClickHouse, programs/install/Install.cpp): fewer are EPERM."""
    (unit,) = [file for path, file in files(context()).items() if "clickhouse-server.service.d/" in path]
    assert "CapabilityBoundingSet" not in re.sub(r"^#.*$", "", unit.content, flags=re.MULTILINE)
    assert "NoNewPrivileges=yes" in unit.content


@pytest.mark.parametrize("lowers_nice", [True, False])
def test_the_store_has_one_capability_where_the_host_s_kernel_lets_it_be_used(lowers_nice: bool) -> None:
    """Without the right to it systemd does not start a unit that is given it (systemd.exec(5))."""
    stack = replace(context(), lowers_nice=lowers_nice)
    (unit,) = [file for path, file in files(stack).items() if "clickhouse-server.service.d/" in path]
    given = [line for line in unit.content.splitlines() if line.startswith("AmbientCapabilities=")]
    assert given == ["AmbientCapabilities=CAP_SYS_NICE"] * lowers_nice
    # a marked program that systemd runs itself would keep all that it is marked with
    started = [line.split()[0] for line in unit.content.splitlines() if line.startswith("ExecStart=/")]
    assert started == ["ExecStart=/usr/bin/env"] * lowers_nice


def test_grafana_keeps_below_the_limit_that_holds_on_the_host_of_clickhouse() -> None:
    own: dict[str, dict[str, Any]] = {name: {"address": ADDRESSES[name]} for name in "abc"}
    own["a"]["grafana_max_queries"] = 18
    stack = Context("a", topology.build(THREE, own, where="test"), secrets.generate())
    (limit,) = ET.fromstring(
        files(stack)["/etc/clickhouse-server/users.d/cvat-analytics.xml"].content
    ).iterfind("profiles/cvat_reader/max_concurrent_queries_for_user")
    (source,) = yaml.safe_load(
        files(replace(stack, host="c"))["/etc/grafana/provisioning/datasources/cvat-analytics.yaml"].content
    )["datasources"]
    assert limit.text == "18"
    # two thirds, as texts, which the plugin's older versions want
    assert (source["jsonData"]["maxOpenConns"], source["jsonData"]["maxIdleConns"]) == ("12", "12")
