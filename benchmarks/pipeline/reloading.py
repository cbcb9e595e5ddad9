"""See whether a running Vector has taken up a changed configuration: by a port that comes with it, not by words in its log."""

from __future__ import annotations

import socket


def marked(text: str, port: int) -> str:
    """Return the configuration `text` with a further source on `port`; it answers as soon as the configuration is at work."""
    source = (
        f'[sources.marker]\ntype = "http_server"\naddress = "127.0.0.1:{port}"\npath = "/"\nframing.method = "bytes"\n'
        'decoding.codec = "bytes"\n\n'
    )
    changed = text.replace("[transforms.split]", f"{source}[transforms.split]", 1)
    return changed.replace('inputs = ["cvat"', 'inputs = ["marker", "cvat"', 1)


def answers(port: int, address: str = "127.0.0.1") -> bool:
    """Return whether anybody listens on `port` of that address of this machine."""
    try:
        with socket.create_connection((address, port), timeout=5):
            return True
    except OSError:
        return False
