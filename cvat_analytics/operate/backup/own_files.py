"""What of a stack lies on the operator's machine: inventory, passwords, users, the authority, who was erased. A host keeps it encrypted."""

from __future__ import annotations

import hmac
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cvat_analytics.operate.backup import inventory

_LIKE = ("*.py", "*.json", "group_data/*.py", "host_data/*.py", "certificates/*")
"""Which files beside the inventory are meant; whatever else may lie there, such as packages, can be had again."""

_BESIDE = ("users.json", "erasures.json", "certificates/*")
"""Which files beside the secrets are meant."""


def gathered(inventory_file: Path, secrets_file: Path) -> dict[str, bytes]:
    """Return the files by their names in the archive: the inventory's directory, with the secrets in it wherever they are."""
    directory = inventory_file.absolute().parent
    found = {path for pattern in _LIKE for path in directory.glob(pattern) if path.is_file()}
    files = {f"inventory/{path.relative_to(directory)}": path.read_bytes() for path in sorted(found)}
    # users, certificates and erasures are beside the secrets, wherever those are
    beside = secrets_file.absolute().parent
    theirs = {path for pattern in _BESIDE for path in beside.glob(pattern) if path.is_file()}
    files |= {f"inventory/{path.relative_to(beside)}": path.read_bytes() for path in sorted(theirs)}
    if secrets_file.is_file():
        files["inventory/secrets.json"] = secrets_file.read_bytes()
    return files


def digest(files: Mapping[str, bytes], recovery_key: str) -> str:
    """Return what stands for the files, and says nothing of them to whoever has not got the key."""
    hashed = hmac.new(recovery_key.encode(), digestmod="sha256")
    for name, content in sorted(files.items()):
        hashed.update(f"{name}\0{len(content)}\0".encode() + content)
    return hashed.hexdigest()


def packed(files: Mapping[str, bytes], recovery_key: str) -> bytes:
    """Return the files as an archive that only the recovery key opens."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for path, content in files.items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch(mode=0o600)
            target.write_bytes(content)
        return inventory.packed([root / "inventory"], root, recovery_key)
