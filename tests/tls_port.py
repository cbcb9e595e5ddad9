"""Ask a TLS port of a server that runs on: who may log in there, and which certificate it shows."""

from __future__ import annotations

import http.client
import ssl

from cryptography import x509


def login(host: str, port: int, password: str, tls_context: ssl.SSLContext) -> int:
    """Return the status of ClickHouse's answer to the user `cvat`, 0 when there is none."""
    connection = http.client.HTTPSConnection(host, port, timeout=10, context=tls_context)
    try:
        headers = {"X-ClickHouse-User": "cvat", "X-ClickHouse-Key": password}
        connection.request("GET", "/?query=SELECT%201", headers=headers)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def shown(host: str, port: int) -> int:
    """Return the serial number of the certificate that the port shows, 0 when it shows none."""
    try:
        text = ssl.get_server_certificate((host, port), timeout=10)
    except OSError:
        return 0
    return x509.load_pem_x509_certificate(text.encode()).serial_number
