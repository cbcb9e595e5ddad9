"""The page docs/reference/access-matrix.md, made from a running stack: `make access` writes it, a test compares it.

The stack is an embedded one, on the real ClickHouse engine; what stands for Vector and Grafana are its substitutes.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from cvat_analytics.base.project import ROOT
from cvat_analytics.credentials import users
from cvat_analytics.embedded import stack as embedded
from cvat_analytics.embedded import starting
from tests.access import ports, tables
from tests.access.ports import FOREIGN, OTHER_SITE, Asker
from tests.clickhouse import free_row

PAGE = ROOT / "docs" / "reference" / "access-matrix.md"
_PROGRAM = Path(sys.executable).with_name("cvat-analytics")
_PASSWORD = "password-of-{}"
_PEOPLE: dict[str, dict[str, Any]] = {
    "worker": {"id": 4},
    "viewer": {"analytics": True},
    "boss": {"admin": True},
}


def page() -> str:
    """Return the page of a stack that is started for it."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory, "stack")
        base = free_row()
        started = subprocess.run(
            [_PROGRAM, "up", "--dir", root, "--port-base", str(base), "--detach", "--json"],
            capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert started.returncode == 0, started.stderr
        try:
            return "\n".join(_lines(root, base, json.loads(started.stdout)))
        finally:
            embedded.down(root)


def _lines(root: Path, base: int, parts: dict[str, Any]) -> Iterator[str]:
    file = embedded.users_file(root)
    known = users.load(file)
    for name, about in _PEOPLE.items():
        known = users.add(known, users.User(name, users.hash_password(_PASSWORD.format(name)), **about))
    users.save(file, known)
    starting.apply_users(embedded.find(root))

    yield from (
        "# Who may do what: every port, every table\n",
        "Written by `make access` from a running stack, an embedded one: all of it was tried, and `make test` tries it again. Why it is so:",
        "[access](access.md).\n",
        "## Ports\n",
        "What the embedded stack's processes listen on; `BASE` is `--port-base`. On a host: [hosts](hosts.md).\n",
        *_table(("process", "addresses"), sorted(_listening(base, parts["pids"]))),
        "## Paths\n",
        "The HTTP status that each gets. *Foreign host* and *other site* ask with the login of the last column that has one: as a page whose name leads",
        "to this machine (`Host`), and as a page of another site in a browser that remembers the login (`Origin`, `Sec-Fetch-Site`).\n",
    )
    nobody = Asker("nobody")
    for title, url, paths, askers in (
        ("ClickHouse", parts["clickhouse"]["http"], ports.CLICKHOUSE, [nobody]),
        ("Vector", parts["vector"]["http"], ports.VECTOR, [nobody]),
        (
            "Events API",
            parts["events_api"]["http"],
            ports.of_events_api(),
            [nobody, *(Asker(name, (name, _PASSWORD.format(name))) for name in _PEOPLE)],
        ),
        ("Viewer", parts["viewer"]["http"], ports.of_viewer(*root.rglob("cvat-analytics.ini")), [nobody]),
    ):
        login = askers[-1].login
        askers = [*askers, Asker("foreign host", login, FOREIGN), Asker("other site", login, OTHER_SITE)]
        address = url.split("//")[0] + "//" + url.split("//")[1].split("/")[0]
        yield f"### {title}\n"
        yield from _table(
            ("path", *(asker.name for asker in askers)),
            [(f"`{path}`", *map(str, statuses)) for path, statuses in ports.answers(address, paths, askers)],
        )
    yield from (
        "`worker` is somebody without a right, `viewer` has the analytics right, `boss` is an administrator. With the gateway, nobody",
        "reaches Grafana and the events API but through it: [access](access.md#the-dashboards).\n",
    )

    secrets = json.loads((root / "secrets.json").read_text())
    passwords = {name.removeprefix("clickhouse_"): value for name, value in secrets.items()}
    with httpx.Client(timeout=300, trust_env=False) as client:
        about = parts["clickhouse"]
        store = tables.Store(about["http"], about["database"], passwords, client)
        powers, found = tables.powers(store), tables.tables(store)
    yield from (
        "## ClickHouse's users\n",
        "`default` is the package's, without a password: on a host no address lets it in, here the engine library opens its ports as this user.\n",
        *_table(("may", "users"), [(name, ", ".join(who)) for name, who in powers]),
        "## Tables and views\n",
        "; ".join(f"**{letter}**: {meaning}" for letter, (meaning, _) in tables.VERBS.items())
        + ". A small letter: no right is in the way, but a view cannot be changed so.\n",
    )
    names = sorted({user for _, allowed in found for user in allowed})
    yield from _table(
        ("table or view", *names),
        [(f"`{name}`", *(allowed[user] or "-" for user in names)) for name, allowed in found],
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""


@dataclass(frozen=True)
class _Socket:
    address: str
    inode: str


def _listening(base: int, pids: dict[str, int]) -> Iterator[tuple[str, str]]:
    """Yield each process of the stack with the addresses on which it listens."""
    sockets = [
        _Socket(_address(fields[1], base), fields[9])
        for table in ("tcp", "tcp6")
        for fields in (line.split() for line in Path("/proc/net", table).read_text().splitlines()[1:])
        if fields[3] == "0A"
    ]
    for name, pid in pids.items():
        own = {
            found[1]
            for link in Path(f"/proc/{pid}/fd").iterdir()
            if (found := re.fullmatch(r"socket:\[(\d+)\]", _target(link)))
        }
        yield name, ", ".join(sorted(each.address for each in sockets if each.inode in own))


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def _address(text: str, base: int) -> str:
    """Return `127.0.0.1:BASE+2` for an address as the kernel has it."""
    number, port = text.split(":")
    address = (
        ".".join(str(byte) for byte in reversed(bytes.fromhex(number))) if len(number) == 8 else f"[{number}]"
    )
    return f"{address}:BASE+{int(port, 16) - base}"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
