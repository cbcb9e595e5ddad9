"""Ask a part through TLS from a host's own shell, with the stack's authority and nobody else trusted.

bash speaks TCP but not TLS; the program `openssl` does, and is on a host whose package sources are https anyway.
"""

from __future__ import annotations

import ipaddress
import shlex

PACKAGES = ("openssl",)

# Succeeds when the answer on its input begins with status 200. It is read to its end: a server whose answer is cut off
# would log an error for each probe.
STATUS_200 = "awk 'NR == 1 {ok = / 200/} END {exit !ok}'"


def connection(address: str, port: int, authority: str) -> str:
    """Return a command that sends its input to `address` (an IP address) and writes what comes back.

    It ends without a word sent when the certificate is not for that address, or not by the authority whose certificate is
    in the file `authority` (openssl-s_client(1)).
    """
    at = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    return (
        f"openssl s_client -quiet -verify_return_error -no-CApath -no-CAstore -CAfile {shlex.quote(authority)} "
        f"-verify_ip {address} -connect {at}"
    )


def https_probe(port: int, path: str, address: str, authority: str) -> str:
    """Return a command that succeeds when `path` answers 200 through TLS, with a certificate that can be verified."""
    if ipaddress.ip_address(address).is_unspecified:
        address = "::1" if ":" in address else "127.0.0.1"
    http_request = f"printf 'GET {path} HTTP/1.0\\r\\nHost: {address}\\r\\n\\r\\n'"
    request = f"{http_request} | {connection(address, port, authority)} | {STATUS_200}"
    return f"timeout 5 bash -c {shlex.quote(request)} 2>/dev/null"
