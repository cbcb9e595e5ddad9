"""The Grafana plugin as a file: right or refused, wherever it comes from."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from cvat_analytics.base.errors import InputError
from cvat_analytics.config.settings import Settings
from cvat_analytics.config.validation import validate
from cvat_analytics.rendering import plugin
from tests.serving import QuietServer, served


def archive(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for name, text in files.items():
            target.writestr(f"{plugin.NAME}/{name.replace('__', '/').replace('_DOT_', '.')}", text)
        target.writestr(f"{plugin.NAME}/../escaped", "no")
    return buffer.getvalue()


CONTENT = archive(plugin_DOT_json="{}", gpx_clickhouse_linux_amd64="program", img__logo_DOT_svg="<svg/>")


def bundle(directory: Path, content: bytes = CONTENT, **values: object) -> Settings:
    digest = hashlib.sha256(CONTENT).hexdigest()
    settings = validate(
        {"package_source": str(directory), "grafana_plugin_sha256": {"amd64": digest}, **values}, where="test"
    )
    (directory / plugin.file_name(settings, "amd64")).write_bytes(content)
    return settings


def members(content: bytes) -> dict[str, int]:
    with tarfile.open(fileobj=io.BytesIO(content)) as source:
        return {member.name: member.mode for member in source}


def test_the_zip_becomes_a_tar_without_its_top_directory(tmp_path: Path) -> None:
    packed = members(plugin.archive(bundle(tmp_path), "amd64"))
    assert packed == {"plugin.json": 0o644, "gpx_clickhouse_linux_amd64": 0o755, "img/logo.svg": 0o644}


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    settings = bundle(tmp_path, CONTENT + b"x")
    with pytest.raises(InputError, match=r"its sha256 is .* Do not install it"):
        plugin.archive(settings, "amd64")


def test_a_missing_file_and_an_unknown_architecture_are_refused(tmp_path: Path) -> None:
    settings = bundle(tmp_path)
    (tmp_path / plugin.file_name(settings, "amd64")).unlink()
    with pytest.raises(InputError, match=r"has no grafana-clickhouse-datasource-.*\.zip\. Put it there"):
        plugin.archive(settings, "amd64")
    with pytest.raises(InputError, match="has no entry for arm64"):
        plugin.sha256(settings, "arm64")


def test_the_cache_spares_the_download_and_a_source_that_is_away_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    key = tmp_path / "key.asc"
    key.write_text("-----BEGIN PGP PUBLIC KEY BLOCK-----")
    digest = hashlib.sha256(CONTENT).hexdigest()
    settings = validate(
        {
            "package_source": "http://127.0.0.1:1/mirror",
            "package_signing_key": str(key),
            "grafana_plugin_sha256": {"amd64": digest},
        },
        where="test",
    )
    cached = tmp_path / "cvat-analytics" / plugin.file_name(settings, "amd64")
    with pytest.raises(InputError, match=rf"cannot be fetched .* put it at {cached}"):
        plugin.archive(settings, "amd64")
    cached.parent.mkdir()
    cached.write_bytes(CONTENT)
    assert "plugin.json" in members(plugin.archive(settings, "amd64"))


def test_what_comes_from_outside_comes_through_the_environment_s_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.server.asked.append(self.path)  # type: ignore[attr-defined]
            self.send_response(200)
            self.end_headers()
            self.wfile.write(CONTENT)

        def log_message(self, format: str, *arguments: object) -> None: ...

    key = tmp_path / "key.asc"
    key.write_text("-----BEGIN PGP PUBLIC KEY BLOCK-----")
    settings = validate(
        {
            "package_source": "http://mirror.invalid/apt",
            "package_signing_key": str(key),
            "grafana_plugin_sha256": {"amd64": hashlib.sha256(CONTENT).hexdigest()},
        },
        where="test",
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with served(QuietServer(("127.0.0.1", 0), Proxy)) as proxy:
        proxy.asked = asked = list[str]()  # type: ignore[attr-defined]
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.server_port}")
        assert "plugin.json" in members(plugin.archive(settings, "amd64"))
    assert asked == [f"http://mirror.invalid/apt/{plugin.file_name(settings, 'amd64')}"]


def test_a_proxy_that_cannot_be_used_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for address, reason in (
        ("socks5://127.0.0.1:1", "SOCKS proxy"),
        ("nothing://127.0.0.1:1", "Unknown scheme"),
    ):
        monkeypatch.setenv("all_proxy", address)
        with pytest.raises(InputError, match=rf"cannot be fetched \(.*{reason}.*put it at"):
            plugin.archive(validate({}, where="test"), "amd64")
