"""Starts hosts: images, networks, keys, mounts; and removes them, also what a killed run has left behind."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import sysconfig
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import paramiko
from docker.errors import NotFound
from docker.types import Mount

from cvat_analytics.embedded import engine as clickhouse_engine

from . import docker_engine, image
from .host import Host
from .network import HostNetwork, host_network

CHECKOUT = Path(__file__).parents[2]
LABEL = "cvat-analytics.test-run"
USERS = ("ops", "ops-password")

_STAND_IN = "/opt/standin"
_PROGRAMS = Path(__file__).parent / "programs"
# What the stand-in programs import, also as they go on: compiled once here, because every host would compile it again at each start
_COMPILED = (
    "clickhouse_client",
    "clickhouse_server",
    "cvat_analytics.embedded.vector_substitute.__main__",
    "cvat_analytics.embedded.vector_substitute.service",
    "cvat_analytics.embedded.viewer.__main__",
    *("uvicorn.lifespan.on", "uvicorn.loops.auto", "uvicorn.protocols.http.auto", "h11", "encodings.idna"),
)


@dataclass
class Lab:
    """All hosts of one test run."""

    client: docker.DockerClient
    directory: Path
    """Keys and known hosts."""
    outbound: bool
    lan: HostNetwork
    packages: HostNetwork
    run_id: str
    hosts: list[Host] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1), repr=False)
    """Never one twice: what is known of a host that is gone is not to be taken for another's."""

    def start(self, system: str = "bookworm", *, tag: str = "", lowers_nice: bool = True) -> Host:
        """Boot one more host, from the image `tag` if given, and return it when systemd says that it is up.

        `lowers_nice`: whether its kernel lets anybody lower a nice value, which that of many a container does not.
        """
        name = f"{system}-{self.run_id}-{next(self._numbers)}"
        address = self.lan.next_address()
        api = self.client.api
        own_address: Any = {self.lan.network.name: api.create_endpoint_config(ipv4_address=address)}
        container = api.create_container(
            tag or image.ensure(self.client, system),
            command=["/usr/local/sbin/boot"],
            name=name,
            hostname=name,
            labels={LABEL: str(os.getpid())},
            environment={"KEEP_DEFAULT_ROUTE": "yes"} if self.outbound else {},
            stop_signal="SIGRTMIN+3",  # an orderly shutdown (systemd(1), "Signals")
            networking_config=api.create_networking_config(own_address),
            host_config=api.create_host_config(
                network_mode=self.lan.network.name,
                # mounts; routes; seeing which program holds a port
                cap_add=["SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE", *(["SYS_NICE"] if lowers_nice else [])],
                security_opt=["seccomp=unconfined", "apparmor=unconfined"],
                tmpfs={"/run": "exec,mode=755", "/run/lock": "mode=1777"},
                mounts=self._mounts(),
                sysctls={"net.ipv6.conf.all.disable_ipv6": "0"},  # a server has ::1
            ),
        )
        host = Host(
            name=name,
            ip=address,
            key=self.directory / "ssh-key",
            known_hosts=self.directory / "known-hosts",
            container=self.client.containers.get(container["Id"]),
            packages_network=self.packages,
        )
        self.hosts.append(host)
        self.packages.network.connect(host.container)
        host.boot()
        public = host.key.with_suffix(".pub").read_text().strip()
        keys = " ".join(f"/home/{user}/.ssh/authorized_keys" for user in USERS)
        told = host.run(f"echo {public!r} | tee {keys} >/dev/null; cat /etc/ssh/ssh_host_ed25519_key.pub")
        server_key = " ".join(told.output.split()[:2])
        with host.known_hosts.open("a") as file:
            file.write(f"{host.ip} {server_key}\n")
        if self.outbound:
            host.run("cp /usr/share/test-host/sources.list /etc/apt/sources.list")
        return host

    def destroy(self, host: Host) -> None:
        """Remove `host`."""
        self.hosts.remove(host)
        host.destroy()

    def _mounts(self) -> list[Mount]:
        """Return what the stand-in programs run on: this Python, its packages, the project, the engine library."""
        compiled = docker_engine.cache_directory() / "compiled"
        # Each leaf is mounted by itself: a directory above may be closed to the services' users
        sources = {
            "python": sys.base_prefix,
            "site-packages": sysconfig.get_path("purelib"),
            "project/cvat_analytics": str(CHECKOUT / "cvat_analytics"),
        }
        mounts = dict(sources)
        for target, source in sources.items():
            # Python looks below its cache directory for the path of the source file (PYTHONPYCACHEPREFIX)
            cached = f"{compiled}{source}"
            Path(cached).mkdir(parents=True, exist_ok=True)
            mounts[f"pycache{_STAND_IN}/{target}"] = cached
        mounts["programs"] = str(_PROGRAMS)
        mounts["lib/libchdb.so"] = str(clickhouse_engine.library())
        return [
            Mount(f"{_STAND_IN}/{target}", source, "bind", read_only=True)
            for target, source in mounts.items()
        ]


@contextmanager
def lab(client: docker.DockerClient, directory: Path, *, outbound: bool) -> Iterator[Lab]:
    """Yield a lab without hosts; remove whatever is in it at the end."""
    run_id = uuid.uuid4().hex[:6]
    labels = {LABEL: str(os.getpid())}
    remove_orphans(client)
    _make_ssh_key(directory / "ssh-key")
    (directory / "known-hosts").touch()
    _compile()
    with (
        host_network(client, f"cvat-analytics-{run_id}-lan", labels, internal=not outbound) as lan,
        host_network(client, f"cvat-analytics-{run_id}-packages", labels, internal=True) as packages,
    ):
        running = Lab(client, directory, outbound, lan, packages, run_id)
        try:
            yield running
        finally:
            for host in list(running.hosts):
                running.destroy(host)


def _make_ssh_key(path: Path) -> None:
    key = paramiko.ECDSAKey.generate()
    key.write_private_key_file(str(path))
    path.with_suffix(".pub").write_text(f"{key.get_name()} {key.get_base64()} test\n")


def _compile() -> None:
    """Compile what the stand-in programs import, as far as it is there."""
    script = f"import contextlib, importlib, sys\nsys.path.append({str(_PROGRAMS)!r})\n" + "".join(
        f"with contextlib.suppress(ImportError): importlib.import_module({name!r})\n" for name in _COMPILED
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    prefix = f"pycache_prefix={docker_engine.cache_directory() / 'compiled'}"
    subprocess.run([sys.executable, "-X", prefix, "-c", script], check=True, cwd=CHECKOUT, env=environment)


def remove_orphans(client: docker.DockerClient) -> None:
    """Remove hosts, images and networks of test runs that were killed before they could."""
    for container in client.containers.list(all=True, filters={"label": LABEL}):
        if not _is_running(container.labels[LABEL]):
            with suppress(NotFound):
                container.remove(force=True, v=True)
    for kept in client.images.list(filters={"label": LABEL}):
        if not _is_running(kept.labels[LABEL]):
            with suppress(NotFound):
                client.images.remove(str(kept.id), force=True)
    for network in client.networks.list(filters={"label": LABEL}):
        if not _is_running(network.attrs["Labels"][LABEL]):
            with suppress(NotFound):
                network.remove()


def _is_running(process: str) -> bool:
    return Path(f"/proc/{process}").exists()
