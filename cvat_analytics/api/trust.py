"""Whose certificates the events API believes when it asks a CVAT over https.

httpx alone knows the public authorities only (certifi), and a CVAT inside a company often has a certificate of the company's own.
"""

from __future__ import annotations

import ssl

import certifi


def trusted() -> ssl.SSLContext:
    """Return the public authorities and those of the host, to which its administrator adds (`update-ca-certificates`)."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
