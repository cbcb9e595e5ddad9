"""The Grafana plugin as a file: right or refused, wherever it comes from."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from cvat_analytics.base.errors import InputError
from cvat_analytics.config.settings import Settings
from cvat_analytics.config.validation import validate
from cvat_analytics.rendering import plugin


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
