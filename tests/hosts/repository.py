"""A package source for the test hosts: one directory that is a signed apt mirror and an offline bundle at once.

Nothing of it comes from a network, and it is reachable from the hosts' own network only.
"""

from __future__ import annotations

import gzip
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cvat_analytics.config.validation import validate
from tests.serving import served

from . import packages

ORIGIN = "cvat-analytics test mirror"


class SigningKey:
    """A throwaway OpenPGP key. `public` is the file that hosts trust."""

    def __init__(self, directory: Path) -> None:
        # gpg-agent's socket path must stay short, which a test's own directory is not
        self._home = Path(tempfile.mkdtemp(prefix="gpg-"))
        self._gpg(
            "--quick-generate-key",
            "--passphrase",
            "",
            "Test mirror <mirror@localhost>",
            "default",
            "default",
            "never",
        )
        self.public = directory / "mirror-key.asc"
        self.public.write_text(self._gpg("--armor", "--export"))

    def _gpg(self, *arguments: str) -> str:
        command = ["gpg", "--homedir", str(self._home), "--batch", "--yes", "--quiet", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def sign(self, release: Path) -> None:
        """Write InRelease and Release.gpg beside `release`."""
        self._gpg("--clear-sign", "--output", str(release.with_name("InRelease")), str(release))
        self._gpg("--armor", "--detach-sign", "--output", str(release.with_name("Release.gpg")), str(release))

    def close(self) -> None:
        """Forget the key."""
        subprocess.run(
            ["gpgconf", "--homedir", str(self._home), "--kill", "all"], check=False, capture_output=True
        )
        shutil.rmtree(self._home, ignore_errors=True)


@dataclass(frozen=True)
class Repository:
    """One flat apt repository, `URL/` with suite `./`, and what a deploy must be told to use it."""

    directory: Path
    url: str
    key: Path
    _signer: SigningKey = field(repr=False)

    @property
    def plugin(self) -> Path:
        """Return the plugin's zip."""
        return next(self.directory.glob(f"{packages.PLUGIN}-*.zip"))

    def settings(self) -> dict[str, Any]:
        """Return the settings that make a deploy install from this mirror."""
        return {"package_source": self.url, "package_signing_key": str(self.key), **self._plugin_setting()}

    def bundle_settings(self) -> dict[str, Any]:
        """Return the settings that make a deploy install from the same directory as an offline bundle."""
        return {"package_source": str(self.directory), **self._plugin_setting()}

    def _plugin_setting(self) -> dict[str, Any]:
        return {"grafana_plugin_sha256": {packages.architecture(): packages.checksum(self.plugin)}}

    def add(self, name: str, version: str) -> None:
        """Add one more version of the stand-in package `name`."""
        packages.build(name, version, self.directory)
        self.publish()

    def add_files(self, files: Iterable[Path]) -> None:
        """Add packages as they are."""
        for file in files:
            shutil.copy(file, self.directory)
        self.publish()

    def remove(self, name: str) -> None:
        """Remove every version of `name`, as a mirror or a bundle that was not filled completely."""
        for package in self.directory.glob(f"{name}_*.deb"):
            package.unlink()
        self.publish()

    def publish(self, origin: str = ORIGIN) -> None:
        """Write the index, its signature, and the bundle's checksums."""
        index = "\n".join(_stanza(package) for package in sorted(self.directory.glob("*.deb"))).encode()
        (self.directory / "Packages").write_bytes(index)
        (self.directory / "Packages.gz").write_bytes(gzip.compress(index, mtime=0))
        checksums = "".join(
            f" {packages.checksum(file)} {file.stat().st_size} {file.name}\n"
            for file in (self.directory / "Packages", self.directory / "Packages.gz")
        )
        release = self.directory / "Release"
        release.write_text(
            f"Origin: {origin}\nLabel: {origin}\nSuite: stable\nCodename: stable\nDate: {formatdate(usegmt=True)}\n"
            f"Architectures: {packages.architecture()} all\nSHA256:\n{checksums}"
        )
        self._signer.sign(release)
        content = [*self.directory.glob("*.deb"), *self.directory.glob("*.zip")]
        (self.directory / "SHA256SUMS").write_text(
            "".join(f"{packages.checksum(file)}  {file.name}\n" for file in sorted(content))
        )


def _stanza(package: Path) -> str:
    """Return the package's entry in the index (deb-control(5) fields, then where and what it is)."""
    control = subprocess.run(
        ["dpkg-deb", "--field", package], check=True, capture_output=True, text=True
    ).stdout
    return f"{control}Filename: ./{package.name}\nSize: {package.stat().st_size}\nSHA256: {packages.checksum(package)}\n"


class _Handler(SimpleHTTPRequestHandler):
    """Serve files and remember what was asked for."""

    def log_message(self, format: str, *args: Any) -> None:
        if isinstance(self.server, _Server):
            self.server.requests.append(f"{self.client_address[0]} {self.path}")


class _Server(ThreadingHTTPServer):
    def __init__(self, address: str, root: Path) -> None:
        self.requests: list[str] = []
        super().__init__((address, 0), partial(_Handler, directory=str(root)))


class RepositoryServer:
    """Serves any number of repositories below one address."""

    def __init__(self, root: Path, address: str) -> None:
        self.root = root
        self._signer = SigningKey(root)
        self._server = _Server(address, root)
        self._count = 0
        self.url = f"http://{address}:{self._server.server_port}"

    @property
    def requests(self) -> list[str]:
        """Return what has been asked for so far, as `address path`."""
        return self._server.requests

    def complete(self) -> Repository:
        """Return a new repository with every stand-in, in the versions of the settings' defaults."""
        repository = self._empty("mirror")
        for name, version in packages.default_versions().items():
            packages.build(name, version, repository.directory)
        packages.build_plugin(validate({}, where="defaults").grafana_plugin_version, repository.directory)
        repository.publish()
        return repository

    def debian(self) -> Repository:
        """Return a repository that calls itself Debian and holds the clickhouse-server that nobody wants."""
        repository = self._empty("debian")
        decoy = packages.build("debian-decoy", packages.DECOY_VERSION, repository.directory)
        decoy.rename(decoy.with_name(decoy.name.replace("debian-decoy", "clickhouse-server")))
        repository.publish(origin="Debian")
        return repository

    def _empty(self, name: str) -> Repository:
        self._count += 1
        directory = self.root / f"{name}-{self._count}"
        directory.mkdir()
        return Repository(directory, f"{self.url}/{directory.name}/", self._signer.public, self._signer)

    @classmethod
    @contextmanager
    def running(cls, root: Path, address: str) -> Iterator[RepositoryServer]:
        """Serve `root` on `address` and a free port."""
        server = cls(root, address)
        try:
            with served(server._server):
                yield server
        finally:
            server._signer.close()
