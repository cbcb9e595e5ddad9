"""Whose certificates are believed: a CVAT's by the authorities that its host knows, and one that an operator has given by itself."""

from __future__ import annotations

import ssl

import certifi


def system_and_public() -> ssl.SSLContext:
    """Return the public authorities and those of the host, to which its administrator adds (`update-ca-certificates`).

    httpx alone knows the public ones only, and a CVAT inside a company often has a certificate of the company's own.
    """
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def pinned(text: str) -> ssl.SSLContext:
    """Return what accepts the first certificate in `text` (PEM) and no other, without its issuer and under any name.

    What follows in a given file is that issuer, who may have signed a good many others. Raises ssl.SSLError when there is none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata="".join(text.partition("-----END CERTIFICATE-----")[:2]))
    return context
