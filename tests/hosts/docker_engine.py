"""Find a Docker daemon for the test hosts, or run one of our own for as long as tests need it.

Our own daemon has its own data, socket and process id file, so that it does not meet another one's. Several test runs
share it; the last one stops it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import docker
from docker.errors import DockerException

RUN_DIRECTORY = Path("/run/cvat-analytics-test-hosts")
"""Socket, process id and locks of our own daemon. Socket paths must be short, so it is not below the cache."""

_START_SECONDS = 90
_PREPARE = "run tests/hosts/prepare as root (it installs the Debian packages docker.io, mmdebstrap and gnupg)"


class HostsUnavailable(Exception):
    """Test hosts cannot be had here; the text says exactly what is missing."""


def cache_directory() -> Path:
    """Return where images and our own daemon's data are kept between test runs."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    chosen = os.environ.get("CVAT_ANALYTICS_TEST_CACHE")
    directory = Path(chosen or f"{base}/cvat-analytics/test-hosts").expanduser()
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, so that test processes side by side do not do the same work twice."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def engine() -> Iterator[docker.DockerClient]:
    """Yield a client of a daemon that answers. Raises HostsUnavailable when there is none and none can be started."""
    address = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    client, reason = _connect(address)
    if client:
        try:
            yield client
        finally:
            client.close()
        return
    if os.geteuid() != 0:
        raise HostsUnavailable(
            f"no Docker daemon answers at {address} ({reason}), and only root can start one: run the tests as root, "
            "or start Docker and join its group"
        )
    if not shutil.which("dockerd"):
        raise HostsUnavailable(
            f"no Docker daemon answers at {address} ({reason}), and the program dockerd is not installed: {_PREPARE}"
        )
    with _own_daemon() as client:
        yield client


def _connect(address: str) -> tuple[docker.DockerClient | None, str]:
    """Return a client of the daemon at `address`, or None and why there is none."""
    scheme, _, path = address.partition("://")
    try:
        if scheme == "unix":
            # docker's own client leaves a socket open when nobody listens
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(path)
        return docker.DockerClient(base_url=address, version="auto", timeout=120), ""
    except (DockerException, OSError) as error:
        return None, " ".join(str(error).split())


@contextmanager
def _own_daemon() -> Iterator[docker.DockerClient]:
    RUN_DIRECTORY.mkdir(mode=0o700, exist_ok=True)
    address = f"unix://{RUN_DIRECTORY}/docker.sock"
    with (RUN_DIRECTORY / "users.lock").open("w") as users:
        with locked(RUN_DIRECTORY / "start.lock"):
            fcntl.flock(users, fcntl.LOCK_SH)
            client, _ = _connect(address)
            client = client or _start(address)
        try:
            yield client
        finally:
            client.close()
            with locked(RUN_DIRECTORY / "start.lock"):
                try:
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    pass  # another test run still uses it
                else:
                    _stop()


def _start(address: str) -> docker.DockerClient:
    """Start the daemon and return a client of it. Raises HostsUnavailable with its last words when it does not come up."""
    log = RUN_DIRECTORY / "dockerd.log"
    command = [
        "dockerd",
        f"--data-root={cache_directory() / 'docker'}",
        f"--exec-root={RUN_DIRECTORY / 'exec'}",
        f"--pidfile={RUN_DIRECTORY / 'dockerd.pid'}",
        f"--host={address}",
        "--bridge=none",
    ]
    # A daemon that was killed leaves this behind, and the number may be another program's by now
    (RUN_DIRECTORY / "dockerd.pid").unlink(missing_ok=True)
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True
        )
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        client, _ = _connect(address)
        if client:
            process.returncode = 0  # it outlives this object on purpose: the last user of the daemon stops it
            return client
        time.sleep(0.1)
    process.terminate()
    process.wait()
    tail = "\n".join([line for line in log.read_text().splitlines() if "level=info" not in line][-4:])
    raise HostsUnavailable(
        f"dockerd does not start here (it needs most of root's capabilities); its last lines:\n{tail}"
    )


def _stop() -> None:
    """Stop our own daemon, whose number is in its process id file, and wait for its end."""
    file = RUN_DIRECTORY / "dockerd.pid"
    if not file.exists():
        return
    process = int(file.read_text())
    os.kill(process, signal.SIGTERM)
    deadline = time.monotonic() + 30
    while file.exists() and time.monotonic() < deadline:
        with suppress(ChildProcessError):  # where another test process started it
            os.waitpid(process, os.WNOHANG)
        time.sleep(0.05)
