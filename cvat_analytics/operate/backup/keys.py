"""What a backup is encrypted with: one recovery key, which the operator keeps, and what follows from it."""

from __future__ import annotations

import base64

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

RECOVERY_KEY = "backup_recovery_key"
"""Its name among the secrets. It lies on no host."""


def derived_password(recovery_key: str) -> str:
    """Return the password of the repository, which hosts have: it opens everything but the inventory."""
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"cvat-analytics backup repository")
    return base64.urlsafe_b64encode(derived.derive(recovery_key.encode())).decode().rstrip("=")
