"""The wheels that the events API needs on a host: which ones the lock file names for its Python, which of them an offline
bundle lacks, and how they get there.

pip and uv could nearly do it, but pip judges a requirement's marker (`python_full_version < '3.11'`) by the Python that it
runs on itself, whatever `--python-version` says (https://github.com/pypa/pip/issues/11198): for another host's Python it
fetches the wrong versions. So the lock file is read here, and pip is told what exactly to fetch.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from packaging import tags
from packaging.requirements import Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.base.project import ROOT

LOCK = ROOT / "requirements-events-api.lock"
PYTHONS = {
    ("debian", "12"): "3.11",
    ("debian", "13"): "3.13",
    ("ubuntu", "22.04"): "3.10",
    ("ubuntu", "24.04"): "3.12",
}
"""The distributions' own Python."""
SYSTEMS = {f"{name}-{version}": python for (name, version), python in PYTHONS.items()}
"""The same by the names that commands give the systems: `debian-12`."""
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Debian's architectures, as wheels name them."""
GLIBC_MINOR = 34
"""Wheels may need glibc 2.34: the oldest among the systems, Ubuntu 22.04's, is 2.35, and wheels are built for 2.34."""


@dataclass(frozen=True)
class Wheel:
    """One requirement of the lock file: a version of a package, and the sha256 of each file that may be it."""

    name: str
    version: str
    hashes: frozenset[str]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def requirement(self) -> str:
        """Return the line that makes pip take exactly this, without a marker."""
        return f"{self.name}=={self.version} " + " ".join(
            f"--hash=sha256:{each}" for each in sorted(self.hashes)
        )


@dataclass(frozen=True)
class Target:
    """A kind of host, as far as wheels differ: its Python (`3.11`) and its architecture (`amd64`)."""

    python: str
    architecture: str

    def __str__(self) -> str:
        return f"Python {self.python} on {self.architecture}"

    @property
    def platforms(self) -> list[str]:
        """Return the platform tags that the host takes, the most demanding first (PEP 600 and its predecessors)."""
        machine = MACHINES[self.architecture]
        old = ["2014", "2010", "1"] if machine == "x86_64" else ["2014"]
        oldest = 5 if machine == "x86_64" else 17
        return [f"manylinux_2_{minor}_{machine}" for minor in range(GLIBC_MINOR, oldest - 1, -1)] + [
            f"manylinux{name}_{machine}" for name in old
        ]

    @property
    def environment(self) -> dict[str, str]:
        """Return what the lock file's markers are judged by."""
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "os_name": "posix",
            "platform_machine": MACHINES[self.architecture],
            "platform_python_implementation": "CPython",
            "platform_system": "Linux",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "linux",
        }

    @cached_property
    def tags(self) -> dict[tags.Tag, int]:
        """Return the tags of the wheels that the host can use, with their rank: the closest to it first."""
        version = tuple(map(int, self.python.split(".")))
        interpreter = f"cp{self.python.replace('.', '')}"
        ordered = [
            *tags.cpython_tags(version, abis=[interpreter], platforms=self.platforms),
            *tags.compatible_tags(version, interpreter, self.platforms),
        ]
        return {tag: rank for rank, tag in enumerate(ordered)}


def locked(target: Target) -> list[Wheel]:
    """Return what the lock file names for such a host."""
    wheels = []
    for entry in re.split(r"^(?=[A-Za-z0-9])", LOCK.read_text(), flags=re.MULTILINE)[1:]:
        requirement = Requirement(entry.partition("\\")[0].strip())
        if requirement.marker is None or requirement.marker.evaluate(target.environment):
            (specifier,) = requirement.specifier
            wheels.append(
                Wheel(
                    canonicalize_name(requirement.name),
                    specifier.version,
                    frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", entry)),
                )
            )
    return wheels


@dataclass(frozen=True)
class Found:
    """What a directory has of the lock file for some host."""

    files: list[Path]
    """Wheels whose content is what the lock file names, one for each that is needed."""
    lacking: dict[Wheel, Path | None]
    """What it has no wheel of, with the one whose content is another."""


def look(directory: Path, target: Target) -> Found:
    """Return what `directory` has for such a host; the content of every file is compared with the lock file."""
    there: dict[tuple[str, str], list[tuple[int, Path]]] = {}
    for file in sorted(directory.glob("*.whl")):
        try:
            name, version, _, fitting = parse_wheel_filename(file.name)
        except InvalidWheelFilename:
            continue
        ranks = [target.tags[tag] for tag in fitting if tag in target.tags]
        if ranks:
            there.setdefault((name, str(version)), []).append((min(ranks), file))
    found = Found([], {})
    for wheel in locked(target):
        files = [file for _, file in sorted(there.get((wheel.name, wheel.version), []))]
        right = [file for file in files if sha256(file.read_bytes()).hexdigest() in wheel.hashes]
        if right:
            found.files.append(right[0])
        else:
            found.lacking[wheel] = files[0] if files else None
    return found


def complete(directory: Path, target: Target) -> list[Path]:
    """Return the wheels of `directory` that such a host needs.

    Raises InputError naming those that it lacks, and the command for them.
    """
    found = look(directory, target)
    if missing := found.lacking:
        names = ", ".join(
            f"{wheel} ({file.name} has another content than {LOCK.name} says)" if file else str(wheel)
            for wheel, file in missing.items()
        )
        system = next(name for name, python in SYSTEMS.items() if python == target.python)
        raise InputError(
            Code.PACKAGE_MISSING,
            f"package_source {directory}: lacks wheels of the events API for {target}: {names}. On a machine that reaches the Python "
            f"package index, `cvat-analytics bundle wheels {shlex.quote(str(directory))} --system {system} --architecture {target.architecture}` gets them",
        )
    return found.files


def fetch(directory: Path, targets: Iterable[Target]) -> list[Path]:
    """Put into `directory` what it lacks for such hosts, and return the new files.

    The files come from the package index that pip is set to. Raises InputError when one cannot be had or kept; files that
    have been fetched until then stay.
    """
    try:
        return _fetch(directory, targets)
    except OSError as error:
        raise InputError(
            Code.OUTPUT_UNWRITABLE, f"events API: the wheels cannot be kept in {directory}: {error.strerror}"
        ) from None


def _fetch(directory: Path, targets: Iterable[Target]) -> list[Path]:
    directory.mkdir(parents=True, exist_ok=True)
    new: list[Path] = []
    for target in targets:
        missing = look(directory, target).lacking
        if not missing:
            continue
        # beside its place, so that a file is there as a whole or not at all
        with tempfile.TemporaryDirectory(prefix=".wheels-", dir=directory) as name:
            _download([*missing], target, Path(name), directory)
            new += [file.replace(directory / file.name) for file in sorted(Path(name).glob("*.whl"))]
    return new


def _download(wheels: Sequence[Wheel], target: Target, into: Path, keep: Path) -> None:
    """Let pip fetch wheels `into` an empty directory; `keep` is where they are going to stay."""
    requirements = into / "requirements.txt"
    requirements.write_text("".join(f"{wheel.requirement}\n" for wheel in wheels))
    command = [
        sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-input", "--retries", "2",
        "--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", str(requirements), "-d", str(into),
        "--implementation", "cp", "--python-version", target.python,
        *(f"--platform={platform}" for platform in target.platforms),
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    except subprocess.TimeoutExpired:
        raise InputError(
            Code.FETCH_FAILED, "events API: pip has not fetched the wheels within 10 minutes. Try again"
        ) from None
    if done.returncode == 0:
        return
    what = f"events API: the wheels for {target}"
    # pip says nothing else of an index that it does not reach than that it tries again and knows no version
    if "Retrying (" in done.stderr and "from versions: none" in done.stderr:
        raise InputError(
            Code.FETCH_FAILED,
            f"{what} cannot be fetched: this machine does not reach the Python package index. Run `cvat-analytics bundle wheels wheels` "
            f"on one that does, and carry the files of `wheels` to {keep}",
        )
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.split(
        "\n"
    )
    raise InputError(
        Code.FETCH_FAILED, f"{what} cannot be fetched: {' '.join(' '.join(errors).split())[:500]}"
    )
