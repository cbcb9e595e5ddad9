"""ClickHouse's own directory for backups, in which root works: whoever has ClickHouse's user might put links there, which are not followed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cvat_analytics.base.codes import Code
from cvat_analytics.operate.backup.agent.config import Config
from cvat_analytics.operate.backup.agent.report import AgentError


@contextmanager
def opened(config: Config) -> Iterator[Path]:
    """Yield the directory `staging`, made where it is not there, as a path that stays it whatever its name becomes. Raises AgentError."""
    place = Path(config.staging)
    owner = place.parent.stat()
    with suppress(FileExistsError):
        place.mkdir()
    with _held(place, owner.st_uid) as held:
        if os.geteuid() == 0:
            os.chown(held, owner.st_uid, owner.st_gid)
        yield held


@contextmanager
def private(above: Path, name: str) -> Iterator[Path]:
    """Yield a new directory in `above` that only this user enters, as a path that stays it; what is left in it goes. Raises AgentError."""
    place = above / name
    remove(place)
    place.mkdir(mode=0o700)
    try:
        with _held(place) as held:
            yield held
    finally:
        remove(place)


def hand_over(tree: Path, like: Path) -> None:
    """Give a directory and all in it to the owner of another one; of a link itself, not what it leads to."""
    if os.geteuid() != 0:
        return
    owner = like.stat()
    for directory, directories, names in os.walk(tree):
        for path in (directory, *(f"{directory}/{name}" for name in (*directories, *names))):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def remove(place: Path) -> None:
    """Remove a file, a directory with what is in it, or a link alone; what is not there is fine."""
    if place.is_symlink() or place.is_file():
        place.unlink(missing_ok=True)
    else:
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _held(place: Path, owner: int = -1) -> Iterator[Path]:
    try:
        number = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise AgentError(
            Code.BACKUP_STAGING,
            f"{place}: is no directory but a link or a file ({error.strerror}), and root follows none there. Look who has put it there, and remove it",
        ) from None
    try:
        found = os.fstat(number).st_uid
        if found not in (os.geteuid(), owner):
            raise AgentError(
                Code.BACKUP_STAGING,
                f"{place}: belongs to the user with the number {found}. Look who has put it there, and remove it",
            )
        # of this process, so that it is the same for restic
        yield Path(f"/proc/{os.getpid()}/fd/{number}")
    finally:
        os.close(number)
