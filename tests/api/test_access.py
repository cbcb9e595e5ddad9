"""Who may see what: every kind of person, every filter, and every way to pretend to be somebody else."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from cvat_analytics.api.login_throttle import PAIR
from cvat_analytics.base.codes import Code
from tests.api.data import wait_for
from tests.api.fake_cvat import FakeCvat
from tests.api.harness import Api, FakeVector, running_api
from tests.clickhouse import Store
from tests.waiting import PATIENCE, until

EVERYTHING = 24
OWN = {"plain": 10, "owner": 5, "flagged": 4, "loner": 5, "maintainer": 0}


def seen(client: httpx.Client, **parameters: Any) -> int | str:
    """Return how many events a stream has, or the status where it is refused."""
    answer = client.get("/api/events", params={"format": "csv", "include": "all", **parameters})
    if answer.status_code != 200:
        return answer.status_code
    return len(list(csv.DictReader(io.StringIO(answer.text, newline=""))))


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        ("root", {}, EVERYTHING),
        ("root", {"org_id": 99}, 0),
        ("root", {"job_id": 12345}, 0),
        ("admin", {}, EVERYTHING),
        ("admin", {"user_id": 7, "org_id": 1}, 0),
        # an owner and a maintainer: their organization, and themselves
        ("owner", {}, 15),
        ("owner", {"org_id": 1}, 15),
        ("owner", {"user_id": 4}, 10),
        ("owner", {"user_id": 4, "org_id": 1}, 10),
        ("owner", {"user_id": 7}, 0),
        ("owner", {"user_id": 5}, 5),
        ("owner", {"org_id": 2}, 403),
        ("owner", {"job_id": 100}, 10),
        ("owner", {"job_id": 200}, 403),
        ("owner", {"org_id": 1, "job_id": 200}, 403),
        ("maintainer", {}, 15),
        ("maintainer", {"org_id": 1, "task_id": 11}, 5),
        # in the second organization this one is a worker
        ("maintainer", {"org_id": 2}, 0),
        ("maintainer", {"org_id": 2, "user_id": 3}, 403),
        # a worker: their own, whatever else is asked for
        ("plain", {}, OWN["plain"]),
        ("plain", {"org_id": 1}, OWN["plain"]),
        ("plain", {"user_id": 4}, OWN["plain"]),
        ("plain", {"user_id": 5}, 403),
        ("plain", {"user_id": 5, "org_id": 1}, 403),
        ("plain", {"org_id": 2}, 403),
        ("plain", {"org_id": 99}, 403),
        ("plain", {"job_id": 100}, 10),
        ("plain", {"job_id": 101}, 403),
        ("plain", {"task_id": 11}, 403),
        ("plain", {"project_id": 1}, 10),
        ("plain", {"project_id": 2}, 403),
        # an object that does not exist is refused in the same way: nobody learns which do
        ("plain", {"job_id": 12345}, 403),
        ("plain", {"request_id": "rq-12345678"}, 0),
        # the analytics box is about the dashboards
        ("flagged", {}, OWN["flagged"]),
        ("flagged", {"user_id": 7}, 403),
        ("loner", {}, OWN["loner"]),
        ("", {}, 401),
    ],
)
def test_everybody_sees_what_is_his_and_nothing_else(
    as_: Callable[..., httpx.Client], name: str, parameters: dict[str, int | str], expected: int
) -> None:
    client = as_(name)
    assert seen(client, **parameters) == expected
    parameters = {"include": "all", **parameters}  # everything, of what they may see
    answer = client.get("/api/events", params=parameters)
    if isinstance(expected, int) and expected in (401, 403):
        assert answer.status_code == expected
        assert client.post("/api/events/export", params=parameters).status_code == expected
        assert client.get("/api/events", params={"format": "json", **parameters}).status_code == expected
    else:
        query_id = answer.json()["query_id"]
        wait_for(client, query_id)
        file = client.get("/api/events", params={"query_id": query_id, "action": "download"})
        assert len(list(csv.DictReader(io.StringIO(file.text, newline="")))) == expected
        page = client.get("/api/events", params={"format": "json", **parameters}).json()
        assert len(page["events"]) == expected


@pytest.mark.parametrize(
    ("name", "slug", "parameters", "expected"),
    [
        ("root", "first", {}, 15),
        ("root", "second", {}, 4),
        # an administrator need not be in it, and it need not be there
        ("admin", "second", {}, 4),
        ("admin", "no-such", {}, 0),
        ("owner", "first", {}, 15),
        ("owner", "first", {"user_id": 4}, 10),
        ("owner", "first", {"org_id": 1}, 15),
        ("owner", "second", {}, 403),
        ("owner", "no-such", {}, 403),
        ("maintainer", "first", {"job_id": 101}, 5),
        ("maintainer", "second", {}, 0),
        ("maintainer", "second", {"org_id": 1}, 400),
        ("maintainer", "second", {"job_id": 100}, 403),
        ("plain", "first", {}, OWN["plain"]),
        ("plain", "first", {"user_id": 5}, 403),
        ("loner", "first", {}, 403),
    ],
)
def test_a_request_made_in_an_organization_is_about_that_organization(
    as_: Callable[..., httpx.Client], name: str, slug: str, parameters: dict[str, int], expected: int
) -> None:
    assert seen(as_(name), org=slug, **parameters) == expected
    client = as_(name, headers={"X-Organization": slug})
    assert seen(client, **parameters) == expected
    assert client.head("/api/events", params=parameters).status_code == (
        expected if expected in (400, 403) else 202
    )
    for ask in (client.get, client.post):
        path = "/api/events" if ask == client.get else "/api/events/export"
        answer = ask(path, params=parameters)
        if expected in (400, 403):
            assert answer.status_code == expected
            continue
        query_id = next(iter(answer.json().values()))
        wait_for(client, query_id)
        file = client.get("/api/events/download", params={"rq_id": query_id})
        assert len(list(csv.DictReader(io.StringIO(file.text, newline="")))) == expected


def test_two_organizations_at_once_are_refused(as_: Callable[..., httpx.Client]) -> None:
    client = as_("root", headers={"X-Organization": "first"})
    answer = client.get("/api/events", params={"org": "second"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "org")


def test_the_cursor_of_somebody_else_leads_nowhere_else(as_: Callable[..., httpx.Client]) -> None:
    cursor = as_("root").get("/api/events", params={"format": "json", "limit": 1}).json()["next"]
    page = as_("loner").get("/api/events", params={"format": "json", "cursor": cursor}).json()
    assert {each["user_id"] for each in page["events"]} == {7}


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Token token-of-plain"},
        {"Authorization": "Bearer token-of-plain"},
        {"Cookie": "csrftoken=x; sessionid=session-of-plain"},
    ],
)
def test_a_session_and_tokens_work_as_a_login_does(api: Api, headers: dict[str, str]) -> None:
    with api.client(headers=headers) as client:
        assert seen(client) == OWN["plain"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Basic"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic " + base64.b64encode(b"root").decode()},
        {"Authorization": "Basic " + base64.b64encode(b"root:wrong").decode()},
        {"Authorization": b"Basic \xff\xfe"},
        {"Authorization": "Basic " + base64.b64encode(b"\xff:\xfe").decode()},
        {"Authorization": "Token stolen"},
        {"Authorization": b"Token \xff"},
        {"Cookie": b"sessionid=\xff"},
        {"Cookie": "sessionid=stolen"},
        {"Cookie": "other=1"},
        {"X-Webauth-User": "root"},
        {"Remote-User": "root", "X-Forwarded-User": "root", "X-Auth-Request-User": "root"},
    ],
)
def test_nobody_gets_in_without_a_login_that_is_known(
    api: Api, local_api: Api, headers: dict[str, str | bytes]
) -> None:
    for service in (local_api, api):
        with service.client(headers=headers) as client:
            answer = client.get("/api/requests")
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Basic realm=")
            assert answer.json()["title"] == "Unauthorized"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/events"),
        ("GET", "/api/events?format=json"),
        ("POST", "/api/events"),
        ("POST", "/api/events/export"),
        ("GET", "/api/events/download?rq_id=00000000-0000-0000-0000-000000000000"),
        ("GET", "/api/requests/00000000-0000-0000-0000-000000000000"),
        ("DELETE", "/api/requests/00000000-0000-0000-0000-000000000000"),
        ("POST", "/api/requests/00000000-0000-0000-0000-000000000000/cancel"),
        ("GET", "/gateway/authorize"),
    ],
)
def test_no_path_answers_somebody_without_a_login(api: Api, method: str, path: str) -> None:
    for headers in ({}, {"Authorization": "Token stolen"}):
        with api.client(headers=headers) as client:
            assert client.request(method, path).status_code == 401


@pytest.mark.parametrize(
    ("login", "refused"),
    [
        ({"Cookie": "sessionid=session-of-root"}, True),
        # a browser remembers a basic login and sends it along, too
        ({"Authorization": "Basic " + base64.b64encode(b"root:password-of-root").decode()}, True),
        ({"Authorization": "Token token-of-root"}, False),
        ({"Authorization": "Bearer token-of-root", "Cookie": "sessionid=session-of-root"}, False),
    ],
)
def test_a_page_of_another_site_cannot_use_what_a_browser_sends_along(
    api: Api, login: dict[str, str], refused: bool
) -> None:
    with api.client(headers=login) as client:
        for origin in ("https://evil.example.org", "null"):
            other = client.post("/api/events/export", params={"job_id": 1}, headers={"Origin": origin})
            assert other.status_code == (403 if refused else 202)
        for site in ("cross-site", "same-site"):
            sent = {"Origin": api.url, "Sec-Fetch-Site": site}
            other = client.post("/api/events/export", params={"job_id": 1}, headers=sent)
            assert other.status_code == (403 if refused else 202)
        for headers in ({"Origin": api.url}, {"Origin": api.url, "Sec-Fetch-Site": "same-origin"}, {}):
            own = client.post("/api/events/export", params={"job_id": 1}, headers=headers)
            assert own.status_code == 202


@pytest.mark.parametrize("form", ["", "csv", "json"])
def test_a_link_or_a_picture_of_another_site_starts_nothing(api: Api, form: str) -> None:
    """CVAT's pages are of the same site; programs, and addresses that somebody types, are of none."""
    asked = {"job_id": "1", "format": form} if form else {"job_id": "1"}

    def answers(login: dict[str, str], **sent: str) -> set[int]:
        headers = login | {name.replace("_", "-"): value for name, value in sent.items()}
        with api.client(headers=headers) as client:
            found = {client.get("/api/events", params=asked).status_code}
            return found | {client.head("/api/events", params=asked).status_code}

    session = {"Cookie": "sessionid=session-of-root"}
    basic = {"Authorization": "Basic " + base64.b64encode(b"root:password-of-root").decode()}
    good = {200 if form else 202}
    for login in (session, basic):
        for mode in ("navigate", "no-cors", "cors"):
            assert answers(login, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode=mode) == {403}
        assert answers(login, Origin="http://evil.example.org") == {403}
        for site in ("same-origin", "same-site", "none"):
            assert answers(login, Sec_Fetch_Site=site) == good
        assert answers(login, Origin=api.url) == answers(login) == good
    # of which a page of another site knows nothing
    assert answers({"Authorization": "Token token-of-root"}, Sec_Fetch_Site="cross-site") == good
    # what is there already may be linked to
    with api.client(headers=session) as client:
        query_id = client.get("/api/events", params={"job_id": 1}).json()["query_id"]
        wait_for(client, query_id)
        linked = {"query_id": query_id, "action": "download"}
        answer = client.get("/api/events", params=linked, headers={"Sec-Fetch-Site": "cross-site"})
        assert answer.status_code == 200


def test_when_cvat_does_not_answer_nobody_gets_in_and_what_it_said_is_used_for_a_short_while(
    api: Api, cvat: FakeCvat
) -> None:
    with api.client("loner") as client:
        client.auth = httpx.Auth()  # none
        client.headers["Authorization"] = "Token token-of-owner"
        assert seen(client) == 15
        questions = dict(cvat.asked)
        assert seen(client) == 15
        assert cvat.asked == questions
        cvat.fails = 502
        try:
            assert seen(client) == 15
            client.headers["Authorization"] = "Token token-of-maintainer"
            answer = client.get("/api/events")
            assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
            assert "CVAT" in answer.json()["detail"]
            assert answer.json()["code"] == Code.CVAT_AWAY
        finally:
            cvat.fails = 0
        assert seen(client) == 15


def test_passwords_cannot_be_guessed_at_speed(local_api: Api) -> None:
    with local_api.client() as client, ThreadPoolExecutor(11) as guessing:

        def guess(name: str, number: int, visitor: str) -> int:
            headers = {"X-Forwarded-For": visitor}  # as the gateway on the same host says it
            return client.get("/api/requests", auth=(name, f"guess-{number}"), headers=headers).status_code

        def several(name: str, visitor: str) -> list[int]:
            return sorted(guessing.map(guess, [name] * 11, range(11), [visitor] * 11))

        def right(name: str, visitor: str) -> httpx.Response:
            return client.get(
                "/api/requests", auth=(name, f"password-of-{name}"), headers={"X-Forwarded-For": visitor}
            )

        outcome = several("boss", "192.0.2.1")
        assert (outcome[:5], outcome[-1], set(outcome)) == ([401] * 5, 429, {401, 429})
        # from where they were guessed the right one waits as well, but not for long; elsewhere it does not
        assert right("boss", "192.0.2.2").status_code == 200
        waits = until(
            lambda: right("boss", "192.0.2.1"), "it may try", lambda answer: answer.status_code == 200
        )
        assert waits.status_code == 200
        # whoever has proved their name is not locked out by somebody else's guesses
        assert several("worker", "192.0.2.1")[-1] == 429
        assert right("worker", "192.0.2.2").status_code == 200


def test_passwords_over_many_names_are_refused_whatever_the_visitor_says_of_their_address(
    tmp_path: Path, store: Store, vector: FakeVector
) -> None:
    def guesses(client: httpx.Client, password: str) -> tuple[list[int], int]:
        """Guess until it is refused, each time as somebody else; return the answers and for how long to wait."""
        answers = []
        for number in range(241):
            answers.append(
                client.get(
                    "/api/requests",
                    auth=(f"name{number}", password),
                    headers={"X-Forwarded-For": f"192.0.2.{number}", "X-Real-IP": f"192.0.2.{number}"},
                )
            )
            if answers[-1].status_code != 401:
                break
        return [each.status_code for each in answers], int(answers[-1].headers.get("Retry-After", 0))

    def at(address: str) -> httpx.Client:
        transport = httpx.HTTPTransport(local_address=address)
        return httpx.Client(base_url=api.url, transport=transport, timeout=PATIENCE, trust_env=False)

    with running_api(tmp_path, store, vector.url, address="127.0.0.5") as api:
        with at("127.0.0.6") as elsewhere, ThreadPoolExecutor(8) as guessing:
            ends = list(guessing.map(lambda number: guesses(elsewhere, f"guess{number}"), range(8)))
            refused = [(statuses[-1], 1 <= wait <= 60) for statuses, wait in ends]
            assert refused == [(429, True)] * 8
            # it takes the time of all that are wrong: a few are forgotten meanwhile
            assert sum(len(statuses) - 1 for statuses, _ in ends) < 60
        # who is on the host itself, at the address that the API listens on, speaks for others: the gateway
        with at("127.0.0.5") as gateway:

            def guess(number: int, visitor: str) -> int:
                headers = {"X-Forwarded-For": visitor}
                return gateway.get(
                    "/api/requests", auth=("boss", f"guess{number}"), headers=headers
                ).status_code

            number = next(number for number in range(241) if guess(number, "198.51.100.1") == 429)
            assert number > PAIR.free
            assert guess(number, "198.51.100.2") == 401


def test_without_a_cvat_the_users_file_says_who_may_see_what(local_api: Api) -> None:
    from cvat_analytics.credentials import users

    for name, expected in {"worker": 10, "nameless": 0}.items():
        with local_api.client(name) as client:
            assert seen(client) == expected
            assert seen(client, user_id=5) == 403
    file = local_api.directory / "users.json"
    before = users.load(file)
    users.save(
        file, users.add(before, users.User("late", users.hash_password("password-of-late"), admin=True))
    )
    with local_api.client("late") as client:
        assert seen(client) == EVERYTHING
        users.save(file, before)
        assert client.get("/api/requests").status_code == 401
