"""Stand in for clickhouse-client on a test host: the options that are used, output and exit codes, but HTTP underneath.

The engine library brings no client program. The native port is tried first, so that a login file with a wrong port
fails as it would with the real client; then the statements go, one by one, to the HTTP port of the deployed
configuration.

A deploy runs it about a hundred times: it imports no more than it must, neither argparse nor an HTTP library, nor what only makes
programs shorter (dataclasses and pathlib take as long as all the rest).
"""

from __future__ import annotations

import os
import re
import socket
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator

CONFIGURATION = "/etc/clickhouse-server"
NETWORK_ERROR, UNRECOGNIZED_ARGUMENTS, CANNOT_OPEN_FILE = 210, 552, 76


class ClientError(Exception):
    """A failure with ClickHouse's error code. The exit code of the real client is that code modulo 256."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.exit_code = code % 256 or 1


class Options:
    """The command line, and what the client's configuration file says of the login."""

    def __init__(
        self, host: str, port: int, user: str, password: str, database: str, query: str | None
    ) -> None:
        self.host, self.port, self.user, self.password = host, port, user, password
        self.database, self.query = database, query


def options(arguments: list[str]) -> Options:
    """Return what the command line and the configuration file that it names say."""
    given: dict[str, str] = {}
    words = iter(arguments)
    for word in words:
        name, _, value = word.partition("=")
        if name == "--multiquery" and not value:
            continue
        if name not in ("--config-file", "--database", "--query"):
            raise ClientError(
                UNRECOGNIZED_ARGUMENTS,
                f"Code: {UNRECOGNIZED_ARGUMENTS}. DB::Exception: unrecognized arguments: {word}",
            )
        given[name] = value if "=" in word else next(words, "")
    if "--config-file" not in given:
        raise ClientError(
            UNRECOGNIZED_ARGUMENTS,
            "this stand-in takes its login from --config-file alone, and there is none",
        )
    try:
        root = ET.parse(given["--config-file"]).getroot()
    except OSError as error:
        raise ClientError(CANNOT_OPEN_FILE, f"Code: {CANNOT_OPEN_FILE}. DB::Exception: {error}") from None
    values = {element.tag: (element.text or "").strip() for element in root}
    return Options(
        values["host"],
        int(values["port"]),
        values["user"],
        values["password"],
        given.get("--database") or values["database"],
        given.get("--query"),
    )


def http_port() -> int:
    """Return the deployed HTTP port: the last one in config.xml and config.d."""
    port = "8123"
    try:
        with os.scandir(f"{CONFIGURATION}/config.d") as found:
            drop_ins = sorted(each.path for each in found if each.name.endswith(".xml"))
        for file in (f"{CONFIGURATION}/config.xml", *drop_ins):
            root = ET.parse(file).getroot()
            # where it listens on loopback by itself it is a protocol of its own
            custom = [each.findtext("port") for each in root.iterfind("protocols/*[type='http']")]
            port = root.findtext("http_port") or next(iter(custom), None) or port
    except OSError:
        pass  # a host without a server, or a user who may not read its configuration
    return int(port)


_PIECE = r"""
    (?P<text> '(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.)*" | `(?:[^`\\]|\\.)*` | (?P<heredoc>\$\w*\$).*?(?P=heredoc) )
    | (?P<comment> --[^\n]* | \#[\ !][^\n]* | /\*.*?\*/ | \s+ )
    | (?P<end> ; )
    | (?P<other> . )
    """


def statements(text: str) -> Iterator[str]:
    """Split `text` at the semicolons that end a statement."""
    if not any(mark in text for mark in (";", "--", "#", "/*")):
        yield from filter(None, [text.strip()])
        return
    start = 0
    inside = False
    for piece in re.finditer(_PIECE, text, re.VERBOSE | re.DOTALL):
        if piece.lastgroup == "end":
            if inside:
                yield text[start : piece.start()].strip()
            start, inside = piece.end(), False
        elif piece.lastgroup != "comment":
            inside = True
    if inside:
        yield text[start:].strip()


def run(statement: str, given: Options, session: str) -> None:
    """Send one statement and copy its answer to the standard output. Raises ClientError on an exception."""
    body = statement.encode()
    # 1.0: the answer is not in chunks, and ends with the connection
    head = (
        f"POST /?wait_end_of_query=1&session_id={session}&session_timeout=60 HTTP/1.0\r\nX-ClickHouse-Database: {given.database}\r\n"
        f"X-ClickHouse-User: {given.user}\r\nX-ClickHouse-Key: {given.password}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    try:
        with socket.create_connection((given.host, http_port()), timeout=300) as connection:
            connection.sendall(head.encode() + body)
            with connection.makefile("rb") as answer:
                status = answer.readline().split()[1:2]
                code = 0
                while line := answer.readline().strip():
                    name, _, value = line.partition(b":")
                    if name.lower() == b"x-clickhouse-exception-code":
                        code = int(value)
                if status != [b"200"] or code:
                    text = answer.read().decode(errors="replace").strip()
                    raise ClientError(
                        code or NETWORK_ERROR,
                        f"Received exception from server:\n{text}\n(query: {statement})",
                    )
                while block := answer.read(1 << 20):
                    sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise ClientError(
            NETWORK_ERROR,
            f"Code: {NETWORK_ERROR}. DB::NetException: {error} ({given.host}:{given.port})",
        ) from None


def main(arguments: list[str]) -> int:
    """Run the statements of --query, else of the standard input, until one fails."""
    try:
        given = options(arguments)
        try:
            with socket.create_connection((given.host, given.port), timeout=10) as native:
                # the engine library does not survive a client that is gone before it could say its farewell
                native.shutdown(socket.SHUT_WR)
                while native.recv(4096):
                    pass
        except OSError as error:
            text = f"Code: {NETWORK_ERROR}. DB::NetException: {error} ({given.host}:{given.port}). (NETWORK_ERROR)"
            raise ClientError(NETWORK_ERROR, text) from None
        session = os.urandom(16).hex()
        for statement in statements(given.query or sys.stdin.read()):
            run(statement, given, session)
    except ClientError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
