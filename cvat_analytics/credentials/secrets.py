"""The generated passwords: one file outside git, mode 0600, written once and never printed."""

from __future__ import annotations

import json
import secrets as random
import stat
from collections.abc import Iterator, Mapping, Set
from hashlib import sha256
from pathlib import Path

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.base.files import write_atomically

NAMES = (
    "clickhouse_admin",
    "clickhouse_vector",
    "clickhouse_grafana",
    "clickhouse_events_api",
    "events_api_admin",
    "clickhouse_cvat",
    "vector_ingest",
    "grafana_admin",
    "grafana_secret_key",
    "backup_recovery_key",
)

GIVEN = ("smtp_password", "alert_webhook_token", "backup_s3_access_key", "backup_s3_secret_key")
"""Passwords of other systems, which nobody can generate: the operator gives those that the settings need."""


NEXT, PREVIOUS, GONE = "_next", "_previous", "_gone"
"""What follows a name while its password is being changed (rotation.py)."""
ACCEPTED = (NEXT, PREVIOUS)
"""Those that ClickHouse accepts beside the one in use."""


class Secrets(Mapping[str, str]):
    """The passwords by name. Shows none of them when printed."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Secrets({', '.join(self._values)})"

    def sha256(self, name: str) -> str:
        """Return the hexadecimal sha256 of a password, as ClickHouse's users file wants it.

        The passwords are random and long, so that an unsalted hash gives nothing away.
        """
        return sha256(self[name].encode()).hexdigest()

    def mask(self, text: str) -> str:
        """Return `text` with every password in it replaced by `***`."""
        for value in self._values.values():
            text = text.replace(value, "***")
        return text


def generate() -> Secrets:
    """Return a fresh set of random passwords (letters, digits, `-` and `_`: safe in XML, YAML, INI and URLs)."""
    return Secrets({name: random.token_urlsafe(24) for name in NAMES})


def load(path: Path) -> Secrets:
    """Return the passwords in the file `path`.

    Raises InputError when it is missing, readable by others, not JSON, or lacks a password.
    """
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(
            Code.SECRETS_MISSING,
            f"secrets file {path}: there is none. Restore it from your password store, or make new passwords with "
            "`cvat-analytics secrets init`",
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(
            Code.SECRETS_DAMAGED,
            f"secrets file {path}: cannot be read ({type(error).__name__}). Restore it from your password store",
        ) from None
    _refuse_public(path)
    missing = [name for name in NAMES if not isinstance(values, dict) or not values.get(name)]
    if missing:
        raise InputError(
            Code.SECRETS_MISSING,
            f"secrets file {path}: lacks {', '.join(missing)}. Run `cvat-analytics secrets init` to add what is missing",
        )
    return _known(values)


def preview(path: Path) -> Secrets:
    """Return the passwords in the file `path`, and some that are kept nowhere in place of those that `init` would add.

    Raises InputError when the file is there but readable by others, or cannot be understood.
    """
    existing = _existing(path)
    if path.exists():
        _refuse_public(path)
    return _known(existing | _fresh(existing))


def init(path: Path, *, dry: bool = False) -> list[str]:
    """Write the passwords that `path` lacks, unless `dry`, and return their names; existing ones are never changed.

    Raises InputError when the file is there but cannot be understood.
    """
    existing = _existing(path)
    added = _fresh(existing)
    if added and not dry:
        _write(path, existing | added)
    return list(added)


def give(path: Path, name: str, value: str) -> None:
    """Write a password of another system into the file `path`, in place of an earlier one.

    Raises InputError for a name that is none of those, for an empty password, and as `init` does.
    """
    if name not in GIVEN:
        raise InputError(
            Code.SECRET_REFUSED,
            f"secret {name!r}: can be one of {', '.join(GIVEN)}; the others are generated",
        )
    if not value or "\n" in value:
        raise InputError(Code.SECRET_REFUSED, f"secret {name}: a password is one line that is not empty")
    _write(path, _existing(path) | {name: value})


def replace(path: Path, values: Mapping[str, str], without: Set[str] = frozenset()) -> None:
    """Write `values` into the file `path` in one step, and take the names in `without` out. Raises InputError as `init` does."""
    _write(
        path, {name: value for name, value in (_existing(path) | dict(values)).items() if name not in without}
    )


def _fresh(existing: Mapping[str, str]) -> dict[str, str]:
    """Return generated passwords for the names that `existing` lacks."""
    return {name: value for name, value in generate().items() if not existing.get(name)}


def _known(values: Mapping[str, str]) -> Secrets:
    """Return what of the file's `values` this project knows."""
    changing = (name + suffix for name in NAMES for suffix in (NEXT, PREVIOUS, GONE))
    return Secrets({name: str(values[name]) for name in (*NAMES, *GIVEN, *changing) if values.get(name)})


def _refuse_public(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise InputError(
            Code.SECRETS_EXPOSED,
            f"secrets file {path}: other users may read it (mode {mode:04o}). Run `chmod 600 {path}`",
        )


def _existing(path: Path) -> dict[str, str]:
    """Return what is in the file `path`. Raises InputError when it is there but cannot be understood."""
    existing: dict[str, str] = {}
    if path.exists():
        try:
            existing = json.loads(path.read_text())
            if not isinstance(existing, dict):
                raise ValueError("not an object")
        except ValueError:
            raise InputError(
                Code.SECRETS_DAMAGED,
                f"secrets file {path}: is not JSON. Restore it from your password store, or move it away",
            ) from None
    return existing


def _write(path: Path, values: Mapping[str, str]) -> None:
    write_atomically(path, json.dumps(dict(values), indent=2) + "\n")
