"""Grafana's ClickHouse datasource plugin as a file: fetched once, checked against its sha256, kept in a cache.

Grafana itself never downloads it: at start that would need the internet, and would take whatever version is newest.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.base.project import cache_directory
from cvat_analytics.base.tls_context import system_and_public
from cvat_analytics.config import package_source
from cvat_analytics.config.settings import Settings

NAME = "grafana-clickhouse-datasource"
_VENDOR_URL = (
    "https://grafana.com/api/plugins/{name}/versions/{version}/download?os=linux&arch={architecture}"
)


def file_name(settings: Settings, architecture: str) -> str:
    """Return the name of the plugin's zip in a bundle, on a mirror and in the cache."""
    return f"{NAME}-{settings.grafana_plugin_version}.linux_{architecture}.zip"


def sha256(settings: Settings, architecture: str) -> str:
    """Return the sha256 that the zip must have. Raises InputError when the settings have none for `architecture`."""
    digest = settings.grafana_plugin_sha256.get(architecture)  # type: ignore[call-overload]
    if not digest:
        raise InputError(
            Code.SETTING_WRONG, f"setting 'grafana_plugin_sha256': has no entry for {architecture}"
        )
    return str(digest)


def archive(settings: Settings, architecture: str) -> bytes:
    """Return the plugin as a tar.gz of what belongs into its directory.

    The zip comes from the bundle, the cache, the mirror or the vendor, in that order of choice. Raises InputError when
    it cannot be had or is not the file that the settings name.
    """
    return _repack(*checked(settings, architecture))


def checked(settings: Settings, architecture: str) -> tuple[bytes, str]:
    """Return the plugin's zip, and where it is from. Raises InputError as `archive`."""
    expected = sha256(settings, architecture)
    content, origin = _fetch(settings, architecture, expected)
    actual = hashlib.sha256(content).hexdigest()
    if actual != expected:
        raise InputError(
            Code.CHECKSUM_DIFFERS,
            f"plugin {origin}: its sha256 is {actual}, not the {expected} of 'grafana_plugin_sha256'. Do not install it; compare with the vendor",
        )
    return content, origin


def _fetch(settings: Settings, architecture: str, expected: str) -> tuple[bytes, str]:
    name = file_name(settings, architecture)
    if directory := package_source.bundle(settings):
        path = directory / name
        if not path.is_file():
            raise InputError(Code.PACKAGE_MISSING, f"package_source {directory}: has no {name}. Put it there")
        return path.read_bytes(), str(path)
    cached = cache_directory() / name
    if cached.is_file() and hashlib.sha256(cached.read_bytes()).hexdigest() == expected:
        return cached.read_bytes(), str(cached)
    vendor = _VENDOR_URL.format(name=NAME, version=settings.grafana_plugin_version, architecture=architecture)
    is_vendor = package_source.kind(settings) == "vendor"
    url = vendor if is_vendor else f"{settings.package_source.rstrip('/')}/{name}"
    content = _downloaded(url, cached)
    if hashlib.sha256(content).hexdigest() == expected:
        cached.parent.mkdir(parents=True, exist_ok=True)
        cached.write_bytes(content)
    return content, url


def _downloaded(url: str, otherwise: Path) -> bytes:
    """Return what is at `url`, which lies outside: here the environment's proxy is the way. Raises InputError."""
    import httpx

    try:
        answer = httpx.get(url, timeout=120, follow_redirects=True, verify=system_and_public())
        return answer.raise_for_status().content
    except httpx.HTTPStatusError as error:
        reason = f"HTTP {error.response.status_code} {error.response.reason_phrase}"
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, ImportError) as error:
        # the last two: a proxy's address that is none, and one by SOCKS, for which more would have to be installed
        reason = str(error) or type(error).__name__
    raise InputError(
        Code.FETCH_FAILED,
        f"plugin {url}: cannot be fetched ({reason}). Fetch it elsewhere and put it at {otherwise}",
    )


def _repack(content: bytes, origin: str) -> bytes:
    """Return the zip's files, less its one top directory, as a tar.gz: every host has tar, few have unzip."""
    buffer = io.BytesIO()
    try:
        with (
            zipfile.ZipFile(io.BytesIO(content)) as source,
            tarfile.open(fileobj=buffer, mode="w:gz") as target,
        ):
            for item in source.infolist():
                _, _, path = item.filename.partition("/")
                if item.is_dir() or not path or ".." in path.split("/"):
                    continue
                entry = tarfile.TarInfo(path)
                entry.size = item.file_size
                entry.mode = 0o755 if Path(path).name.startswith("gpx_") else 0o644
                target.addfile(entry, io.BytesIO(source.read(item)))
    except zipfile.BadZipFile:
        raise InputError(Code.CHECKSUM_DIFFERS, f"plugin {origin}: is not a zip file") from None
    return buffer.getvalue()
