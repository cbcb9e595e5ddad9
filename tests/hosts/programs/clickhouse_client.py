"""Stand in for clickhouse-client on a test host: the options that are used, output and exit codes, but HTTP underneath.

The engine library brings no client program. The native port is tried first, so that a login file with a wrong port
fails as it would with the real client; then the statements go, one by one, to the HTTP port of the deployed
configuration.
"""

from __future__ import annotations

import argparse
import http.client
import socket
import sys
import urllib.parse
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from sqlglot.dialects.clickhouse import ClickHouse
from sqlglot.tokens import TokenType

SERVER_CONFIG = Path("/etc/clickhouse-server/config.xml")
NETWORK_ERROR, UNRECOGNIZED_ARGUMENTS, CANNOT_OPEN_FILE = 210, 552, 76


class ClientError(Exception):
    """A failure with ClickHouse's error code. The exit code of the real client is that code modulo 256."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.exit_code = code % 256 or 1


class Parser(argparse.ArgumentParser):
    """Refuses as the real client does."""

    def error(self, message: str) -> NoReturn:
        raise ClientError(UNRECOGNIZED_ARGUMENTS, f"Code: {UNRECOGNIZED_ARGUMENTS}. DB::Exception: {message}")


def options(arguments: list[str]) -> argparse.Namespace:
    """Return the command line, and what the client's configuration file says of the login."""
    parser = Parser(prog="clickhouse-client", allow_abbrev=False)
    parser.add_argument("--config-file", type=Path, required=True)
    parser.add_argument("--database")
    parser.add_argument("--query")
    parser.add_argument("--multiquery", action="store_true")
    known = parser.parse_args(arguments)
    try:
        values = {element.tag: element.text or "" for element in ET.parse(known.config_file).getroot()}
    except OSError as error:
        raise ClientError(CANNOT_OPEN_FILE, f"Code: {CANNOT_OPEN_FILE}. DB::Exception: {error}") from None
    for name in ("host", "port", "user", "password"):
        setattr(known, name, values[name].strip())
    known.database = known.database or values["database"].strip()
    return known


def http_port() -> int:
    """Return the deployed HTTP port: the last one in config.xml and config.d."""
    port = "8123"
    try:
        for file in (SERVER_CONFIG, *sorted((SERVER_CONFIG.parent / "config.d").glob("*.xml"))):
            root = ET.parse(file).getroot()
            # where it listens on loopback by itself it is a protocol of its own
            custom = [each.findtext("port") for each in root.iterfind("protocols/*[type='http']")]
            port = root.findtext("http_port") or next(iter(custom), None) or port
    except OSError:
        pass  # a host without a server, or a user who may not read its configuration
    return int(port)


def statements(text: str) -> Iterator[str]:
    """Split `text` at the semicolons that end a statement."""
    start = 0
    inside = False
    for token in ClickHouse.Tokenizer().tokenize(text):
        if token.token_type == TokenType.SEMICOLON:
            if inside:
                yield text[start : token.start].strip()
            start, inside = token.end + 1, False
        else:
            inside = True
    if inside:
        yield text[start:].strip()


def run(statement: str, options_: argparse.Namespace, session: str) -> None:
    """Send one statement and copy its answer to the standard output. Raises ClientError on an exception."""
    query = {
        "wait_end_of_query": "1", "session_id": session, "session_timeout": "60", "database": options_.database,
    }  # fmt: skip
    connection = http.client.HTTPConnection(options_.host, http_port(), timeout=300)
    try:
        connection.request(
            "POST",
            "/?" + urllib.parse.urlencode(query),
            body=statement.encode(),
            headers={"X-ClickHouse-User": options_.user, "X-ClickHouse-Key": options_.password},
        )
        response = connection.getresponse()
        code = int(response.headers.get("X-ClickHouse-Exception-Code") or 0)
        if response.status != 200 or code:
            text = response.read().decode(errors="replace").strip()
            raise ClientError(
                code or NETWORK_ERROR, f"Received exception from server:\n{text}\n(query: {statement})"
            )
        while block := response.read(1 << 20):
            sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise ClientError(
            NETWORK_ERROR,
            f"Code: {NETWORK_ERROR}. DB::NetException: {error} ({options_.host}:{options_.port})",
        ) from None
    finally:
        connection.close()


def main(arguments: list[str]) -> int:
    """Run the statements of --query, else of the standard input, until one fails."""
    try:
        given = options(arguments)
        try:
            with socket.create_connection((given.host, int(given.port)), timeout=10) as native:
                # the engine library does not survive a client that is gone before it could say its farewell
                native.shutdown(socket.SHUT_WR)
                while native.recv(4096):
                    pass
        except OSError as error:
            text = f"Code: {NETWORK_ERROR}. DB::NetException: {error} ({given.host}:{given.port}). (NETWORK_ERROR)"
            raise ClientError(NETWORK_ERROR, text) from None
        session = str(uuid.uuid4())
        for statement in statements(given.query or sys.stdin.read()):
            run(statement, given, session)
    except ClientError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
