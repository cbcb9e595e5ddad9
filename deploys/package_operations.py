"""Operations for the distribution's packages and the vendors': exact versions, files of a bundle, keys, units that stay off."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path, PurePosixPath

from pyinfra import host, logger
from pyinfra.api import FileUploadCommand, operation

from cvat_analytics.rendering import made
from deploys.facts import Files, KeyFingerprints, PackageVersions
from deploys.operations import Commands

APT_GET = (
    # needrestart, where it is there, would start what is to be started later, after what stands between
    "NEEDRESTART_SUSPEND=1 DEBIAN_FRONTEND=noninteractive apt-get -y -q -o Dpkg::Options::=--force-confdef "
    "-o Dpkg::Options::=--force-confold -o DPkg::Lock::Timeout=120"
)
"""How packages are installed: nobody is asked, and no service is restarted on the side."""


@operation()
def packages(
    versions: dict[str, str], targets: Sequence[str], options: str = "", refresh: str = ""
) -> Commands:
    """Install each package in exactly the version given, moving it there from a newer or older one.

    + versions: package to version
    + targets: what to hand to apt-get for them: `name=version`, or paths of files
    + options: further options for apt-get
    + refresh: a command to run before installing, such as reading the package source anew
    """
    installed = host.get_fact(PackageVersions, packages=list(versions))
    missing = {name: version for name, version in versions.items() if installed.get(name) != version}
    if not missing:
        host.noop(
            "already installed: " + ", ".join(f"{name} {version}" for name, version in versions.items())
        )
        return
    for name, version in missing.items():
        host.log(
            f"install {name} {version}" + (f" (now {installed[name]})" if name in installed else ""),
            logger.info,
        )
    if refresh:
        yield made.noted_lists(refresh)
    install = (
        f"{options} --no-install-recommends --allow-downgrades install {' '.join(map(shlex.quote, targets))}"
    )
    yield made.noted_packages(versions, install)
    yield f"{APT_GET} {install}"


@operation()
def packages_upload(versions: dict[str, str], files: Sequence[Path], directory: str) -> Commands:
    """Upload the package `files` to `directory`, unless the packages are installed already.

    + versions: package to version
    + files: local .deb files
    + directory: where they go on the host
    """
    installed = host.get_fact(PackageVersions, packages=list(versions))
    if all(installed.get(name) == version for name, version in versions.items()):
        host.noop("already installed")
        return
    yield from _uploaded(files, directory)


@operation()
def masked(package: str, unit: str) -> Commands:
    """Keep `unit` of the distribution's `package` from ever starting; where the package is there already it stays as it is.

    + package: what brings the unit along, when it is going to be installed
    + unit: its name with suffix
    """
    if host.get_fact(PackageVersions, packages=[package]):
        host.noop("already installed")
        return
    yield made.noted([f"/etc/systemd/system/{unit}"])
    yield f"systemctl mask -q {shlex.quote(unit)}"


@operation()
def prerequisites(packages: Sequence[str], bundle: Sequence[Path] = (), directory: str = "") -> Commands:
    """Install the distribution's own `packages`, in whatever version it has, or as the files of a bundle.

    + packages: their names
    + bundle: local .deb files to install them from, where no archive is to be asked
    + directory: where those go on the host
    """
    installed = host.get_fact(PackageVersions, packages=list(packages))
    missing = [name for name in packages if name not in installed]
    if not missing:
        host.noop("already installed")
        return
    options, targets = "", missing
    if any(file.name.partition("_")[0] in missing for file in bundle):
        yield from _uploaded(bundle, directory)
        options = "-o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts=/dev/null "
        targets = [f"{directory}/{file.name}" for file in bundle]
    else:
        yield "apt-get -q update"
    install = f"{options}--no-install-recommends install {' '.join(map(shlex.quote, targets))}"
    yield made.noted_packages(missing, install)
    yield f"{APT_GET} {install}"


def _uploaded(files: Sequence[Path], directory: str) -> Commands:
    """Put `files` into `directory`, those that are not there yet."""
    yield made.noted(trees=[directory])
    yield f"install -d -m 755 {directory}"
    there = host.get_fact(Files, paths=[f"{directory}/{file.name}" for file in files])
    for file in files:
        target = f"{directory}/{file.name}"
        if target not in there or there[target].sha256 != sha256(file.read_bytes()).hexdigest():
            yield FileUploadCommand(str(file), target)


@operation()
def trusted_key(url: str, fingerprints: Sequence[str], path: str) -> Commands:
    """Put the signing key at `url` into the keyring file `path`, if it is one of the keys that are pinned.

    + url: where the vendor publishes it
    + fingerprints: the fingerprints of primary keys that are accepted
    + path: keyring file, ASCII-armoured
    """
    present = host.get_fact(KeyFingerprints, path=path)
    if present and set(present) <= set(fingerprints):
        host.noop("the key is there")
        return
    accepted = "|".join(fingerprints)
    yield made.noted([path])
    yield f"install -d -m 755 {PurePosixPath(path).parent}"
    yield (
        # without a home of its own, gpg would make a directory in root's
        f"home=$(mktemp -d); trap 'rm -rf \"$home\"' EXIT; rm -f {path}.new; /usr/lib/apt/apt-helper -q download-file {shlex.quote(url)} {path}.new && "
        f'found=$(GNUPGHOME=$home gpg --show-keys --with-colons {path}.new 2>/dev/null | awk -F: \'$1 == "pub" {{want = 1}} want && $1 == "fpr" {{print $10; want = 0}}\') && '
        f'[ -n "$found" ] && ! echo "$found" | grep -qvxE {shlex.quote(accepted)} && chmod 644 {path}.new && mv {path}.new {path} || '
        f"{{ rm -f {path}.new; echo {shlex.quote(f'the key at {url} could not be had, or is none of the pinned keys {accepted}: refusing it. Compare with the vendor before you change the pin')} >&2; exit 1; }}"
    )
