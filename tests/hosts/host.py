"""A systemd host in a container: boots like a server, is reached over SSH, and can be looked into from outside."""

from __future__ import annotations

import base64
import os
import shlex
import shutil
import subprocess
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paramiko
from docker.errors import APIError
from docker.models.containers import Container
from docker.utils.socket import frames_iter

from .network import HostNetwork
from .repository import Repository

SUDO_PASSWORD = "ops-password"
"""The password of the user of the same name, which its sudo asks for."""

_BOOT_SECONDS = 180
_ENTER = ("nsenter", "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd")
_AS_ROOT = ("env", "-i", "HOME=/root", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")

PRETENDED = {
    "fedora": ("fedora", "43", "Fedora Linux 43 (Server Edition)", "rhel"),
    "debian-11": ("debian", "11", "Debian GNU/Linux 11 (bullseye)", ""),
    "ubuntu-22.04": ("ubuntu", "22.04", "Ubuntu 22.04.5 LTS", "debian"),
    "ubuntu-24.04": ("ubuntu", "24.04", "Ubuntu 24.04.3 LTS", "debian"),
}
"""Systems that a Debian host can claim to be. It stays Debian: only what /etc/os-release says differs."""


@dataclass(frozen=True)
class Result:
    """What a command did."""

    exit_code: int
    output: str
    error: str


@dataclass
class Host:
    """One running host. `name` is its name in an inventory, `ip` its address among the hosts."""

    name: str
    ip: str
    key: Path
    known_hosts: Path
    container: Container = field(repr=False)
    packages_network: HostNetwork = field(repr=False)
    _known_init: int = field(default=0, repr=False)

    def run(self, command: str, *, check: bool = True) -> Result:
        """Run a shell command as root, beside SSH. Raises AssertionError with its output when it fails."""
        result = self._execute(command)
        if check and result.exit_code:
            raise AssertionError(
                f"{self.name}: `{command}` ended with {result.exit_code}:\n{result.output}{result.error}"
            )
        return result

    def _execute(self, command: str) -> Result:
        """Run a shell command within the host: from beside, where it runs on this machine and we may; else Docker does, which takes many times as long."""
        if process := self._init():
            with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as error:
                # into files: what a command leaves running may hold on to them
                done = subprocess.run(
                    [*_ENTER, f"--target={process}", *_AS_ROOT, "sh", "-c", command],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=error,
                    check=False,
                )
                texts = []
                for file in (output, error):
                    file.seek(0)
                    texts.append(file.read().decode(errors="replace"))
                return Result(done.returncode, *texts)
        return self._execute_by_docker(command)

    def _init(self) -> int:
        """Return the number that the host's first process has on this machine; 0 where that is not to be had, as the host does not run."""
        if os.geteuid() != 0 or not shutil.which("nsenter"):
            return 0
        if not self._is_mine(self._known_init):
            self.container.reload()
            self._known_init = int(self.container.attrs["State"]["Pid"])
        return self._known_init if self._is_mine(self._known_init) else 0

    def _is_mine(self, process: int) -> bool:
        try:
            return process > 0 and str(self.container.id) in Path(f"/proc/{process}/cgroup").read_text()
        except OSError:
            return False

    def _execute_by_docker(self, command: str) -> Result:
        """Run a shell command, its output going into files: what Docker attaches to a short command can get lost."""
        place = f"/var/tmp/{uuid.uuid4()}"
        read = f"cd {place} && stat -c %s output error && cat output error"
        exit_code, text = self._attached(
            f"mkdir {place}\n(\n{command}\n) > {place}/output 2> {place}/error\ncode=$?\n{read}\nexit $code"
        )
        for _ in range(10):
            # any part of what we read can be missing, even the first
            *sizes, content = text.split(b"\n", 2)
            if len(sizes) == 2 and all(map(bytes.isdigit, sizes)) and sum(map(int, sizes)) == len(content):
                output, error = content[: int(sizes[0])], content[int(sizes[0]) :]
                return Result(exit_code, output.decode(errors="replace"), error.decode(errors="replace"))
            _, text = self._attached(read)
        raise AssertionError(f"{self.name}: the output of `{command}` cannot be read")

    def _attached(self, script: str) -> tuple[int, bytes]:
        """Run a script and return its exit code, and what of its output has reached us."""
        assert self.container.client
        api = self.container.client.api
        execution = api.exec_create(self.container.id, ["sh", "-c", script])["Id"]
        # Container.exec_run never closes its connection
        stream: Any = api.exec_start(execution, socket=True)
        try:
            output = b"".join(data for _, data in frames_iter(stream, tty=False))
        finally:
            stream.close()
            stream._response.close()
        deadline = time.monotonic() + _BOOT_SECONDS
        while (code := api.exec_inspect(execution)["ExitCode"]) is None and time.monotonic() < deadline:
            time.sleep(0.01)
        if code is None:
            raise AssertionError(f"{self.name}: `{script}` has not ended {_BOOT_SECONDS} s after its output")
        return int(code), output

    def ssh(self, command: str, *, user: str = "ops", stdin: str = "") -> Result:
        """Run a shell command over SSH, as the deploy does."""
        with paramiko.SSHClient() as client:
            client.load_host_keys(str(self.known_hosts))
            client.connect(
                self.ip, username=user, key_filename=str(self.key), allow_agent=False, look_for_keys=False
            )
            channel_in, output, error = client.exec_command(command, timeout=180)
            channel_in.write(stdin)
            channel_in.channel.shutdown_write()
            texts = output.read().decode(), error.read().decode()
            return Result(output.channel.recv_exit_status(), *texts)

    def wait_until_running(self) -> None:
        """Wait until systemd says that the boot is complete and sshd listens. Raises AssertionError when a unit failed."""
        deadline = time.monotonic() + _BOOT_SECONDS
        state = ""
        while time.monotonic() < deadline:
            # it waits, once systemd answers: to look again and again takes from what boots
            told = self.run(
                "timeout 30 systemctl is-system-running --wait; ss -Hltn 'sport = :22'", check=False
            )
            state, _, listened_on = told.output.partition("\n")
            if state == "degraded":
                failed = self.run(
                    "systemctl --failed --no-legend --plain; journalctl -p err -n 20 --no-pager"
                ).output
                raise AssertionError(f"{self.name}: units failed at boot:\n{failed}")
            if state == "running" and listened_on:
                return
            time.sleep(0.3)
        logs = self.container.logs(tail=20).decode(errors="replace")
        raise AssertionError(f"{self.name}: not up after {_BOOT_SECONDS} s (systemd says {state!r}):\n{logs}")

    def boot(self) -> None:
        """Start the container and wait until the host is up.

        A container that ends at once has met the machine below and nothing of ours: it is started again, and what it said is a warning.
        """
        for again in (True, True, False):
            self.container.start()
            try:
                self.wait_until_running()
            except APIError as error:
                self.container.reload()
                words = f"{self.name} ended as it booted: {error}; {self.container.attrs['State']}\n"
                words += self.container.logs(tail=20).decode(errors="replace")
                if not again or self.container.status == "running":
                    raise AssertionError(words) from None
                warnings.warn(words, stacklevel=2)
            else:
                return

    def reboot(self) -> None:
        """Shut down in order, start again, and wait until the host is up."""
        self.container.restart(timeout=60)
        self.wait_until_running()

    def cut_network(self) -> None:
        """Leave the host with SSH and the other hosts only: no package source, nothing beyond."""
        self.packages_network.network.disconnect(self.container)
        # Docker may choose a new default route when a network goes
        self.run("ip route del default 2>/dev/null || true")
        route = self.run(f"ip route get {self.packages_network.gateway}", check=False)
        assert route.exit_code, f"{self.name}: still reaches the package source: {route.output}"

    def read(self, path: str) -> str:
        """Return the text of the file `path`. Raises AssertionError when there is none."""
        return self.run(f"cat {shlex.quote(path)}").output

    def write(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Put a small file of root's onto the host, with its directory."""
        encoded = base64.b64encode(text.encode()).decode()
        quoted = shlex.quote(path)
        self.run(
            f"mkdir -p $(dirname {quoted}) && echo {encoded} | base64 -d > {quoted} && chmod {mode:o} {quoted}"
        )

    def files(self, *paths: str) -> dict[str, str]:
        """Return `mode owner:group mtime sha256` of every file at or below `paths`, to compare before and after."""
        where = " ".join(map(shlex.quote, paths))
        listed = self.run(f"find {where} -type f -printf '%m %u:%g %T@ %p\\n' 2>/dev/null || true").output
        sums = self.run(f"find {where} -type f -exec sha256sum {{}} + 2>/dev/null || true").output
        checksums = {path: checksum for checksum, path in (line.split("  ", 1) for line in sums.splitlines())}
        rows = (line.split(" ", 3) for line in listed.splitlines())
        return {path: f"{mode} {owner} {mtime} {checksums.get(path)}" for mode, owner, mtime, path in rows}

    def journal(self, unit: str, lines: int = 50) -> str:
        """Return the last lines of a unit's log."""
        return self.run(f"journalctl --no-pager -o cat -n {lines} -u {shlex.quote(unit)}").output

    def units(self, *names: str) -> dict[str, str]:
        """Return `state enablement pid started` of each unit, to see what was restarted."""
        properties = "ActiveState,UnitFileState,MainPID,ActiveEnterTimestampMonotonic"
        shown = self.run(f"systemctl show -p {properties} {shlex.join(names)}").output
        # a block of lines NAME=VALUE for each, in their order
        return {
            name: " ".join(line.partition("=")[2] for line in block.splitlines()).strip()
            for name, block in zip(names, shown.strip().split("\n\n"), strict=True)
        }

    @contextmanager
    def pretending(self, name: str) -> Iterator[None]:
        """Let the host claim to be the system `name` of PRETENDED. It stays what it is: this tests the preflight only."""
        identifier, version, pretty, like = PRETENDED[name]
        text = (
            f'ID={identifier}\nVERSION_ID="{version}"\nPRETTY_NAME="{pretty}"\nNAME="{pretty.split()[0]}"\n'
        )
        self.run("rm /etc/os-release")
        try:
            self.write("/etc/os-release", text + (f"ID_LIKE={like}\n" if like else ""))
            yield
        finally:
            self.run("ln -sf ../usr/lib/os-release /etc/os-release")

    def offer_debian(self, debian: Repository) -> None:
        """Add the archive that calls itself Debian and has an ancient clickhouse-server, as each Debian host has one."""
        self.write(
            "/etc/apt/sources.list.d/debian.sources",
            f"Types: deb\nURIs: {debian.url}\nSuites: ./\nTrusted: yes\n",
        )

    def destroy(self) -> None:
        """Remove the host and all that was on it."""
        self.container.remove(force=True, v=True)
