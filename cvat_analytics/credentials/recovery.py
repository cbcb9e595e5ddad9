"""The one key that opens backups: it lies with the operator and never on a host; a host has only what is made of it.

Who has a host can add to the backups and read its own; the inventory and the passwords in them are locked with the key itself.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY = "backup_recovery_key"
"""Its name among the secrets."""


def repository_password(recovery_key: str) -> str:
    """Return the password of the backups' repository. It must stay the same for ever: with another one no backup opens."""
    derived = HKDF(SHA256(), length=32, salt=None, info=b"cvat-analytics backup repository")
    return derived.derive(recovery_key.encode()).hex()
