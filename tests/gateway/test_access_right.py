"""Who sees the dashboards: nginx, the events API and CVAT's two endpoints together, as one table.

The CVAT is tests/api/fake_cvat.py; Grafana is an echo, so that what it is told about a visitor can be seen.
"""

from __future__ import annotations

import base64
import configparser
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cvat_analytics.api.gateway_routes import encoded
from cvat_analytics.credentials import users
from cvat_analytics.rendering.render import render
from tests.api.fake_cvat import FakeCvat
from tests.api.harness import Api, FakeVector, running_api
from tests.clickhouse import Store
from tests.serving import served
from tests.waiting import until

from .conftest import Gateway, Program, as_json, nginx

NOBODY: dict[str, str] = {}
LOCAL = {
    "boss": users.User("boss", "", admin=True),
    "reader": users.User("reader", "", analytics=True, email="reader@example.org"),
    "worker": users.User("worker", "", id=4),
}
PASSWORD = "password-of-{}"


def basic(name: str, password: str | None = None) -> dict[str, str]:
    """Return the header of a basic login."""
    login = f"{name}:{password or PASSWORD.format(name)}"
    return {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}


def session(name: str) -> dict[str, str]:
    """Return the cookie of CVAT's session."""
    return {"Cookie": f"theme=dark; sessionid=session-of-{name}"}


def token(name: str) -> dict[str, str]:
    """Return the header of a login by token."""
    return {"Authorization": f"Token token-of-{name}"}


VISITORS = [
    pytest.param(session("root"), 200, ("root", "Editor"), id="superuser by session"),
    pytest.param(basic("root"), 200, ("root", "Editor"), id="superuser by password"),
    pytest.param(session("admin"), 200, ("admin", "Editor"), id="admin by session"),
    pytest.param(token("admin"), 200, ("admin", "Editor"), id="admin by token"),
    pytest.param(session("flagged"), 200, ("flagged", "Viewer"), id="worker with the box ticked"),
    pytest.param(basic("flagged"), 200, ("flagged", "Viewer"), id="the same by password"),
    pytest.param(session("plain"), 403, None, id="worker without the box"),
    pytest.param(basic("plain"), 403, None, id="the same by password, without the box"),
    pytest.param(session("owner"), 403, None, id="owner of an organization without the box"),
    pytest.param(NOBODY, 401, None, id="anonymous"),
    pytest.param({"Cookie": "theme=dark"}, 401, None, id="a cookie that is no session"),
    pytest.param({"Cookie": "sessionid=made-up"}, 401, None, id="a session that is none"),
    pytest.param(basic("root", "wrong"), 401, None, id="wrong password"),
    pytest.param({"Authorization": "Basic !!!"}, 401, None, id="not even a login"),
    pytest.param(
        {"X-WEBAUTH-USER": "root", "X-WEBAUTH-ROLE": "Admin"}, 401, None, id="made-up headers, no login"
    ),
    pytest.param(
        session("flagged") | {"X-WEBAUTH-USER": "root", "X-WEBAUTH-ROLE": "Admin"},
        200,
        ("flagged", "Viewer"),
        id="made-up headers beside a real login",
    ),
    pytest.param(
        session("plain") | {"X-Original-URI": "/api/events", "X-Forwarded-For": "127.0.0.1"},
        403,
        None,
        id="made-up headers of proxies",
    ),
]
"""Who asks a stack beside a CVAT, with which status that is answered, and as whom Grafana sees them."""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, store: Store, cvat: FakeCvat) -> Iterator[Api]:
    with (
        served(FakeVector()) as vector,
        running_api(tmp_path_factory.mktemp("api"), store, vector.url, cvat.url) as api,
    ):
        yield api


@pytest.fixture(scope="module")
def beside_cvat(tmp_path_factory: pytest.TempPathFactory, api: Api) -> Iterator[Gateway]:
    """Return the gateway of a stack that asks a CVAT."""
    with (
        Program(as_json).running() as echo,
        nginx(
            tmp_path_factory.mktemp("gateway"), grafana_port=echo.port, events_api_port=api.port
        ) as entrance,
    ):
        entrance.echo = echo
        yield entrance


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, store: Store) -> Iterator[Gateway]:
    """Return the gateway of a stack without a CVAT."""
    directory = tmp_path_factory.mktemp("local")
    with (
        served(FakeVector()) as vector,
        running_api(directory, store, vector.url) as local_api,
        Program(as_json).running() as echo,
        nginx(directory / "gateway", grafana_port=echo.port, events_api_port=local_api.port) as entrance,
    ):
        write_users(directory / "users.json")
        entrance.echo = echo
        yield entrance


def write_users(path: Path, **changed: users.User) -> None:
    """Write the users of LOCAL with their passwords."""
    everybody = LOCAL | changed
    users.save(
        path,
        {
            name: users.User(**{**vars(user), "hash": users.hash_password(PASSWORD.format(name))})
            for name, user in everybody.items()
        },
    )


@pytest.mark.parametrize(("visitor", "status", "shown_as"), VISITORS)
@pytest.mark.parametrize(
    "path", ["/analytics/", "/analytics/api/ds/query", "/analytics/public/../api/admin/users"]
)
def test_access_beside_a_cvat(
    beside_cvat: Gateway, path: str, visitor: dict[str, str], status: int, shown_as: tuple[str, str] | None
) -> None:
    assert beside_cvat.echo
    beside_cvat.echo.requests.clear()
    with beside_cvat.browser() as browser:
        answer = browser.get(path, headers=visitor)
    assert answer.status_code == status, answer.text
    seen = [
        (each["headers"].get("x-webauth-user"), each["headers"].get("x-webauth-role"))
        for each in beside_cvat.echo.requests
    ]
    assert seen == ([shown_as] if shown_as else [])


@pytest.mark.parametrize(
    ("visitor", "status", "shown_as"),
    [
        pytest.param(basic("boss"), 200, ("boss", "Editor"), id="administrator"),
        pytest.param(basic("reader"), 200, ("reader", "Viewer"), id="user with the flag"),
        pytest.param(basic("worker"), 403, None, id="user without the flag"),
        pytest.param(basic("reader", "wrong password"), 401, None, id="wrong password"),
        pytest.param(basic("nobody"), 401, None, id="unknown name"),
        pytest.param(NOBODY, 401, None, id="anonymous"),
        pytest.param(session("root"), 401, None, id="a session, where there is no CVAT"),
    ],
)
def test_access_without_a_cvat(
    alone: Gateway, visitor: dict[str, str], status: int, shown_as: tuple[str, str] | None
) -> None:
    assert alone.echo
    alone.echo.requests.clear()
    with alone.browser() as browser:
        answer = browser.get("/analytics/", headers=visitor)
    assert answer.status_code == status, answer.text
    if status == 401:
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    seen = [
        (each["headers"].get("x-webauth-user"), each["headers"].get("x-webauth-role"))
        for each in alone.echo.requests
    ]
    assert seen == ([shown_as] if shown_as else [])


def test_ten_typos_are_no_failure_of_the_stacks_and_the_right_password_comes_in_soon(alone: Gateway) -> None:
    with alone.browser("127.0.0.7") as browser:
        answers = [
            browser.get("/analytics/", headers=basic("reader", f"typo{number}")) for number in range(11)
        ]
        assert {each.status_code for each in answers} == {401, 429}
        (refused, *_) = (each for each in answers if each.status_code == 429)
        wait = int(refused.headers["Retry-After"])
        assert 1 <= wait <= 60
        assert refused.text == f"Too many wrong passwords. Wait {wait} s, then try again.\n"
        until(
            lambda: browser.get("/analytics/", headers=basic("reader")).status_code,
            "the right password comes in",
            lambda status: status == 200,
        )
    # who comes from elsewhere has not waited, whatever they say of their address
    with alone.browser("127.0.0.8", headers={"X-Forwarded-For": "127.0.0.7"}) as browser:
        for number in range(11):
            browser.get("/analytics/", headers=basic("boss", f"guess{number}"))
    with alone.browser("127.0.0.9") as browser:
        assert browser.get("/analytics/", headers=basic("boss")).status_code == 200


@pytest.mark.parametrize("status", [500, 502, 404, 302])
def test_nobody_comes_in_while_cvat_cannot_be_asked(
    beside_cvat: Gateway, cvat: FakeCvat, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a visitor whom nothing is remembered of yet
    visitor = basic("maintainer", PASSWORD.format("maintainer")) | {"Cookie": f"a={status}"}
    monkeypatch.setattr(cvat, "fails", status)
    with beside_cvat.browser() as browser:
        assert browser.get("/analytics/", headers=visitor).status_code == 503


def test_nobody_comes_in_where_a_page_for_everybody_answers_in_cvats_place(
    tmp_path: Path, store: Store
) -> None:
    def everybody(request: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        """Answer as CVAT's user interface does for a path that its proxy does not send to the server."""
        if request["path"] == "/api/users/self":
            return 200, {}, json.dumps({"id": 4, "username": "plain", "email": "", "groups": []}).encode()
        if request["path"].startswith("/api/"):
            return 200, {}, json.dumps({"results": [], "next": None}).encode()
        return 200, {"Content-Type": "text/html"}, b"<html>CVAT</html>"

    with (
        served(FakeVector()) as vector,
        Program(everybody).running() as page,
        running_api(tmp_path / "api", store, vector.url, f"http://127.0.0.1:{page.port}") as api,
        Program(as_json).running() as echo,
        nginx(tmp_path, grafana_port=echo.port, events_api_port=api.port) as entrance,
        entrance.browser() as browser,
    ):
        assert browser.get("/analytics/", headers=session("plain")).status_code == 503
        assert echo.requests == []
        assert "answers strangers too" in api.log


def test_a_page_of_many_requests_asks_cvat_once(beside_cvat: Gateway, cvat: FakeCvat) -> None:
    cvat.asked.clear()
    with beside_cvat.browser() as browser:
        statuses = [
            browser.get("/analytics/", headers={"Cookie": "sessionid=session-of-root; page=1"}).status_code
            for _ in range(20)
        ]
    assert statuses == [200] * 20
    assert cvat.asked.get("/analytics", 0) <= 2, cvat.asked
    assert cvat.asked.get("/api/users/self", 0) <= 1, cvat.asked


def test_an_export_is_nobodys_but_his_who_asked_for_it(beside_cvat: Gateway) -> None:
    with beside_cvat.browser() as browser:
        query = browser.get("/api/events", headers=basic("root")).json()["query_id"]
        statuses = {
            name: browser.get("/api/events", params={"query_id": query}, headers=basic(name)).status_code
            for name in ("admin", "flagged", "plain")
        }
    assert set(statuses.values()) == {404}, statuses


@pytest.mark.parametrize(
    ("name", "in_header"),
    [
        ("ann", "ann"),
        ("ユーザー", "=E3=83=A6=E3=83=BC=E3=82=B6=E3=83=BC"),
        ("a=b c", "a=3Db=20c"),
        ("x\r\ny", "x=0D=0Ay"),
    ],
)
def test_any_name_can_stand_in_a_header(name: str, in_header: str) -> None:
    assert encoded(name) == in_header


def test_nobody_chooses_the_login_under_which_grafana_knows_him(beside_cvat: Gateway, alone: Gateway) -> None:
    """Grafana takes a visitor with the login or the e-mail address of an account for its owner, its own `admin` included."""
    seen = []
    for entrance, visitor in ((beside_cvat, basic("admin")), (alone, basic("reader"))):
        assert entrance.echo
        entrance.echo.requests.clear()
        with entrance.browser() as browser:
            browser.get("/analytics/", headers=visitor | {"X-WEBAUTH-EMAIL": "admin@localhost"})
        seen += [
            {name: value for name, value in each["headers"].items() if name.startswith("x-webauth-")}
            for each in entrance.echo.requests
        ]
    assert seen == [
        {"x-webauth-login": "2@cvat", "x-webauth-user": "admin", "x-webauth-role": "Editor"},
        {"x-webauth-login": "reader@local", "x-webauth-user": "reader", "x-webauth-role": "Viewer"},
    ]


def test_grafana_is_told_that_login_and_no_address(beside_cvat: Gateway) -> None:
    ini = configparser.ConfigParser(interpolation=None)
    ini.read_string(
        render("grafana/cvat-analytics.ini.j2", beside_cvat.context.variables() | {"behind_gateway": True})
    )
    proxy = ini["auth.proxy"]
    assert beside_cvat.echo
    with beside_cvat.browser() as browser:
        browser.get("/analytics/", headers=basic("admin"))
    assert proxy["whitelist"] == beside_cvat.echo.requests[-1]["from"] == "127.0.0.2"
    assert (proxy["header_name"], proxy["headers"]) == (
        "X-WEBAUTH-LOGIN",
        "Name:X-WEBAUTH-USER Role:X-WEBAUTH-ROLE",
    )
