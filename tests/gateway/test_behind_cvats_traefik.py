"""`/analytics` under CVAT's own name: a real traefik with the rule that `cvat-env` prints, before a real gateway or an echo for Grafana.

Visitors have addresses of their own (127.0.0.2, …); traefik reaches the gateway from 127.0.0.1, which is the proxy that it trusts.
"""

from __future__ import annotations

import concurrent.futures
import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from cvat_analytics.api.login_throttle import PAIR
from cvat_analytics.config import topology
from cvat_analytics.credentials import certificates
from cvat_analytics.gateway import cvat_env
from tests.api.fake_cvat import FakeCvat
from tests.api.harness import FakeVector, running_api
from tests.clickhouse import Store
from tests.serving import served

from .conftest import Gateway, Program, allowed, as_json, nginx
from .cvats_traefik import PAGE, CvatsTraefik, cvats_traefik
from .test_access_right import NOBODY, PASSWORD, VISITORS, basic, session
from .test_gateway import PAGE as WANTS_PAGE


@dataclass
class Straight:
    """CVAT's traefik, and what stands behind it."""

    proxy: CvatsTraefik
    grafana: Program


@dataclass
class Behind(Straight):
    """A gateway behind CVAT's traefik, and what stands behind the gateway."""

    gateway: Gateway


def under_cvats_name(proxy: CvatsTraefik) -> dict[str, object]:
    """Return the settings of a stack that people reach through CVAT's `proxy`."""
    return {
        "grafana_root_url": f"{proxy.url}/analytics/",
        "cvat_url": proxy.url,
        "cvat_server_url": f"{proxy.url}/cvat-server",
        "gateway_trusted_proxies": ("127.0.0.1",),
    }


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory, store: Store, cvat: FakeCvat) -> Iterator[Behind]:
    """Return the whole way: traefik, gateway, events API, CVAT asked through traefik again; an echo for Grafana."""
    directory = tmp_path_factory.mktemp("behind")
    (directory / "cvat").mkdir()
    with (
        cvats_traefik(directory / "cvat", cvat.url) as proxy,
        served(FakeVector()) as vector,
        pytest.MonkeyPatch.context() as patch,
    ):
        # where the host's administrator has put the authority of their CVAT
        patch.setenv("SSL_CERT_FILE", str(proxy.authority_file))
        stack = under_cvats_name(proxy)
        with (
            running_api(directory / "api", store, vector.url, str(stack["cvat_server_url"])) as api,
            Program(as_json).running() as grafana,
            nginx(
                directory / "stack", grafana_port=grafana.port, events_api_port=api.port, **stack
            ) as gateway,
        ):
            proxy.mount(cvat_env.as_traefik(gateway.context.topology, gateway.authority))
            yield Behind(proxy, grafana, gateway)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, cvat: FakeCvat) -> Iterator[Behind]:
    """Return traefik and a gateway of one request a second, which lets everybody in."""
    directory = tmp_path_factory.mktemp("small")
    (directory / "cvat").mkdir()
    with (
        cvats_traefik(directory / "cvat", cvat.url) as proxy,
        Program(lambda request: allowed()).running() as authorizer,
        Program(as_json).running() as grafana,
        nginx(
            directory / "stack",
            grafana_port=grafana.port,
            events_api_port=authorizer.port,
            gateway_requests_per_second=1,
            **under_cvats_name(proxy),
        ) as gateway,
    ):
        yield Behind(proxy, grafana, gateway)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, cvat: FakeCvat) -> Iterator[Straight]:
    """Return a stack without a gateway: traefik asks CVAT and hands on to Grafana; plain HTTP is sent to HTTPS as in CVAT's setup."""
    directory = tmp_path_factory.mktemp("straight")
    with (
        cvats_traefik(
            directory,
            cvat.url,
            TRAEFIK_ENTRYPOINTS_web_HTTP_REDIRECTIONS_ENTRYPOINT_TO="websecure",
            TRAEFIK_ENTRYPOINTS_web_HTTP_REDIRECTIONS_ENTRYPOINT_SCHEME="https",
        ) as proxy,
        Program(as_json).running() as grafana,
    ):
        values = {"grafana_port": grafana.port, "grafana_root_url": f"{proxy.url}/analytics/"}
        described = topology.build(dict.fromkeys(topology.GROUPS, ("host",)), {"host": values}, where="test")
        proxy.mount(cvat_env.as_traefik(described, None))
        yield Straight(proxy, grafana)


def look(through: Straight, visitor: dict[str, str], status: int) -> None:
    """Open a dashboard as `visitor`, who is answered `status`; what Grafana got of it is in its requests."""
    through.grafana.requests.clear()
    with through.proxy.browser() as browser:
        answer = browser.get("/analytics/d/EIGSTDAVz?from=now-7d", headers=visitor)
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize(("visitor", "status", "shown_as"), VISITORS)
def test_access_through_traefik_and_gateway(
    behind: Behind, visitor: dict[str, str], status: int, shown_as: tuple[str, str] | None
) -> None:
    look(behind, visitor, status)
    seen = [
        (
            each["path"],
            each["headers"]["host"],
            each["headers"]["x-webauth-user"],
            each["headers"]["x-webauth-role"],
        )
        for each in behind.grafana.requests
    ]
    authority = behind.proxy.url.removeprefix("https://")
    assert seen == ([("/analytics/d/EIGSTDAVz?from=now-7d", authority, *shown_as)] if shown_as else [])


@pytest.mark.parametrize(("visitor", "status", "shown_as"), VISITORS)
def test_access_through_traefik_alone(
    straight: Straight, visitor: dict[str, str], status: int, shown_as: tuple[str, str] | None
) -> None:
    look(straight, visitor, status)
    assert [each["path"] for each in straight.grafana.requests] == (
        ["/analytics/d/EIGSTDAVz?from=now-7d"] if shown_as else []
    )
    for each in straight.grafana.requests:
        believed = {name: each["headers"].get(name) for name in ("authorization", "x-webauth-user", "host")}
        assert believed == {
            "authorization": None,
            "x-webauth-user": None,
            "host": straight.proxy.url.removeprefix("https://"),
        }


def test_nobody_comes_in_while_cvat_cannot_be_asked(
    behind: Behind, straight: Straight, cvat: FakeCvat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cvat, "fails", 500)
    # a visitor whom nothing is remembered of yet
    visitor = basic("maintainer", PASSWORD.format("maintainer"))
    for stack, status in ((behind, 503), (straight, 500)):
        stack.grafana.requests.clear()
        with stack.proxy.browser() as browser:
            assert browser.get("/analytics/", headers=visitor).status_code == status
        assert stack.grafana.requests == []


def test_without_a_login_a_browser_is_sent_to_cvats_own(behind: Behind) -> None:
    with behind.proxy.browser() as browser:
        answer = browser.get("/analytics/", headers=WANTS_PAGE)
    assert (answer.status_code, answer.headers["Location"]) == (
        302,
        f"{behind.proxy.url}/auth/login?next=/analytics/",
    )


def test_what_the_menu_of_cvat_opens_leads_to_the_dashboards_in_one_step(behind: Behind) -> None:
    with behind.proxy.browser() as browser:
        first = browser.get("/analytics", headers=session("flagged"))
        assert (first.status_code, first.headers["Location"]) == (301, f"{behind.proxy.url}/analytics/")
        assert browser.get("/analytics/", headers=session("flagged")).status_code == 200


def test_plain_http_is_sent_to_https_by_cvats_own_redirection_and_no_further(straight: Straight) -> None:
    with straight.proxy.browser(
        follow_redirects=True, cookies={"sessionid": "session-of-flagged"}
    ) as browser:
        answer = browser.get(f"http://localhost:{straight.proxy.http_port}/analytics/d/x?a=1")
    assert ([each.status_code for each in answer.history], str(answer.url), answer.status_code) == (
        [301],
        f"{straight.proxy.url}/analytics/d/x?a=1",
        200,
    )


@pytest.mark.parametrize(
    ("path", "whose"),
    [
        ("/", PAGE),
        ("/tasks/1", PAGE),
        ("/analyticsx", PAGE),
        ("/gateway/authorize", PAGE),
        ("/api/events", "Not found"),
        ("/api/users/self", '"username": "root"'),
        ("/cvat-server", PAGE),
        ("/cvat-server/admin", PAGE),
        ("/cvat-server/api/users/self", '"username": "root"'),
        ("/cvat-server/analytics/../admin", PAGE),
    ],
)
def test_all_other_paths_stay_cvats(behind: Behind, path: str, whose: str) -> None:
    with behind.proxy.browser() as browser:
        assert whose in browser.get(path, headers=session("root")).text


FORGED = {"X-Forwarded-For": "10.9.9.9", "X-Real-IP": "10.9.9.9", "Forwarded": "for=10.9.9.9"}


@pytest.mark.parametrize("made_up", [{}, FORGED], ids=["honest", "forged"])
def test_grafana_and_the_log_have_the_visitors_address(behind: Behind, made_up: dict[str, str]) -> None:
    path = f"/analytics/by/{'forged' if made_up else 'honest'}"
    with behind.proxy.browser("127.0.0.2") as browser:
        got = browser.get(path, headers=session("flagged") | made_up).json()["headers"]
    assert (got["x-forwarded-for"], got["x-real-ip"]) == ("127.0.0.2", "127.0.0.2")
    assert behind.gateway.logged(f'"GET {path}"').startswith("127.0.0.2 ")


def test_whoever_is_not_the_proxy_is_not_believed_when_he_says_whom_he_speaks_for(behind: Behind) -> None:
    with behind.gateway.browser("127.0.0.9") as browser:
        got = browser.get("/analytics/past-the-proxy", headers=session("flagged") | FORGED).json()["headers"]
    assert (got["x-forwarded-for"], got["x-real-ip"]) == ("127.0.0.9", "127.0.0.9")
    assert behind.gateway.logged('"GET /analytics/past-the-proxy"').startswith("127.0.0.9 ")


def test_wrong_passwords_are_counted_for_each_visitor_and_a_made_up_address_does_not_help(
    behind: Behind,
) -> None:
    def guesses(browser: httpx.Client, path: str) -> list[int]:
        """Return the statuses of ten wrong passwords, each said to be from elsewhere, at once: each answer takes a while."""

        def guess(number: int) -> int:
            headers = basic("loner", f"wrong{number}") | {"X-Forwarded-For": f"10.0.0.{number}"}
            return browser.get(path, headers=headers).status_code

        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            return sorted(pool.map(guess, range(10)))

    with behind.proxy.browser("127.0.0.4") as browser, behind.gateway.browser("127.0.0.5") as outside:
        for asked, path in ((browser, "/analytics/"), (outside, "/api/events")):
            statuses = guesses(asked, path)
            assert (statuses[: PAIR.free], statuses[-1], set(statuses)) == (
                [401] * PAIR.free,
                429,
                {401, 429},
            )
    # somebody else at another address, with the right password
    with behind.proxy.browser("127.0.0.6") as browser:
        assert browser.get("/analytics/", headers=basic("loner")).status_code == 403


def test_one_visitors_many_requests_do_not_lock_out_the_others(small: Behind) -> None:
    small.proxy.mount(cvat_env.as_traefik(small.gateway.context.topology, small.gateway.authority))
    began = time.monotonic()
    with small.proxy.browser("127.0.0.7") as browser:
        statuses: list[int] = []
        # until one is refused: how many that takes is a matter of how fast this machine is at the moment
        while statuses[-1:] != [429]:
            assert len(statuses) < 1000
            headers = {"X-Forwarded-For": f"10.0.0.{len(statuses) % 250}"}
            statuses.append(browser.get("/analytics/", headers=headers).status_code)
    assert (statuses[0], set(statuses)) == (200, {200, 429}), statuses
    # one, five more at once, and one for each second that it took
    assert statuses.count(200) <= 6 + math.ceil(time.monotonic() - began), statuses
    with small.proxy.browser("127.0.0.8") as browser:
        assert browser.get("/analytics/").status_code == 200


@pytest.mark.parametrize("wrong", ["authority", "name"])
def test_traefik_hands_nothing_to_a_gateway_that_cannot_show_the_certificate(
    small: Behind, tmp_path: Path, wrong: str
) -> None:
    trusted = small.gateway.authority
    if wrong == "authority":
        trusted = certificates.Authority(tmp_path)
        trusted.make()
    rule = cvat_env.as_traefik(small.gateway.context.topology, trusted)
    if wrong == "name":
        rule, count = re.subn(r"serverName: localhost", "serverName: other.example.org", rule)
        assert count == 1
    small.proxy.mount(rule)
    small.grafana.requests.clear()
    with small.proxy.browser("127.0.0.10") as browser:
        answer = browser.get("/analytics/", headers=NOBODY)
    assert (answer.status_code, small.grafana.requests) == (500, [])


def test_a_gateway_with_an_address_of_its_own_is_where_cvats_menu_leads(
    straight: Straight, cvat: FakeCvat
) -> None:
    values = {
        "grafana_root_url": "https://analytics.example.org/",
        "cvat_url": straight.proxy.url,
        "cvat_server_url": f"{straight.proxy.url}/cvat-server/",
    }
    described = topology.build(dict.fromkeys(topology.COMPONENTS, ("host",)), {"host": values}, where="test")
    before = Path(straight.proxy.directory / "rules" / "grafana_conf.yml").read_text()
    try:
        straight.proxy.mount(cvat_env.as_traefik(described, None))
        with straight.proxy.browser() as browser:
            answer = browser.get("/analytics/d/EIGSTDAVz")
            assert (answer.status_code, answer.headers["Location"]) == (302, "https://analytics.example.org/")
            first_answer = browser.get("/cvat-server/analytics", headers=session("flagged"))
            assert (first_answer.status_code, first_answer.text) == (200, "")
    finally:
        straight.proxy.mount(before)
