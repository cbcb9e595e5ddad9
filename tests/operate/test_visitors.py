"""Grafana's accounts of visitors end as names do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner

from cvat_analytics.base.errors import UnreachableError
from cvat_analytics.connect.access import Access
from cvat_analytics.operate import visitors
from scripts import deploy as deploying
from scripts.cli import main
from tests.clickhouse import context, way_to
from tests.killing import killed
from tests.serving import QuietServer, served

if TYPE_CHECKING:
    from cvat_analytics.config.inventory import Stack

NOW = datetime.now(UTC)
KEEP = timedelta(days=400)


def account(id_: int, login: str, seen: int, made: int = 5000) -> dict[str, Any]:
    """Return an account as Grafana 12.4.0 lists it; `seen` and `made` are days ago."""
    times = {
        name: f"{NOW - timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"
        for name, days in (("lastSeenAt", seen), ("created", made))
    }
    return {
        "id": id_,
        "login": login,
        "name": "somebody",
        "email": login,
        "isAdmin": login == "admin",
        **times,
    }


class Grafana(QuietServer):
    """A substitute for Grafana's API of users."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.accounts: list[dict[str, Any]] = []
        self.version = "12.4.0"
        self.fails = False


class _Handler(BaseHTTPRequestHandler):
    server: Grafana

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path.endswith("/api/health"):
            self._answer({"version": self.server.version})
        elif url.path.endswith("/api/users/lookup"):
            (wanted,) = parse_qs(url.query)["loginOrEmail"]
            found = [each for each in self.server.accounts if each["login"] == wanted]
            self._answer(found[0] if found else {"message": "user not found"}, 200 if found else 404)
        else:
            size, page = (int(parse_qs(url.query)[name][0]) for name in ("perpage", "page"))
            self._answer(
                self.server.accounts[(page - 1) * size : page * size], 500 if self.server.fails else 200
            )

    def do_DELETE(self) -> None:
        gone = int(self.path.rpartition("/")[2])
        self.server.accounts = [each for each in self.server.accounts if each["id"] != gone]
        self._answer({"message": "User deleted"})

    def _answer(self, body: Any, status: int = 200) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def grafana() -> Iterator[Grafana]:
    with served(Grafana()) as server:
        yield server


@pytest.fixture
def access(grafana: Grafana, tmp_path: Path) -> Access:
    return way_to(context(tmp_path), grafana=("127.0.0.1", grafana.server_address[1]))


def test_who_has_not_been_there_for_so_long_goes_and_nobody_else(grafana: Grafana, access: Access) -> None:
    grafana.accounts = [
        account(1, "admin", 4000), account(2, "5@cvat", 401), account(3, "6@cvat", 399), account(4, "ann@local", 900),
        account(5, "alert-robot", 900), account(6, "7@cvat", 3700, made=50), account(7, "8@cvat", 4400, made=750),
    ]  # fmt: skip
    assert visitors.expire(access, KEEP) == 3
    assert [each["id"] for each in grafana.accounts] == [1, 3, 5, 6]
    assert visitors.expire(access, KEEP) == 0


@pytest.mark.parametrize(("keep", "left"), [("400d", []), ("forever", [2])])
def test_a_deploy_lets_go_who_has_not_been_there_for_as_long_as_names_are_kept(
    grafana: Grafana,
    access: Access,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    keep: str,
    left: list[int],
) -> None:
    @contextmanager
    def reached(inventory: Path) -> Iterator[Access]:
        yield access

    monkeypatch.setattr(deploying.remote, "reach", reached)
    grafana.accounts = [account(2, "5@cvat", 401)]
    stack = SimpleNamespace(topology=context(tmp_path, events_retention=keep).topology)
    deploying._end_visitors(tmp_path, cast("Stack", stack))
    assert [each["id"] for each in grafana.accounts] == left


def test_accounts_of_every_page_are_looked_at(grafana: Grafana, access: Access) -> None:
    grafana.accounts = [account(number, f"{number}@cvat", 401) for number in range(1, 1003)]
    assert visitors.expire(access, KEEP) == 1002
    assert grafana.accounts == []


def test_the_viewer_has_no_accounts(grafana: Grafana, access: Access) -> None:
    grafana.version, grafana.fails = "1.0-viewer", True
    assert visitors.expire(access, KEEP) == 0


def test_that_nothing_could_be_removed_is_said(grafana: Grafana, access: Access) -> None:
    grafana.fails = True
    with pytest.raises(UnreachableError, match="its accounts of visitors could not be looked at"):
        visitors.expire(access, KEEP)


def test_the_account_of_one_person_is_removed_once(grafana: Grafana, access: Access) -> None:
    grafana.accounts = [account(2, "5@cvat", 1), account(3, "55@cvat", 1)]
    assert [visitors.forget(access, 5) for _ in range(2)] == [True, False]
    assert [each["login"] for each in grafana.accounts] == ["55@cvat"]


def test_one_that_is_killed_between_two_accounts_is_completed(
    grafana: Grafana, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grafana.accounts = [account(number, f"{number}@cvat", 401) for number in range(1, 4)]
    there = context(tmp_path, events_retention="400d")
    address = ("127.0.0.1", grafana.server_address[1])
    killed("httpx:Client.delete", "person", "expire", times=2, context=there, grafana=address)
    assert [each["id"] for each in grafana.accounts] == [2, 3]
    monkeypatch.setattr(
        "scripts.target.Target.reach", lambda target, **how: nullcontext(way_to(there, grafana=address))
    )
    done = CliRunner().invoke(main, ["person", "expire"])
    assert "2 accounts of visitors removed" in done.output, done.output
    assert grafana.accounts == []
