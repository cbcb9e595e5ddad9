"""The events API's configuration as it is rendered, read by the service itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from cvat_analytics.api import config
from cvat_analytics.config import topology
from cvat_analytics.credentials import secrets
from cvat_analytics.rendering import events_api
from cvat_analytics.rendering.context import Context
from cvat_analytics.rendering.files import Paths

GROUPS = {"clickhouse": ["a"], "vector": ["b"], "grafana": ["a"], "events_api": ["c"], "gateway": []}


def rendered(directory: Path, own: dict[str, object] | None = None, **settings: object) -> config.Config:
    """Return the configuration of the host `c`, which has `settings` as all have, and its `own`."""
    values = {name: {"address": f"10.0.0.{number}", **settings} for number, name in enumerate("abc", 1)}
    values["c"] |= own or {}
    values["b"]["vector_listen_address"] = "0.0.0.0"
    described = topology.build(GROUPS, values, where="test")
    context = Context("c", described, secrets.generate(), Paths(root=str(directory)))
    for file in events_api.files(context, directory / "users.json"):
        path = Path(file.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.content)
        if path.is_relative_to(context.paths.secrets):
            credential = Path(context.paths.events_api_credentials) / path.name
            credential.parent.mkdir(parents=True, exist_ok=True)
            credential.write_text(file.content)
    return config.read(Path(context.paths.events_api_config) / "events-api.ini")


def test_the_service_reads_what_is_rendered_for_it(tmp_path: Path) -> None:
    config = rendered(
        tmp_path,
        events_api_client_scopes=["a:b", "c:d"],
        events_api_export_retention="90m",
        events_api_export_max_size="2GiB",
    )
    assert (config.clickhouse.host, config.clickhouse.user, config.vector.url) == (
        "10.0.0.1",
        "events_api",
        "http://10.0.0.2:8282/",
    )
    assert config.client_scopes == ("a:b", "c:d")
    assert (config.exports.keep.total_seconds(), config.exports.bytes_per_user) == (5400, 2 * 2**30)
    assert (config.cvat_url, config.vector.username, config.vector.certificate) == ("", "", None)
    assert len(config.clickhouse.password) > 20


def test_cvat_and_vectors_password_and_certificate_follow_the_settings(tmp_path: Path) -> None:
    for name in ("certificate", "key"):
        (tmp_path / name).write_text("PEM")
    config = rendered(
        tmp_path, cvat_url="https://cvat.example.org", cvat_server_url="http://10.0.0.9:8080", vector_username="cvat",
        vector_tls_certificate=tmp_path / "certificate", vector_tls_key=tmp_path / "key",
    )  # fmt: skip
    assert config.cvat_url == "http://10.0.0.9:8080"
    assert config.vector.url == "https://10.0.0.2:8282/"
    assert (config.vector.username, len(config.vector.password) > 20) == ("cvat", True)
    assert config.vector.certificate is not None
    assert config.vector.certificate.read_text() == "PEM"


def test_a_host_with_a_vector_sends_to_it_and_logs_in_as_that_one_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GROUPS, "vector", ["b", "c"])
    config = rendered(tmp_path, own={"vector_username": "here"})
    assert config.vector.url == "http://127.0.0.1:8282/"
    assert (config.vector.username, len(config.vector.password) > 20) == ("here", True)
