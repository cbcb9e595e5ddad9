"""The events API as one archive: the program, what it needs in locked versions, and Swagger UI.

Made on the operator's machine for the host's own Python, so that the host needs neither pip nor the internet, and runs
exactly what the lock file names. The wheels come from the package index that the operator's machine uses, or, with an
offline bundle, from that directory.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
from hashlib import sha256
from pathlib import Path

from cvat_analytics.api.documentation import ASSETS, assets
from cvat_analytics.errors import InputError
from cvat_analytics.render import ROOT
from cvat_analytics.settings import Settings

LOCK = ROOT / "requirements-events-api.lock"
PYTHONS = {
    ("debian", "12"): "3.11",
    ("debian", "13"): "3.13",
    ("ubuntu", "22.04"): "3.10",
    ("ubuntu", "24.04"): "3.12",
}
"""The distributions' own Python."""
# the oldest C library among them is Ubuntu 22.04's
_PLATFORMS = {"amd64": "x86_64-manylinux_2_34", "arm64": "aarch64-manylinux_2_34"}


def program() -> dict[str, bytes]:
    """Return the program's files by their path in the archive.

    Raises InputError when Swagger UI is not installed.
    """
    package = ROOT / "cvat_analytics"
    files = [package / "__init__.py", package / "errors.py", package / "users.py"]
    files += [file for file in sorted((package / "api").rglob("*")) if file.suffix in (".py", ".html", ".js")]
    found = {f"lib/{file.relative_to(ROOT)}": file.read_bytes() for file in files}
    for name in ASSETS:
        file = assets() / name
        if not file.is_file():
            raise InputError(f"Swagger UI: there is no {file}. Run `make setup`")
        found[f"lib/cvat_analytics/api/static/swagger-ui/{name}"] = file.read_bytes()
    return found


def digest(python: str, architecture: str) -> str:
    """Return what stands for the archive's content, without making it."""
    found = sha256(f"{python} {architecture}\0".encode() + LOCK.read_bytes())
    for path, content in program().items():
        found.update(f"{path}\0{len(content)}\0".encode() + content)
    return found.hexdigest()


def archive(settings: Settings, python: str, architecture: str) -> bytes:
    """Return the archive (tar.gz) for a host with that Python and architecture.

    Raises InputError when the wheels cannot be had.
    """
    with tempfile.TemporaryDirectory(prefix="cvat-analytics-") as name:
        _install(settings, python, architecture, Path(name))
        wheels = {
            f"lib/{file.relative_to(name)}": file.read_bytes()
            for file in sorted(Path(name).rglob("*"))
            if file.is_file()
            and "__pycache__" not in file.parts
            and file.parts[len(Path(name).parts)] != "bin"
        }
    return _pack(wheels | program())


def _install(settings: Settings, python: str, architecture: str, target: Path) -> None:
    command = [
        str(Path(sys.executable).with_name("uv")), "pip", "install", "-q", "-p", sys.executable, "--target", str(target),
        "--python-version", python, "--python-platform", _PLATFORMS[architecture],
        "--only-binary", ":all:", "--no-deps", "--require-hashes", "-r", str(LOCK),
    ]  # fmt: skip
    bundle = settings.package_source
    if bundle != "vendor" and not bundle.startswith(("http://", "https://")):
        command += ["--no-index", "--find-links", bundle]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"events API: uv cannot collect the wheels ({error}). Run `make setup`") from None
    if done.returncode != 0:
        reason = " ".join(done.stderr.split())[:500]
        raise InputError(
            f"events API: the wheels of {LOCK.name} for Python {python} cannot be had: {reason}. With an offline bundle, put them "
            "there (docs/api.md says how)"
        )


def _pack(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6) as target:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o644
            target.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
