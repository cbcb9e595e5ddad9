"""The option --encoding of several commands."""

from __future__ import annotations

import codecs

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError


def codec(encoding: str) -> str:
    """Return Python's name of an encoding. Raises InputError where it has none."""
    try:
        "x".encode(encoding)  # `lookup` knows some that are none of texts
        return codecs.lookup(encoding).name
    except (LookupError, ValueError):
        raise InputError(
            Code.OPTION_VALUE,
            f"--encoding {encoding}: is no encoding that Python knows. Name it as in cp1252, cp932 or utf-16",
        ) from None
