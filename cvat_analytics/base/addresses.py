"""Addresses here that lead to others: what is said of them names where they end, as the host there sees it.

A forwarded port of an SSH connection is a random number to whoever reads a message. Whoever forwards one says what it stands for,
and every error of ours, and every text of a driver's, is told with that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LOCAL = ("localhost", "127.0.0.1", "::1")
"""Under which names a host is its own, and so at the end of a tunnel."""


@dataclass
class _Far:
    address: str
    host: str
    refusal: str = ""


_FAR: dict[tuple[str, int], _Far] = {}
# as URLs and as urllib3 have it
_ADDRESS = re.compile(
    r"(?:https?://)?\b(127\.0\.0\.1):(\d+)\b((?:/[\w.~%-]*)*)|host='(127\.0\.0\.1)', port=(\d+)"
)


def lead(near: tuple[str, int], address: str, host: str) -> None:
    """Have `near`, an address here, stand for `address` as `host` sees it."""
    _FAR[near] = _Far(address, host)


def forget(near: tuple[str, int]) -> None:
    """Have `near` stand for itself again."""
    _FAR.pop(near, None)


def refused(near: tuple[str, int], reason: str) -> None:
    """Remember why the last connection to what `near` stands for did not come about; empty when one did."""
    if far := _FAR.get(near):
        far.refusal = reason


def refusal(near: tuple[str, int]) -> str:
    """Return why the last connection to what `near` stands for did not come about: from here it only looks closed. Empty if it did."""
    far = _FAR.get(near)
    return far.refusal if far else ""


def real(text: str) -> str:
    """Return `text` with the addresses that lead elsewhere under the names of what they lead to."""

    def name(match: re.Match[str]) -> str:
        far = _FAR.get((match[1] or match[4], int(match[2] or match[5])))
        return f"{far.address}{(match[3] or '').rstrip('/')} on host {far.host}" if far else match[0]

    return _ADDRESS.sub(name, text) if _FAR else text
