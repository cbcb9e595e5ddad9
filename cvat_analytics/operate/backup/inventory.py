"""What lies on the operator's machine, as one archive that only the recovery key opens, also with the `age` of Debian."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Iterable
from pathlib import Path

import pyrage

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError

FILE_NAME = "inventory.tar.age"
_TRIES = 20


def packed(files: Iterable[Path], root: Path, recovery_key: str) -> bytes:
    """Return files and directories, those that are there, in an encrypted tar; their names begin below `root`."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for file in files:
            if file.exists():
                archive.add(file, str(file.relative_to(root)), filter=_without_caches)
    encrypted: bytes = pyrage.passphrase.encrypt(plain.getvalue(), recovery_key)
    return encrypted


def unpack(archive: bytes, recovery_key: str, directory: Path) -> list[str]:
    """Write what is in the archive below a directory that is new or empty, for its owner alone, and return the names.

    Raises InputError for another key, and for a directory that has something.
    """
    plain = _decrypted(archive, recovery_key)
    if directory.exists() and any(directory.iterdir()):
        raise InputError(Code.OUTPUT_EXISTS, f"{directory}: is not empty. Give a new directory")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(plain)) as opened:
        opened.extractall(directory, filter="data")
        names = sorted(each.name for each in opened if each.isfile())
    for name in names:
        (directory / name).chmod(0o600)
    return names


def _decrypted(archive: bytes, recovery_key: str) -> bytes:
    for left in reversed(range(_TRIES)):
        try:
            plain: bytes = pyrage.passphrase.decrypt(archive, recovery_key)
        except pyrage.DecryptError as error:
            # it measures how fast this machine is just now, and refuses what would take it long: a busy one is faster in a moment
            if left and "xcessive work" in str(error):
                time.sleep(0.5)
                continue
            raise InputError(
                Code.RECOVERY_KEY,
                f"the archive of the inventory: this recovery key does not open it ({error})",
            ) from None
        return plain
    raise AssertionError


def write(file: Path, content: bytes) -> None:
    """Have the archive in a file. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.new")
    new.touch(mode=0o600)
    new.write_bytes(content)
    new.replace(file)


def _without_caches(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "__pycache__" in entry.name else entry
