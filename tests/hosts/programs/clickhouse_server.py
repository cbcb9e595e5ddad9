"""Stand in for clickhouse-server on a test host: the engine's library, and TLS in front of it.

The library listens neither with TLS nor with `<protocols>`. Where the deployed configuration asks for them, this program
gives the library a copy of it in which the plain ports of the protocols are ordinary ones on their hosts, and ends TLS
itself: on the ports and the listen addresses of the configuration, with the certificate files that it names, read as the
user clickhouse at each connection. So it proves our files, their owners, and our clients; it proves nothing about
ClickHouse's own TLS.

Whoever connects stays known to the engine: as the `X-Forwarded-For` of his request, which it is told to believe. On the
native port there is no such thing: a login there seems to come from this host.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import ssl
import sys
import threading
import xml.etree.ElementTree as ET
from pathlib import Path

from cvat_analytics.embedded import engine
from cvat_analytics.errors import CvatAnalyticsError

COPY = Path("/run/clickhouse-server/stand-in")
"""Below the unit's runtime directory, which systemd empties."""
_HEAD = 1 << 16
_PORTS = ("http_port", "tcp_port", "https_port", "tcp_port_secure")


def configured(config_file: Path) -> dict[str, str]:
    """Return what the configuration says of ports and certificates, by path; the last file that has one counts."""
    names = (
        "https_port",
        "tcp_port_secure",
        "openSSL/server/certificateFile",
        "openSSL/server/privateKeyFile",
    )
    found = {}
    for root in _documents(config_file):
        for name in names:
            if text := (root.findtext(name) or "").strip():
                found[name] = text
        for protocol in root.iterfind("protocols/*"):
            kind, host, port = (protocol.findtext(part) for part in ("type", "host", "port"))
            if kind not in ("http", "tcp") or host != "127.0.0.1" or not port:
                raise SystemExit(f"<{protocol.tag}>: this stand-in knows http and tcp on 127.0.0.1 only")
            found[f"{kind}_port"] = port
    return found


def _documents(config_file: Path) -> list[ET.Element]:
    files = [config_file, *sorted((config_file.parent / "config.d").glob("*.xml"))]
    return [ET.parse(file).getroot() for file in files]


def listen_hosts(config_file: Path) -> list[str]:
    """Return the addresses of the last file that has some."""
    found: list[str] = []
    for root in _documents(config_file):
        found = [(each.text or "").strip() for each in root.iterfind("listen_host")] or found
    return found


def copied(config_file: Path, ports: dict[str, str]) -> Path:
    """Return the configuration as the library can read it: without what it cannot do, in a directory of this run."""
    shutil.rmtree(COPY, ignore_errors=True)
    (COPY / "config.d").mkdir(parents=True)
    for name in ("users.xml", "users.d"):
        (COPY / name).symlink_to(config_file.parent / name)
    for file in (config_file, *(config_file.parent / "config.d").glob("*.xml")):
        document = ET.parse(file)
        root = document.getroot()
        for name in (*_PORTS, "listen_host", "protocols", "openSSL"):
            for element in root.findall(name):
                root.remove(element)
        document.write(COPY / file.relative_to(config_file.parent))
    (COPY / "config.d" / "zzz-stand-in-ports.xml").write_text(
        f"""<clickhouse>
    <http_port>{ports["http_port"]}</http_port>
    <tcp_port>{ports["tcp_port"]}</tcp_port>
    <listen_host>127.0.0.1</listen_host>
    <auth_use_forwarded_address>1</auth_use_forwarded_address>
</clickhouse>
"""
    )
    return COPY / config_file.name


class Door:
    """A port with TLS; what comes out of it goes to a port of the engine."""

    def __init__(self, address: tuple[str, int], inside: int, files: tuple[str, str], *, http: bool) -> None:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._listener = socket.create_server(address, family=family, backlog=128)
        self._inside, self._files, self._http = inside, files, http
        self._trusted()
        threading.Thread(target=self._accept, daemon=True).start()

    def _trusted(self) -> ssl.SSLContext:
        """Return TLS with the certificate as it is on the disk now."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(*self._files)
        return context

    def _accept(self) -> None:
        while True:
            near, peer = self._listener.accept()
            threading.Thread(target=self._serve, args=(near, peer[0]), daemon=True).start()

    def _serve(self, near: socket.socket, peer: str) -> None:
        near.settimeout(60)
        with (
            contextlib.suppress(OSError),
            near,
            self._trusted().wrap_socket(near, server_side=True) as client,
            socket.create_connection(("127.0.0.1", self._inside), timeout=60) as engine_side,
        ):
            if self._http:
                engine_side.sendall(_forwarded(client, peer))
            _carry(client, engine_side)


def _forwarded(client: ssl.SSLSocket, peer: str) -> bytes:
    """Return the head of the one request of a connection, and what has come with it, with the peer's address in it."""
    data = b""
    while b"\r\n\r\n" not in data and len(data) < _HEAD:
        piece = client.recv(_HEAD)
        if not piece:
            break
        data += piece
    line, *headers = data.partition(b"\r\n\r\n")[0].split(b"\r\n")
    kept = [each for each in headers if not each.lower().startswith((b"connection:", b"x-forwarded-for:"))]
    added = [b"X-Forwarded-For: " + peer.encode(), b"Connection: close"]
    return b"\r\n".join([line, *kept, *added]) + b"\r\n\r\n" + data.partition(b"\r\n\r\n")[2]


def _carry(client: ssl.SSLSocket, engine_side: socket.socket) -> None:
    """Carry bytes both ways until one side ends."""
    while True:
        readable = [client] if client.pending() else select.select([client, engine_side], [], [], 600)[0]
        if not readable:
            return
        for source in readable:
            data = source.recv(65536)
            if not data:
                return
            (engine_side if source is client else client).sendall(data)


def main(config_file: Path) -> int:
    """Serve until the process is told to stop."""
    found = configured(config_file)
    if "https_port" in found:
        files = found["openSSL/server/certificateFile"], found["openSSL/server/privateKeyFile"]
        for host in listen_hosts(config_file):
            Door((host, int(found["https_port"])), int(found["http_port"]), files, http=True)
            Door((host, int(found["tcp_port_secure"])), int(found["tcp_port"]), files, http=False)
        config_file = copied(config_file, found)
    try:
        return engine.run(config_file)
    except CvatAnalyticsError as error:
        print(error, file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    os.umask(0o027)
    sys.exit(main(Path(sys.argv[1]).absolute()))
