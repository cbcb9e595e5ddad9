"""What is text: the encoding of everything here, and what can be in none of it."""

from __future__ import annotations

import re

UTF_8 = "utf-8"
HALF_OF_A_PAIR = re.compile("[\ud800-\udfff]")
"""Half of a surrogate pair, which JSON can write but which is no character, and not to be encoded."""


def is_utf8(text: bytes) -> bool:
    """Return whether these bytes are UTF-8."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
