"""TLS as it is rendered: which ports, which certificate for which names, and who verifies what."""

from __future__ import annotations

import configparser
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cvat_analytics.base.errors import InputError
from cvat_analytics.config import endpoints, topology
from cvat_analytics.config.validation import validate
from cvat_analytics.credentials import secrets
from cvat_analytics.credentials.certificates import Authority, Pair
from cvat_analytics.gateway import gateway
from cvat_analytics.rendering import certificates, events_api, render, tls
from cvat_analytics.rendering.context import Context
from cvat_analytics.rendering.render import RenderedFile

APART = {"clickhouse": ["a"], "vector": ["b"], "grafana": ["c"], "events_api": ["b"], "gateway": []}
TOGETHER = {group: ["a"] for group in ("clickhouse", "vector", "grafana", "events_api")} | {"gateway": []}
ADDRESSES = {"a": "10.0.0.1", "b": "fd00::2", "c": "10.0.0.3"}
CA = "/etc/cvat-analytics/ca.pem"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "certificates")


def described(groups: dict[str, list[str]], **settings: Any) -> topology.Topology:
    """Return a topology whose hosts all have `settings`."""
    own = {
        host: {"address": ADDRESSES[host], **settings}
        for host in sorted({h for g in groups.values() for h in g})
    }
    return topology.build(groups, own, where="test")


def files(
    authority: Authority, host: str, groups: dict[str, list[str]] = APART, **settings: Any
) -> dict[str, RenderedFile]:
    """Return every file of `host` by its path."""
    context = Context(host, described(groups, **settings), secrets.generate(), authority=authority)
    parts: dict[str, Callable[[Context], list[RenderedFile]]] = {
        "clickhouse": render.clickhouse_files,
        "vector": render.vector_files,
        "grafana": render.grafana_files,
        "events_api": lambda made: events_api.files(made, authority.directory / "users.json"),
    }
    rendered = [file for part in context.topology.components(host) for file in parts[part](context)]
    return {file.path: file for file in rendered}


def ini(file: RenderedFile) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(file.content)
    return parser


def shown(made: dict[str, RenderedFile], directory: str) -> Pair:
    """Return what systemd hands over, once it is sure that a renewed one would be: credentials are read at a start."""
    pair = made[f"{directory}/tls_certificate"], made[f"{directory}/tls_key"]
    assert {(file.user, file.mode, file.secret, file.effect) for file in pair} == {
        ("root", "600", True, "restart")
    }
    return Pair(pair[0].content, pair[1].content)


def test_clickhouse_speaks_tls_everywhere_but_on_its_loopback(authority: Authority) -> None:
    made = files(authority, "a", clickhouse_tls=True, clickhouse_http_port=8124, clickhouse_native_port=9001)
    server = ET.fromstring(made["/etc/clickhouse-server/config.d/cvat-analytics.xml"].content)
    # a plain port of the usual kind would be on every listen address
    for name in ("http_port", "tcp_port"):
        assert [each.attrib for each in server.findall(name)] == [{"remove": "remove"}]
    protocols = [
        {part.tag: part.text for part in each if part.tag != "description"}
        for each in server.findall("protocols/*")
    ]
    assert protocols == [
        {"type": "http", "host": "127.0.0.1", "port": "8124"},
        {"type": "tcp", "host": "127.0.0.1", "port": "9001"},
    ]
    assert [each.text for each in server.findall("listen_host")] == ["127.0.0.1", "10.0.0.1"]
    assert (server.findtext("https_port"), server.findtext("tcp_port_secure")) == ("8443", "9440")
    disabled = (server.findtext("openSSL/server/disableProtocols") or "").split(",")
    assert {"tlsv1", "tlsv1_1"} <= set(disabled)
    assert not {"tlsv1_2", "tlsv1_3"} & set(disabled)

    certificate, key = (
        made[server.findtext(f"openSSL/server/{name}") or ""]
        for name in ("certificateFile", "privateKeyFile")
    )
    for file in (certificate, key):
        # ClickHouse reloads them by itself; a restart would be an outage for nothing
        assert (file.user, file.mode, file.effect, file.secret) == ("clickhouse", "640", "none", True)
    pair = Pair(certificate.content, key.content)
    assert pair == authority.issued()["clickhouse-a"]
    assert set(pair.names()) == {"10.0.0.1", "127.0.0.1", "::1", "a", "localhost"}
    client = ET.fromstring(made["/etc/cvat-analytics/secrets/clickhouse-client.xml"].content)
    assert (client.findtext("host"), client.findtext("port")) == ("127.0.0.1", "9001")


def test_the_other_hosts_verify_clickhouse_and_its_own_host_does_without(authority: Authority) -> None:
    vector = files(authority, "b", clickhouse_tls=True)
    sinks = tomllib.loads(vector["/etc/vector/vector.toml"].content)["sinks"]
    into_clickhouse = [sink for sink in sinks.values() if "INSERT" in sink.get("uri", "")]
    assert len(into_clickhouse) == 3
    for sink in into_clickhouse:
        assert sink["uri"].startswith("https://10.0.0.1:8443/?database=cvat&query=INSERT")
        assert sink["tls"] == {"ca_file": CA}
    api = ini(vector["/etc/cvat-analytics/events-api/events-api.ini"])["clickhouse"]
    assert (api["host"], api["port"], api["ca_file"]) == ("10.0.0.1", "8443", CA)
    grafana = files(authority, "c", clickhouse_tls=True)
    (source,) = yaml.safe_load(grafana["/etc/grafana/provisioning/datasources/cvat-analytics.yaml"].content)[
        "datasources"
    ]
    expected = {
        "host": "10.0.0.1",
        "port": 9440,
        "protocol": "native",
        "secure": True,
        "tlsAuthWithCACert": True,
    }
    assert source["jsonData"].items() >= expected.items()
    assert source["secureJsonData"]["tlsCACert"] == f"$__file{{{CA}}}"
    for made in (vector, grafana):
        assert (made[CA].content, made[CA].mode) == (authority.make().certificate, "644")

    here = files(authority, "a", TOGETHER, clickhouse_tls=True)
    (source,) = yaml.safe_load(here["/etc/grafana/provisioning/datasources/cvat-analytics.yaml"].content)[
        "datasources"
    ]
    assert (source["jsonData"]["host"], source["jsonData"]["port"]) == ("127.0.0.1", 9000)
    assert "secure" not in source["jsonData"]
    assert 'uri = "http://127.0.0.1:8123/' in here["/etc/vector/vector.toml"].content
    assert "ca_file" not in ini(here["/etc/cvat-analytics/events-api/events-api.ini"])["clickhouse"]


def test_grafana_and_vector_get_certificates_for_each_way_to_them(authority: Authority) -> None:
    made = files(
        authority, "c", grafana_tls=True, grafana_listen_address="192.168.7.7",
        grafana_root_url="https://graphs.example.org/analytics/",
    )  # fmt: skip
    server = ini(made["/etc/grafana/cvat-analytics.ini"])["server"]
    assert server["protocol"] == "https"
    for option, name in (("cert_file", "tls_certificate"), ("cert_key", "tls_key")):
        assert server[option] == f"/run/credentials/grafana-server.service/{name}"
        loaded = f"LoadCredential={name}:/etc/cvat-analytics/secrets/grafana-server/{name}\n"
        assert loaded in made["/etc/systemd/system/grafana-server.service.d/cvat-analytics.conf"].content
    assert set(shown(made, "/etc/cvat-analytics/secrets/grafana-server").names()) == {
        "10.0.0.3", "127.0.0.1", "192.168.7.7", "::1", "c", "graphs.example.org", "localhost",
    }  # fmt: skip

    made = files(authority, "b", vector_tls=True, vector_listen_address="0.0.0.0")
    source = tomllib.loads(made["/etc/vector/vector.toml"].content)["sources"]["cvat_8282"]
    assert source["tls"]["crt_file"] == "/run/credentials/vector.service/tls_certificate"
    pair = shown(made, "/etc/cvat-analytics/secrets/vector")
    # everywhere is no address that one connects to
    assert set(pair.names()) == {"127.0.0.1", "::1", "b", "fd00::2", "localhost"}
    api = ini(made["/etc/cvat-analytics/events-api/events-api.ini"])["vector"]
    assert (api["url"], api["ca_file"]) == ("https://127.0.0.1:8282/", CA)


def test_a_certificate_of_the_operators_own_is_shown_in_the_place_of_the_authoritys(
    authority: Authority, tmp_path: Path
) -> None:
    own: dict[str, Any] = {f"vector_tls_{name}": tmp_path / name for name in ("certificate", "key")}
    for file in own.values():
        file.write_text(f"the {file.name}\n")
    made = files(authority, "b", vector_tls=True, **own)
    assert shown(made, "/etc/cvat-analytics/secrets/vector") == Pair("the certificate\n", "the key\n")
    assert "ca_file" not in ini(made["/etc/cvat-analytics/events-api/events-api.ini"])["vector"]
    assert CA not in made
    assert authority.issued() == {}


@pytest.mark.parametrize("host", ["@docker/some_image", "stats.example.org", "web_1"])
def test_any_name_that_pyinfra_knows_a_host_by_gives_a_certificate(authority: Authority, host: str) -> None:
    groups = {group: [host] for group in ("clickhouse", "vector", "grafana")}
    one = topology.build(groups, {host: {"grafana_tls": True}}, where="test")
    names = certificates.certificate(authority, one, host, "grafana").names()
    assert {"127.0.0.1", "::1", "localhost"} <= set(names)
    assert (host in names) == (host == "stats.example.org")
    assert len(list(authority.directory.glob("grafana-*.pem"))) == 2


def test_without_the_settings_nothing_is_signed_and_everything_of_them_is_left_over(
    authority: Authority,
) -> None:
    for host in ADDRESSES:
        assert not [path for path in files(authority, host) if path.endswith(".pem") or "tls" in path]
    assert not authority.directory.exists()
    context = Context("a", described(TOGETHER), secrets.generate(), authority=authority)
    gone = tls.left_over(context)
    with_tls = files(authority, "a", TOGETHER, clickhouse_tls=True, vector_tls=True, grafana_tls=True)
    assert sorted(gone) == sorted(with_tls.keys() - files(authority, "a", TOGETHER).keys())
    everything = described(TOGETHER, clickhouse_tls=True, vector_tls=True, grafana_tls=True)
    context = Context("a", everything, secrets.generate(), authority=authority)
    assert tls.left_over(context) == []


def test_the_firewall_guards_the_ports_with_tls_too(authority: Authority) -> None:
    context = Context("a", described(APART, clickhouse_tls=True, firewall=True), secrets.generate())
    (part,) = gateway.guarded_ports(context)
    assert part["ports"] == [8123, 8443, 9000, 9440]


def test_a_command_verifies_each_part_for_the_host_that_it_is_on(authority: Authority) -> None:
    file = authority.certificate_file
    settings = validate(
        {"vector_tls": True, "grafana_tls": True, "address": "10.0.0.9", "grafana_listen_address": "0.0.0.0"},
        where="t",
    )
    assert endpoints.trust("grafana", settings, file) == endpoints.Trust(file, "10.0.0.9")
    assert endpoints.trust("vector", settings, file) == endpoints.Trust(file, "10.0.0.9")
    alone = validate(
        {"vector_tls": True, "grafana_tls": True, "grafana_listen_address": "0.0.0.0"}, where="t"
    )
    assert endpoints.trust("grafana", alone, file) == endpoints.Trust(file, "127.0.0.1")
    assert endpoints.trust("clickhouse", validate({"clickhouse_tls": True}, where="t"), file) is None
    stack = described(APART, clickhouse_tls=True)
    assert topology.clickhouse_from("c", stack, file) == (
        ("10.0.0.1", 8443),
        endpoints.Trust(file, "10.0.0.1"),
    )
    assert topology.clickhouse_from("a", stack, file) == (("127.0.0.1", 8123), None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"clickhouse_tls": True, "vector_port": 8443},
            "port 8443 .* already used by 'clickhouse_https_port'",
        ),
        (
            {"grafana_tls": True, "grafana_root_url": "http://10.0.0.3:3000/"},
            "'grafana_root_url'.*its https address",
        ),
    ],
)
def test_what_cannot_work_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        described(TOGETHER, **settings)


def test_grafana_behind_the_gateway_needs_no_tls_of_its_own() -> None:
    behind = TOGETHER | {"gateway": ["a"]}
    with pytest.raises(
        InputError, match="'grafana_tls' of host a: the gateway on that host speaks TLS already"
    ):
        described(behind, grafana_tls=True, grafana_root_url="https://a.example.org/analytics/")


def test_a_grafana_with_tls_is_reached_by_https() -> None:
    assert validate({"grafana_tls": True}, where="t").grafana_root_url == "https://localhost:3000/analytics/"


def test_vector_is_not_sent_to_an_address_that_it_cannot_verify(authority: Authority) -> None:
    addresses = {"a": "fd00::1", "b": "10.0.0.2"}
    own = {host: {"address": address, "clickhouse_tls": True} for host, address in addresses.items()}
    groups = {"clickhouse": ["a"], "vector": ["b"], "grafana": ["a"]}
    with pytest.raises(InputError, match=r"'address' of host a: .*Vector verifies no IPv6 address"):
        topology.build(groups, own, where="test")
    apart = topology.build(groups | {"vector": ["a"], "grafana": ["b"]}, own, where="test")
    context = Context("b", apart, secrets.generate(), authority=authority)
    (source,) = [
        file
        for file in render.grafana_files(context)
        if file.path.endswith("datasources/cvat-analytics.yaml")
    ]
    # Go's net.Dial takes HOST:PORT, and crypto/x509 an address in brackets for a name
    assert yaml.safe_load(source.content)["datasources"][0]["jsonData"]["host"] == "[fd00::1]"
