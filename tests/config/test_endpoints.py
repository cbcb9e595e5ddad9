"""Every client of a component goes by the settings of the host that runs it, and checks whose certificate it is shown."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from cvat_analytics.base.errors import InputError, UnreachableError
from cvat_analytics.config import inventory
from cvat_analytics.config.endpoints import Endpoint, Trust
from cvat_analytics.config.validation import validate
from cvat_analytics.connect import remote, ssh
from cvat_analytics.connect.access import Access
from cvat_analytics.connect.http import http_client
from cvat_analytics.credentials import secrets
from cvat_analytics.credentials.certificates import Authority
from cvat_analytics.pipeline import events
from cvat_analytics.pipeline.dead_letters import DeadLetters
from cvat_analytics.pipeline.dead_letters_retry import Retry
from tests.tls_server import listening_with

FRONT = ["grafana", "events_api", "gateway"]


def reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: Mapping[str, Mapping[str, Any]]
) -> Access:
    """Return the way to a stack on three hosts, `store`, `ingest` and `front`, each with settings of its own."""
    if not (tmp_path / "secrets.json").exists():
        secrets.init(tmp_path / "secrets.json")
    groups = {"store": ["clickhouse"], "ingest": ["vector"], "front": FRONT}
    hosts = [
        inventory.Host(name, groups[name], {"address": f"10.0.0.{number}"} | dict(values.get(name, {})))
        for number, name in enumerate(groups, 1)
    ]
    stack = inventory.describe(hosts, tmp_path / "hosts.py")
    monkeypatch.setattr(inventory, "load", lambda path: stack)
    # as if each host were this machine: nothing is forwarded, so that each address stays to be seen
    monkeypatch.setattr(ssh, "connect", lambda hosts, opened: ({host.name: None for host in hosts}, {}))
    with remote.reach(tmp_path / "hosts.py") as access:
        return access


def test_each_component_has_the_settings_of_its_own_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Authority(tmp_path).issue("vector", ["vector.example.org"])
    values = {
        "store": {"database": "stored", "clickhouse_http_port": 8124, "vector_port": 1, "grafana_port": 2},
        "ingest": {
            "vector_port": 9001,
            "vector_extra_ports": (9002,),
            "vector_listen_address": "0.0.0.0",
            "vector_username": "sender",
            "vector_tls_certificate": tmp_path / "vector.pem",
            "vector_tls_key": tmp_path / "vector-key.pem",
            "clickhouse_http_port": 3,
        },
        "front": {
            "grafana_port": 3001,
            "grafana_language": "ja",
            "grafana_root_url": "https://front.example.org/stats/",
            "events_api_port": 8001,
            "cvat_url": "https://cvat.example.org",
            "gateway_listen_address": "10.0.0.3",
            "gateway_https_port": 8443,
            "gateway_http_port": 8080,
        },
    }
    access = reached(tmp_path, monkeypatch, values)
    assert access.database == "stored"
    assert access.clickhouse.url == "http://127.0.0.1:8124"
    assert {
        user: access.clickhouse_for(user).url for user in ("admin", "vector", "grafana", "events_api")
    } == {
        "admin": "http://127.0.0.1:8124",
        "vector": "http://10.0.0.1:8124",
        "grafana": "http://10.0.0.1:8124",
        "events_api": "http://10.0.0.1:8124",
    }
    assert access.vector.url == "https://127.0.0.1:9001"
    assert access.vector.settings.vector_extra_ports == (9002,)
    assert access.vector_login == ("sender", access.secrets["vector_ingest"])
    assert access.vector.trust == Trust(tmp_path / "vector.pem")
    assert access.grafana.url + access.grafana.settings.grafana_path == "http://127.0.0.1:3001/stats"
    assert access.grafana.settings.grafana_language == "ja"
    assert access.events_api
    assert access.gateway
    assert access.gateway_http
    assert access.events_api.url == "http://127.0.0.1:8001"
    assert access.events_api.settings.cvat_url == "https://cvat.example.org/"
    assert access.gateway.url == "https://10.0.0.3:8443"
    assert access.gateway.trust == Trust(tmp_path / "certificates" / "ca.pem", "front.example.org")
    assert access.gateway_http.url == "http://10.0.0.3:8080"


def test_what_listens_everywhere_is_reached_on_loopback_of_the_same_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everywhere = {
        "grafana_root_url": "https://front.example.org/analytics/",
        "gateway_listen_address": "::",
        "events_api_listen_address": "0.0.0.0",
    }
    access = reached(tmp_path, monkeypatch, {"front": everywhere})
    assert access.gateway
    assert access.events_api
    assert access.gateway.url == "https://[::1]:443"  # nginx takes no IPv4 there
    assert access.events_api.url == "http://127.0.0.1:8283"


def test_what_is_set_on_the_clickhouse_host_says_nothing_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Authority(tmp_path).issue("vector", ["vector.example.org"])
    elsewhere = {
        "vector_username": "sender",
        "vector_tls_certificate": tmp_path / "vector.pem",
        "vector_tls_key": tmp_path / "vector-key.pem",
        "vector_extra_ports": (9002,),
        "grafana_root_url": "https://wrong.example.org/wrong/",
    }
    access = reached(tmp_path, monkeypatch, {"store": elsewhere})
    assert access.vector_login is None
    assert access.vector.trust is None
    assert access.vector.settings.vector_extra_ports == ()
    assert access.grafana.settings.grafana_path == "/analytics"


def asked(host: str, port: int, trust: Trust) -> int:
    """Return the status of an answer."""
    endpoint = Endpoint(host, port, validate({}, where="test"), trust)
    with http_client(endpoint.url, endpoint.tls(), timeout=5) as asking:
        return asking.get("/").status_code


def test_a_certificate_is_checked_for_its_host_though_it_is_reached_through_a_forwarded_port(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)
    authority.issue("vector", ["vector.example.org"])
    with listening_with(tmp_path / "vector.pem") as (host, port, _):
        assert asked(host, port, Trust(authority.certificate_file, "vector.example.org")) == 200
    with (
        listening_with(tmp_path / "vector.pem") as (host, port, _),
        pytest.raises(httpx.ConnectError, match="Hostname mismatch"),
    ):
        asked(host, port, Trust(authority.certificate_file, "grafana.example.org"))


def test_a_certificate_of_another_authority_is_refused(tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    other.issue("vector", ["vector.example.org"])
    ours = Authority(tmp_path / "ours")
    ours.make()
    with (
        listening_with(tmp_path / "other" / "vector.pem") as (host, port, _),
        pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        asked(host, port, Trust(ours.certificate_file, "vector.example.org"))
    missing = Trust(tmp_path / "certificates" / "ca.pem", "vector.example.org")
    with pytest.raises(InputError, match=r"ca.pem: cannot be read .* Copy it from the machine that deploys"):
        asked("127.0.0.1", 1, missing)


def test_a_given_certificate_is_trusted_by_itself_and_not_what_its_issuer_has_signed_for_others(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)
    issued = authority.issue("vector", ["vector.example.org"])
    authority.issue("other", ["other.example.org"])
    chain = tmp_path / "chain.pem"
    chain.write_text(issued.certificate + authority.certificate_file.read_text())
    with listening_with(tmp_path / "vector.pem") as (host, port, _):
        assert asked(host, port, Trust(chain)) == 200
    with (
        listening_with(tmp_path / "other.pem") as (host, port, _),
        pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        asked(host, port, Trust(chain))


def test_events_and_dead_letters_go_through_tls_with_the_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Authority(tmp_path).issue("vector", ["vector.example.org"])
    ingest = {
        "vector_tls_certificate": tmp_path / "vector.pem",
        "vector_tls_key": tmp_path / "vector-key.pem",
        "vector_username": "sender",
    }
    secrets.init(tmp_path / "secrets.json")
    password = secrets.load(tmp_path / "secrets.json")["vector_ingest"]
    login = "Basic " + base64.b64encode(f"sender:{password}".encode()).decode()
    with listening_with(tmp_path / "vector.pem") as (_, port, received):
        access = reached(tmp_path, monkeypatch, {"ingest": ingest | {"vector_port": port}})
        _send_events(access)
        _send_dead_letter(access)
    assert received == [f"POST {login}", f"POST {login}"]


def test_no_event_goes_to_somebody_with_another_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ours", "other"):
        Authority(tmp_path / name).issue("vector", ["vector.example.org"])
    ingest = {
        "vector_tls_certificate": tmp_path / "ours" / "vector.pem",
        "vector_tls_key": tmp_path / "ours" / "vector-key.pem",
    }
    with listening_with(tmp_path / "other" / "vector.pem") as (_, port, received):
        access = reached(tmp_path, monkeypatch, {"ingest": ingest | {"vector_port": port}})
        with pytest.raises(
            UnreachableError, match=rf"Vector at https://127.0.0.1:{port} did not accept events"
        ):
            _send_events(access)
        with pytest.raises(UnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
            _send_dead_letter(access)
    assert received == []


def _send_events(access: Access) -> None:
    vector = access.vector
    events.send([{"scope": "load:cvat"}], *vector.address, login=access.vector_login, tls=vector.tls())


def _send_dead_letter(access: Access) -> None:
    letters = DeadLetters.__new__(DeadLetters)  # without a ClickHouse
    letters.access = access
    Retry(letters)._send([b"{}"])
