"""Make the images of the test hosts from Debian packages, once per recipe.

No image registry is involved, and none of this needs the network again until the recipe changes.
"""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import docker
from docker.errors import APIError, ImageNotFound

from .docker_engine import HostsUnavailable, cache_directory, locked

REPOSITORY = "cvat-analytics-test-host"

_CUSTOMIZE = Path(__file__).with_name("customize_image")
_PACKAGES = (
    # a small server as it comes from the installer
    *(
        "systemd",
        "systemd-sysv",
        "dbus",
        "openssh-server",
        "sudo",
        "python3-minimal",
        "iproute2",
        "procps",
        "zstd",
    ),
    *("ca-certificates", "curl", "gnupg", "adduser"),
    # the events API runs on it; nothing else of ours needs a Python on a host
    "python3",
    # shared libraries of the Python that the stand-in packages run (not each build of it needs them)
    *("libffi8", "libsqlite3-0", "libexpat1", "libbz2-1.0", "liblzma5", "libreadline8", "libuuid1", "zlib1g"),
)


def _command(suite: str, target: Path) -> list[str]:
    return [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        f"--include={','.join(_PACKAGES)}",
        f"--customize-hook={_CUSTOMIZE}",
        # into a directory beside the archive: debian_packages()
        f"--customize-hook=sync-out /usr/share/test-host/debs {target.with_suffix('.debs')}",
        suite,
        str(target),
    ]


def ensure(client: docker.DockerClient, suite: str) -> str:
    """Return the image of `suite`, after making it where neither the daemon nor the cache has it.

    Raises HostsUnavailable when it cannot be made.
    """
    recipe = sha256(" ".join(_PACKAGES).encode() + _CUSTOMIZE.read_bytes()).hexdigest()[:16]
    tag = f"{suite}-{recipe}"
    archive = cache_directory() / f"{tag}.tar"
    with locked(cache_directory() / f"{suite}.lock"):
        try:
            client.images.get(f"{REPOSITORY}:{tag}")
        except ImageNotFound:
            if not archive.exists() or not archive.with_suffix(".debs").exists():
                _build(suite, archive)
            client.api.import_image(src=str(archive), repository=REPOSITORY, tag=tag)
            _remove_older(client, suite, tag)
    return f"{REPOSITORY}:{tag}"


def debian_packages(suite: str) -> list[Path]:
    """Return the .deb files of nginx, nftables and restic for `suite`, with what they need; its image must have been made."""
    return sorted(next(cache_directory().glob(f"{suite}-*.debs")).glob("*.deb"))


def _remove_older(client: docker.DockerClient, suite: str, tag: str) -> None:
    for image in client.images.list(name=REPOSITORY):
        for name in image.tags:
            if name.startswith(f"{REPOSITORY}:{suite}-") and name != f"{REPOSITORY}:{tag}":
                # an image that another checkout's hosts run on stays
                with suppress(APIError):
                    client.images.remove(name)


def _build(suite: str, archive: Path) -> None:
    if not shutil.which("mmdebstrap"):
        raise HostsUnavailable("the program mmdebstrap is not installed: run tests/hosts/prepare as root")
    for old in archive.parent.glob(f"{suite}-*"):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    # mmdebstrap knows the format by the ending
    unfinished = archive.with_name(f"new-{archive.name}")
    unfinished.with_suffix(".debs").mkdir(exist_ok=True)
    try:
        subprocess.run(_command(suite, unfinished), check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        unfinished.unlink(missing_ok=True)
        tail = "\n".join(error.stderr.splitlines()[-5:])
        raise HostsUnavailable(
            f"the image of {suite} cannot be made from Debian packages; mmdebstrap said:\n{tail}"
        ) from None
    unfinished.with_suffix(".debs").rename(archive.with_suffix(".debs"))
    unfinished.rename(archive)
