"""Stand in for clickhouse-server on a test host: the engine's library, a watch of its files, and TLS in front of it.

The engine runs in a process of its own, because it reads its users once, while a server takes up what has changed in them
as it runs. What is changed here too is what a server looks at (src/Common/Config/ConfigReloader.cpp,
src/Server/CertificateReloader.cpp): every two seconds the modification times and paths of its files, never their content.
Where those of users.xml and users.d differ, the engine inside is started anew, with the unit up all the while, but the
ports away for a moment, which those of a server are not; a certificate is taken up without that. Of config.xml and config.d
a server takes up a part; this program only says that they differ, and takes them up when its unit is started.

The library listens neither with TLS nor with `<protocols>`. Where the deployed configuration asks for them, this program
gives the library a copy of it in which the plain ports of the protocols are ordinary ones on their hosts, and ends TLS
itself: on the ports and the listen addresses of the configuration, with the certificate files that it names, read as the
user clickhouse. So it proves our files, their owners and times, and our clients; it proves nothing about ClickHouse's own
TLS.

Whoever connects stays known to the engine: as the `X-Forwarded-For` of their request, which it is told to believe. On the
native port there is no such thing: a login there seems to come from this host.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from pathlib import Path

from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.embedded import engine

COPY = Path(os.environ.get("RUNTIME_DIRECTORY", "/run/clickhouse-server")) / "stand-in"
"""Below the unit's runtime directory, which systemd makes, names (systemd.exec(5)) and empties."""
INTERVAL = 2.0
"""Seconds between two looks at the files: the server's default of `config_reload_interval_ms`."""
_HEAD = 1 << 16
_PORTS = ("http_port", "tcp_port", "https_port", "tcp_port_secure")


def configured(config_file: Path) -> dict[str, str]:
    """Return what the configuration says of ports and certificates, by path; the last file that has one counts."""
    names = (
        *_PORTS,
        "openSSL/server/certificateFile",
        "openSSL/server/privateKeyFile",
    )
    values = {}
    for root in _documents(config_file):
        for name in names:
            if text := (root.findtext(name) or "").strip():
                values[name] = text
        for protocol in root.iterfind("protocols/*"):
            kind, host, port = (protocol.findtext(part) for part in ("type", "host", "port"))
            if kind not in ("http", "tcp") or host != "127.0.0.1" or not port:
                raise SystemExit(f"<{protocol.tag}>: this stand-in knows http and tcp on 127.0.0.1 only")
            values[f"{kind}_port"] = port
    return values


def merged(file: Path) -> list[Path]:
    """Return what a server merges into one document: `file` and what lies beside it in directories for that."""
    files = [file]
    for directory in (file.with_suffix(".d"), file.with_name("conf.d")):
        files += (
            each
            for each in sorted(directory.glob("*"))
            if each.suffix in (".xml", ".conf", ".yaml", ".yml") and not each.name.startswith(".")
        )
    return files


def times(files: Iterable[Path]) -> dict[Path, int]:
    """Return the modification time of each of `files` that is there."""
    moments = {}
    for file in files:
        with contextlib.suppress(FileNotFoundError):
            moments[file] = file.stat().st_mtime_ns
    return moments


def differing(before: dict[Path, int], after: dict[Path, int]) -> str:
    """Return in words what a server would see, empty when it would see nothing."""
    words = {True: "is new", False: "is gone"}
    return ", ".join(
        f"{file} {words[file in after] if (file in before) != (file in after) else 'has another modification time'}"
        for file in sorted(before.keys() | after.keys())
        if before.get(file) != after.get(file)
    )


def _documents(config_file: Path) -> list[ET.Element]:
    files = [config_file, *sorted((config_file.parent / "config.d").glob("*.xml"))]
    return [ET.parse(file).getroot() for file in files]


def listen_hosts(config_file: Path) -> list[str]:
    """Return the addresses of the last file that has some."""
    addresses: list[str] = []
    for root in _documents(config_file):
        addresses = [(each.text or "").strip() for each in root.iterfind("listen_host")] or addresses
    return addresses


def copied(config_file: Path, ports: dict[str, str]) -> Path:
    """Return the configuration as it is now and as the library can read it, in a directory of this run; users stay where they are."""
    shutil.rmtree(COPY, ignore_errors=True)
    (COPY / "config.d").mkdir(parents=True)
    for name in ("users.xml", "users.d"):
        (COPY / name).symlink_to(config_file.parent / name)
    tls = "https_port" in ports
    for file in (config_file, *(config_file.parent / "config.d").glob("*.xml")):
        document = ET.parse(file)
        root = document.getroot()
        for name in (*_PORTS, "listen_host", "protocols", "openSSL") if tls else ():
            for element in root.findall(name):
                root.remove(element)
        document.write(COPY / file.relative_to(config_file.parent))
    if tls:
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


class Certificate:
    """What is shown to whoever connects, as a server has it: looked at again when the time of one of its files differs."""

    def __init__(self, certificate: str, key: str) -> None:
        self.files = Path(certificate), Path(key)
        self.times = times(self.files)
        self.context = self._loaded()

    def look(self) -> None:
        """Take up what has changed; what cannot be used is said, and the one before it stays."""
        now = times(self.files)
        if difference := differing(self.times, now):
            self.times = now
            try:
                self.context = self._loaded()
                say(f"{difference}: shown from now on")
            except (OSError, ssl.SSLError) as error:
                say(f"{difference}: cannot be used: {error}")

    def _loaded(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(*self.files)
        return context


class Door:
    """A port with TLS; what comes out of it goes to a port of the engine."""

    def __init__(
        self, address: tuple[str, int], inside: int, certificate: Certificate, *, http: bool
    ) -> None:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._listener = socket.create_server(address, family=family, backlog=128)
        self._inside, self._certificate, self._http = inside, certificate, http
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            near, peer = self._listener.accept()
            threading.Thread(target=self._serve, args=(near, peer[0]), daemon=True).start()

    def _serve(self, near: socket.socket, peer: str) -> None:
        near.settimeout(60)
        with (
            contextlib.suppress(OSError),
            near,
            self._certificate.context.wrap_socket(near, server_side=True) as client,
        ):
            # the engine library does not survive a client of its native port that goes without a word
            first = _forwarded(client, peer) if self._http else client.recv(_HEAD)
            if first:
                with socket.create_connection(("127.0.0.1", self._inside), timeout=60) as engine_side:
                    engine_side.sendall(first)
                    _carry(client, engine_side)


def _forwarded(client: ssl.SSLSocket, peer: str) -> bytes:
    """Return the head of the one request of a connection, and what has come with it, with the peer's address in it; nothing of none."""
    data = b""
    while b"\r\n\r\n" not in data and len(data) < _HEAD:
        piece = client.recv(_HEAD)
        if not piece:
            break
        data += piece
    if not data:
        return b""
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


class Engine:
    """The engine in a process of its own."""

    def __init__(self, config_file: Path, http_port: str) -> None:
        self._command = [sys.executable, __file__, "--engine", str(config_file)]
        self._ping = f"http://127.0.0.1:{http_port}/ping"
        # what systemd is told, this process tells
        self._environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
        self._process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, env=self._environment)

    def wait(self, seconds: float) -> int | None:
        """Return its exit code, None when it still runs after `seconds`."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def until_it_answers(self) -> bool:
        """Wait until its HTTP port answers; return whether it does before it ends."""
        while self.wait(0.1) is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(self._ping, timeout=1):
                return True
        return False

    def stop(self) -> None:
        """End it, kindly first."""
        self._process.terminate()
        if self.wait(30) is None:
            self._process.kill()
            self._process.wait()

    def start_anew(self) -> bool:
        """End it and start another; return whether that one answers."""
        self.stop()
        self._process = self._started()
        return self.until_it_answers()


def say(text: str) -> None:
    """Write a line into the unit's journal."""
    print(f"clickhouse-server (stand-in): {text}", flush=True)


def _tell_systemd(text: str) -> None:
    """Tell systemd of the unit's state (sd_notify(3)), as the server does."""
    if address := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.connect("\0" + address[1:] if address.startswith("@") else address)
            notify.sendall(text.encode())


def readable(files: Iterable[Path]) -> bool:
    """Return whether all of `files` can be read as XML; say which not, as the server does, which then keeps what it has."""
    for file in files:
        try:
            ET.parse(file)
        except (OSError, ET.ParseError) as error:
            say(f"{file} cannot be loaded, what was before it stays: {error}")
            return False
    return True


def serve(config_file: Path) -> int:
    """Serve until the process is told to stop, or the engine ends."""
    config = configured(config_file)
    certificate = None
    main_file, users_file = config_file, config_file.with_name("users.xml")
    seen, users = times(merged(main_file)), times(merged(users_file))
    engine_inside = Engine(copied(config_file, config), config["http_port"])
    signal.signal(signal.SIGTERM, lambda *about: sys.exit(0))
    try:
        if "https_port" in config:
            certificate = Certificate(
                config["openSSL/server/certificateFile"], config["openSSL/server/privateKeyFile"]
            )
            for host in listen_hosts(config_file):
                Door((host, int(config["https_port"])), int(config["http_port"]), certificate, http=True)
                Door((host, int(config["tcp_port_secure"])), int(config["tcp_port"]), certificate, http=False)
        if engine_inside.until_it_answers():
            _tell_systemd("READY=1")
        while (code := engine_inside.wait(INTERVAL)) is None:
            if certificate:
                certificate.look()
            now = times(merged(main_file))
            if difference := differing(seen, now):
                seen = now
                say(
                    f"{difference}: a server takes up a part of it, this stand-in all when the unit is started"
                )
            now = times(merged(users_file))
            if (difference := differing(users, now)) and readable(now):
                users = now
                say(f"{difference}: the engine inside is started anew, for which a server has no need")
                since = time.monotonic()
                if engine_inside.start_anew():
                    say(f"the engine answers again after {time.monotonic() - since:.1f} s")
        return code
    finally:
        engine_inside.stop()


def main(arguments: list[str]) -> int:
    """Run as the server, or as the engine inside it."""
    try:
        if arguments[0] == "--engine":
            return engine.run(Path(arguments[1]))
        return serve(Path(arguments[0]).absolute())
    except CvatAnalyticsError as error:
        print(error, file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    os.umask(0o027)
    sys.exit(main(sys.argv[1:]))
