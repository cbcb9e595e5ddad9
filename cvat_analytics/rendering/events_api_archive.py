"""The events API as one archive: the program, what it needs in locked versions, and Swagger UI.

Made on the operator's machine for the host's own Python, so that the host needs neither pip nor the internet, and runs
exactly what the lock file names. The wheels come from the package index that the operator's machine uses, or, with an
offline bundle, from that directory. They are unpacked here, right after their hashes have been checked: an installer may
take files from a cache that it checked long ago, and that has been changed since.
"""

from __future__ import annotations

import gzip
import io
import re
import tarfile
import zipfile
from functools import cache
from hashlib import sha256
from pathlib import Path

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.base.project import LIBRARY, cache_directory
from cvat_analytics.base.swagger_ui import ASSETS, assets
from cvat_analytics.config import package_source
from cvat_analytics.config.settings import Settings
from cvat_analytics.rendering import events_api_wheels
from cvat_analytics.rendering.events_api_wheels import LOCK, Target

_BESIDES = (
    "__init__.py",
    "base/__init__.py",
    "base/addresses.py",
    "base/clickhouse_text.py",
    "base/codes.py",
    "base/errors.py",
    "base/files.py",
    "base/host_header.py",
    "base/project.py",
    "base/swagger_ui.py",
    "base/tls_context.py",
    "credentials/__init__.py",
    "credentials/users.py",
    "store/__init__.py",
    "store/event_columns.py",
    "store/event_scopes.py",
)
"""What the events API imports of this project beside itself; it all runs on Python 3.10."""
_LIBRARY = re.compile(r"^[^/]+\.data/(purelib|platlib)/")


def program() -> dict[str, bytes]:
    """Return the program's files by their path in the archive.

    Raises InputError when Swagger UI is not installed.
    """
    files = [LIBRARY / name for name in _BESIDES]
    files += [file for file in sorted((LIBRARY / "api").rglob("*")) if file.suffix in (".py", ".html", ".js")]
    contents = {f"lib/{file.relative_to(LIBRARY.parent)}": file.read_bytes() for file in files}
    for name in ASSETS:
        file = assets() / name
        if not file.is_file():
            raise InputError(Code.CHECKOUT_INCOMPLETE, f"Swagger UI: there is no {file}. Run `make setup`")
        contents[f"lib/cvat_analytics/api/static/swagger-ui/{name}"] = file.read_bytes()
    return contents


def digest(python: str, architecture: str) -> str:
    """Return what stands for the archive's content, without making it."""
    hashed = sha256(f"{python} {architecture}\0".encode() + LOCK.read_bytes())
    for path, content in program().items():
        hashed.update(f"{path}\0{len(content)}\0".encode() + content)
    return hashed.hexdigest()


def archive(settings: Settings, python: str, architecture: str) -> bytes:
    """Return the archive (tar.gz) for a host with that Python and architecture.

    Raises InputError when the wheels cannot be had.
    """
    target = Target(python, architecture)
    return _archive(package_source.bundle(settings), target, digest(python, architecture))


@cache
def _archive(bundle: Path | None, target: Target, content: str) -> bytes:
    """Return the archive whose digest is `content`, made once: a deploy asks several times, for each of its hosts."""
    directory = bundle or cache_directory() / "wheels"
    if not bundle:
        events_api_wheels.fetch(directory, [target])
    files: dict[str, bytes] = {}
    for wheel in events_api_wheels.complete(directory, target):
        files |= _unpacked(wheel)
    return _pack(files | program())


def _unpacked(wheel: Path) -> dict[str, bytes]:
    """Return the wheel's modules by their path in the archive (PEP 427); its programs and other data stay out."""
    contents = {}
    with zipfile.ZipFile(wheel) as content:
        for item in content.infolist():
            path = _LIBRARY.sub("", item.filename)
            parts = path.split("/")
            if not item.is_dir() and ".." not in parts and not parts[0].endswith(".data"):
                contents[f"lib/{path}"] = content.read(item)
    return contents


def _pack(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    # no time in it: the same files are the same archive
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=6, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as target,
    ):
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o644
            target.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
