"""Build the stand-in packages: the vendors' names, versions, users, units and paths, but the project's substitutes inside.

Each folder below `stand_ins/` is a package as it lies on the host. The version is filled in, so that a test can also
have another one than the settings' default.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from hashlib import sha256
from pathlib import Path

from cvat_analytics.config.validation import validate

STAND_INS = Path(__file__).parent / "stand_ins"
PACKAGE_FILES = Path(__file__).parents[2] / "cvat_analytics" / "embedded" / "package_files"
DECOY_VERSION = "18.16.1+ds-7.3"
"""What Debian's own archive has as clickhouse-server."""

PLUGIN = "grafana-clickhouse-datasource"


def default_versions() -> dict[str, str]:
    """Return the version of each package that the settings' defaults ask for."""
    settings = validate({}, where="defaults")
    clickhouse = ("clickhouse-common-static", "clickhouse-server", "clickhouse-client")
    return {
        **dict.fromkeys(clickhouse, settings.clickhouse_version),
        "vector": settings.vector_version,
        "grafana": settings.grafana_version,
        "musl": "1.2.5-3",
    }


def architecture() -> str:
    """Return this machine's architecture as Debian and Grafana name it."""
    return subprocess.run(
        ["dpkg", "--print-architecture"], check=True, capture_output=True, text=True
    ).stdout.strip()


def build(name: str, version: str, target: Path) -> Path:
    """Build the stand-in `name` with `version` into the directory `target` and return the .deb."""
    tree = target / f"{name}.tree"
    shutil.copytree(STAND_INS / name, tree, symlinks=True)
    substitutions = {"@VERSION@": version, "@ARCHITECTURE@": architecture()}
    for file in tree.rglob("*"):
        if file.is_file() and not file.is_symlink():
            text = file.read_text()
            for mark, value in substitutions.items():
                text = text.replace(mark, value)
            file.write_text(text)
    if name == "clickhouse-server":
        _add_engine_files(tree / "etc" / "clickhouse-server")
    package = target / f"{name}_{version}_{substitutions['@ARCHITECTURE@']}.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", tree, package],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    shutil.rmtree(tree)
    return package


def _add_engine_files(configuration: Path) -> None:
    """Add what the engine library must be told that the real server need not, after every other drop-in."""
    for part in ("config", "users"):
        directory = configuration / f"{part}.d"
        directory.mkdir()
        shutil.copyfile(PACKAGE_FILES / f"engine_{part}.xml", directory / "zz-stand-in-engine.xml")


def build_plugin(version: str, target: Path) -> Path:
    """Build a stand-in of Grafana's ClickHouse plugin: the vendor's file name, one metadata file, a program that is none."""
    path = target / f"{PLUGIN}-{version}.linux_{architecture()}.zip"
    metadata = {
        "type": "datasource",
        "name": "ClickHouse (stand-in)",
        "id": PLUGIN,
        "info": {"version": version},
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, mode, content in (
            ("plugin.json", 0o644, json.dumps(metadata, indent=2) + "\n"),
            (f"gpx_clickhouse_linux_{architecture()}", 0o755, "#!/bin/sh\nexit 1\n"),
        ):
            # a fixed date, so that the same version has the same checksum
            entry = zipfile.ZipInfo(f"{PLUGIN}/{name}", date_time=(2026, 1, 1, 0, 0, 0))
            entry.external_attr = (0o100000 | mode) << 16
            archive.writestr(entry, content)
    return path


def checksum(path: Path) -> str:
    """Return the file's sha256 in hexadecimal."""
    return sha256(path.read_bytes()).hexdigest()
