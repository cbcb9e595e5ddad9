"""The users of an analytics host that has no CVAT to ask: one file outside git, with passwords as argon2 hashes.

Written by `cvat-analytics users`, read by the events API and by the gateway. Like the events API it must run on
Python 3.10.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.base.files import write_atomically

if TYPE_CHECKING:
    from argon2 import PasswordHasher

ADMIN = "admin"
"""The user that is always there where no CVAT is asked; its password is the secret `events_api_admin`."""
FILE_NAME = "users.json"
"""Name of the users file, which lies beside the passwords."""
MINIMUM_LENGTH = 10


@dataclass(frozen=True)
class User:
    """One line of the file."""

    name: str
    hash: str = field(repr=False)
    analytics: bool = False
    """Whether the dashboards are shown."""
    admin: bool = False
    """Whether everybody's events may be read, and dashboards changed."""
    id: int | None = None
    """The person's id in the events, where events of a CVAT were imported; otherwise the name says whose an event is."""
    email: str = ""


Users = Mapping[str, User]


@cache
def hasher() -> PasswordHasher:
    """Return what makes and checks hashes. Who only lists users does without its library."""
    from argon2 import PasswordHasher

    # OWASP's second choice of parameters: a login costs 19 MiB and some 30 ms, and fits beside everything else on a small host
    return PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


@cache
def _nobody() -> str:
    """Return a hash that no password has."""
    return hasher().hash("nobody has this password")


def load(path: Path) -> Users:
    """Return the users in the file `path`; none where there is no file.

    Raises InputError when it cannot be understood.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return {name: User(name, **about) for name, about in entries.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(
            Code.USERS_DAMAGED,
            f"users file {path}: cannot be read ({type(error).__name__}). Restore it from a copy, or move it away and "
            "add the users anew",
        ) from None


def save(path: Path, users: Users) -> None:
    """Write the file, readable by its owner only, in one step."""
    write_atomically(path, dump(users))


def dump(users: Users) -> str:
    """Return the text of the file."""
    entries = {name: {k: v for k, v in asdict(users[name]).items() if k != "name"} for name in sorted(users)}
    return json.dumps(entries, indent=2) + "\n"


def hash_password(password: str) -> str:
    """Return the hash of a password. Raises InputError when it is too short to be one."""
    if len(password) < MINIMUM_LENGTH:
        raise InputError(
            Code.USER_WRONG, f"the password is too short: use at least {MINIMUM_LENGTH} characters"
        )
    return hasher().hash(password)


def add(users: Users, user: User) -> Users:
    """Return the users with one more. Raises InputError for a name or an id that is taken, and for what cannot be a name."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,149}", user.name):
        raise InputError(
            Code.USER_WRONG,
            f"user {user.name!r}: a name is made of the letters A to Z, digits and _ . @ + -, begins with a letter or a digit, "
            "and is 150 characters long at most",
        )
    # Grafana does not tell names apart that differ in case only
    if user.name.lower() in {name.lower() for name in users}:
        raise InputError(
            Code.USER_EXISTS,
            f"user {user.name!r}: is there already. Change their password with `users set-password`, anything else with `users change`",
        )
    return _with(users, user)


def remove(users: Users, name: str) -> Users:
    """Return the users without one. Raises InputError when there is none of that name."""
    find(users, name)
    return {key: user for key, user in users.items() if key != name}


def change(users: Users, name: str, changes: Mapping[str, Any]) -> Users:
    """Return the users with other values for fields of one. Raises InputError for an unknown name and an id that is taken."""
    return _with(users, replace(find(users, name), **changes))


def _with(users: Users, user: User) -> Users:
    """Return the users with this one in place of whoever has that name. Raises InputError for an id that is another's."""
    try:
        user.email.encode()
    except UnicodeEncodeError:  # a command's arguments have other bytes in this form
        raise InputError(
            Code.USER_WRONG, f"user {user.name!r}: the e-mail is not UTF-8: {user.email!r}"
        ) from None
    # two names with one id would see each other's events: rather a mistyped number than one person twice
    if user.id is not None:
        for other in users.values():
            if other.id == user.id and other.name != user.name:
                raise InputError(
                    Code.USER_ID_TAKEN,
                    f"user {user.name!r}: the id {user.id} is that of {other.name!r}, whose events they would see. Give an id of their own",
                )
    return {**users, user.name: user}


def set_password(users: Users, name: str, password: str) -> Users:
    """Return the users with one's password changed. Raises InputError for an unknown name or a password too short."""
    return {**users, name: replace(find(users, name), hash=hash_password(password))}


def find(users: Users, name: str) -> User:
    """Return the user of that name. Raises InputError when there is none."""
    if name not in users:
        known = ", ".join(sorted(users)) or "nobody"
        raise InputError(Code.USER_UNKNOWN, f"user {name!r}: is not in the file; there is {known}")
    return users[name]


def check(users: Users, name: str, password: str) -> User | None:
    """Return the user whose name and password these are, or None. Takes as long for a name that is not there."""
    from argon2.exceptions import InvalidHashError, VerificationError

    user, nobody = users.get(name), _nobody()
    try:
        hasher().verify(user.hash if user else nobody, password)
    except (VerificationError, InvalidHashError):
        return None
    return user
