"""The record of who has asked for what is stored of a person, or had it erased, and when. Nothing in it is about the person.

Lines of JSON beside the inventory, or in the directory of an embedded stack. `reference` is a random text, which the answer to the person
has as well: so a request and its answer can be told to belong together by whoever has both.
"""

from __future__ import annotations

import json
import os
import pwd
import secrets
import socket
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError

FILE = "person-requests.jsonl"


_DAY, _MOMENT = "%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"


def operator() -> str:
    """Return who runs this command: the login on this machine, and whose it was before `sudo`."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # an id without an account, as in containers
        name = f"uid {os.getuid()}"
    before = os.environ.get("SUDO_USER", name)
    return f"{before}{f' (as {name})' if before != name else ''}@{socket.gethostname()}"


@dataclass(frozen=True)
class Entry:
    """One request."""

    command: Literal["show", "export", "erase"]
    at: str = ""
    by: str = field(default_factory=operator)
    reference: str = field(default_factory=lambda: secrets.token_hex(4))

    def __post_init__(self) -> None:
        # of an erasure the day alone: the moment is in the list, beside whose it was
        object.__setattr__(
            self, "at", self.at or f"{datetime.now(UTC):{_DAY if self.command == 'erase' else _MOMENT}}"
        )


def write(directory: Path, entry: Entry) -> Path:
    """Add `entry` to the record in `directory`, for its owner alone, and return the file. Raises InputError when it cannot be written.

    It is on disk when this returns: nothing is to be shown or erased of which there is no record.
    """
    path = directory / FILE
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(json.dumps(asdict(entry)) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(
            Code.ERASURE_RECORD,
            f"{path}: the record of requests cannot be written ({error.strerror}), and without it nothing is done",
        ) from None
    return path
