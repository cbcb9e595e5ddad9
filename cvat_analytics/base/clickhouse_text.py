"""What ClickHouse's own words are in an error. Part of the events API's archive, so it runs on Python 3.10 too."""

from __future__ import annotations

import re


def exception_text(text: str) -> str:
    """Return in one line what the server says in `text`, without its version and what a driver adds; all of it where it says nothing."""
    line = " ".join(text.split())
    match = re.search(r"DB::\w*Exception: (.*?)(?: \(version | \(for url |: [Ww]hile executing |$)", line)
    return match[1] if match else line
