"""Run the real ClickHouse engine as a server from its library, in a process of its own.

Used where no `clickhouse` program is installed. The library (npm package `@chdb/lib-*`) has clickhouse-local's command
line; `SYSTEM START LISTEN` turns that into a server on the configured ports. A process of its own, because a crash
of the engine must not take the Python program along. What the library cannot do as a server can, its configuration
must leave out: `package_files/engine_*.xml`.

    python -m cvat_analytics.embedded.engine --config-file=/etc/clickhouse-server/config.xml
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from pathlib import Path

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError, InputError
from cvat_analytics.base.project import IS_CHECKOUT, ROOT
from cvat_analytics.config import versions
from cvat_analytics.embedded import confinement, fetch

LIBRARY_PACKAGE = f"@chdb/lib-linux-{'arm64' if platform.machine() == 'aarch64' else 'x64'}-gnu"
PACKAGE_FILES = {
    "engine_config.xml": "config.d/zz-engine.xml",
    "engine_users.xml": "users.d/zz-engine.xml",
}
"""Of `package_files`: what a library must be told, by the name of each file and its place below the server's configuration."""
_LIBRARY = Path("node_modules") / LIBRARY_PACKAGE / "libchdb.so"


def command(config_file: str) -> list[str]:
    """Return the command that runs ClickHouse on `config_file`: the installed server, else this module.

    Fetches the library where an installed wheel has none yet. Raises InputError when there is neither.
    """
    installed = shutil.which("clickhouse")
    if installed:
        return [installed, "server", f"--config-file={config_file}"]
    if not IS_CHECKOUT and not _find_library().is_file():
        fetch.packages()
    library()
    return [sys.executable, "-m", "cvat_analytics.embedded.engine", f"--config-file={config_file}"]


def refuse_old() -> None:
    """Raise InputError where the `clickhouse` that would be run does not run the tables' SQL. One that does not say its version is tried."""
    installed = shutil.which("clickhouse")
    if not installed:
        return
    try:
        done = subprocess.run(
            [installed, "server", "--version"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return
    found = re.search(r"version (\d+(?:\.\d+)+)", done.stdout)
    if found and (why := versions.too_old("clickhouse", found[1])):
        raise InputError(
            Code.ENGINE_UNUSABLE,
            f"{installed}: {why}. Install one, or take it from PATH: the engine's library is used then",
        )


def left_open() -> str:
    """Return what the kernel does not keep ClickHouse from, as a sentence; an installed server needs no such wall."""
    return "" if shutil.which("clickhouse") else confinement.lacking()


def library() -> Path:
    """Return the engine's library. Raises InputError when it is not installed."""
    path = _find_library()
    if not path.is_file():
        raise InputError(
            Code.ENGINE_MISSING,
            f"no ClickHouse engine: neither a `clickhouse` program on PATH nor the library {LIBRARY_PACKAGE}. "
            "Run `make setup` (needs npm), or install clickhouse-server",
        )
    return path


def _find_library() -> Path:
    """Return where the library is, or would be."""
    if path := os.environ.get("CVAT_ANALYTICS_ENGINE"):
        return Path(path)
    return (ROOT if IS_CHECKOUT else fetch.directory()) / _LIBRARY


def _setting(config_file: Path, name: str) -> str:
    """Return the setting `name` as the server will see it: config.d in order on top of config.xml."""
    value = ""
    for file in [config_file, *sorted((config_file.parent / "config.d").glob("*.xml"))]:
        element = ET.parse(file).getroot().find(name)  # noqa: S314 - our own and the package's files
        if element is not None:
            value = (element.text or "").strip()
    if not value:
        raise InputError(Code.ENGINE_UNUSABLE, f"{config_file}: has no <{name}>")
    return value


def run(config_file: Path) -> int:
    """Serve until the process is told to stop. Raises InputError when another instance uses the data directory."""
    data = Path(_setting(config_file, "path"))
    data.mkdir(parents=True, exist_ok=True)
    lock = (data / "embedded.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise InputError(
            Code.DATA_IN_USE,
            f"data directory {data}: another ClickHouse is using it. Stop that one, or choose another directory",
        ) from None
    engine = ctypes.CDLL(str(library()), mode=ctypes.RTLD_GLOBAL)
    listen = (
        "SYSTEM START LISTEN HTTP; SYSTEM START LISTEN TCP; "
        "SELECT sleepEachRow(3) FROM system.numbers "
        "SETTINGS function_sleep_max_microseconds_per_block = 5000000, max_block_size = 1 FORMAT Null"
    )
    # The library does not read the logger's level from the configuration
    logging = ["--log-level=warning"]
    arguments = ["clickhouse", f"--config-file={config_file}", f"--path={data}", *logging, "--query", listen]
    argv = (ctypes.c_char_p * (len(arguments) + 1))(*[argument.encode() for argument in arguments], None)
    return int(engine.chdb_query_cmdline(len(arguments), argv))


def _shut_in(config_file: Path) -> None:
    """Leave the engine nothing of the machine but its own configuration and data, and not even these to the function file()."""
    data = Path(_setting(config_file, "path"))
    nowhere = data / "nowhere"
    nowhere.mkdir(parents=True, exist_ok=True)
    os.chdir(nowhere)
    read = (config_file.parent, library().resolve(), Path(sys.base_prefix), Path(sys.prefix), ROOT)
    if not confinement.confine(read, [data]):
        print(
            "the kernel does not shut the engine in (Landlock): nothing but grants keeps it from files of yours",
            file=sys.stderr,
        )
    port = int(_setting(config_file, "http_port"))
    threading.Thread(target=_close, args=(nowhere, port), daemon=True).start()


def _close(nowhere: Path, port: int) -> None:
    """Remove the working directory as soon as the engine needs it no more, which is when it listens.

    Whatever reads a file that SQL names begins with asking where it is, and ends there. No grant covers the function file().
    """
    while not _listens(port):
        time.sleep(0.01)
    nowhere.rmdir()


def _listens(port: int) -> bool:
    """Return whether this process listens on `port`: on another address of the machine somebody else may, too."""
    tables = [Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6")]  # the second where there is IPv6
    text = "".join(table.read_text() for table in tables if table.exists())
    inodes = re.findall(rf"^ *\d+: \w+:{port:04X} \w+:0000 0A(?: +\S+){{5}} +(\d+)", text, re.MULTILINE)
    if not inodes:
        return False
    sockets = {f"socket:[{inode}]" for inode in inodes}
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if str(descriptor.readlink()) in sockets:
                return True
    return False


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Run the real ClickHouse engine from its library.")
    parser.add_argument("--config-file", type=Path, required=True)
    config_file = parser.parse_args().config_file.absolute()
    try:
        _shut_in(config_file)
        return run(config_file)
    except CvatAnalyticsError as error:
        print(error.told, file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
