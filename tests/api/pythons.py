"""The Pythons that hosts have, where this machine has them too, and the events API as such a host gets it."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
from contextlib import suppress
from pathlib import Path

from cvat_analytics.config.validation import validate
from cvat_analytics.rendering import events_api_archive
from cvat_analytics.rendering.events_api_wheels import PYTHONS
from tests.api.harness import Program

VERSIONS = sorted(set(PYTHONS.values()), key=lambda version: [int(part) for part in version.split(".")])
OLDEST = VERSIONS[0]


def find(version: str) -> Path | None:
    """Return a Python of that version (`3.10`): one on PATH, or one that pyenv or uv has installed."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    managed = Path(os.environ.get("UV_PYTHON_INSTALL_DIR", Path.home() / ".local/share/uv/python"))
    candidates: list[str | Path] = [
        *filter(None, [shutil.which(f"python{version}")]),
        *sorted(pyenv.glob(f"{version}.*/bin/python3")),
        *sorted(managed.glob(f"cpython-{version}.*/bin/python3")),
    ]
    for candidate in candidates:
        # one on PATH may be pyenv's link, which works in some directories only: what it leads to is meant
        answer = subprocess.run(
            [candidate, "-c", "import sys; print('{}.{}'.format(*sys.version_info), sys.executable)"],
            capture_output=True,
            text=True,
            check=False,
        )
        release, _, executable = answer.stdout.strip().partition(" ")
        if release == version:
            return Path(executable)
    return None


def install(version: str) -> Path | None:
    """Return a Python of that version that uv has fetched; None where it cannot, as without a way to its makers' site."""
    with suppress(OSError, subprocess.TimeoutExpired):
        uv = Path(sys.executable).with_name("uv")
        subprocess.run(
            [uv, "python", "install", "--quiet", version], capture_output=True, check=False, timeout=120
        )
    return find(version)


def program(python: Path, version: str, directory: Path) -> Program:
    """Unpack the archive for that Python into `directory`, as a deploy does; nothing else is there to be imported."""
    content = events_api_archive.archive(validate({}, where="defaults"), version, architecture())
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(directory, filter="data")
    # -S: without what may be installed for that Python; an unexpected warning fails, as in every test
    return Program((python, "-S", "-W", "error"), directory / "lib")


def architecture() -> str:
    """Return this machine's architecture as Debian names it."""
    return {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
