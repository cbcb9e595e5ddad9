"""What the gateway lets through, to whom, and with which headers: a real nginx with TLS on the rendered configuration."""

import concurrent.futures
import math
import re
import socket
import socketserver
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from cvat_analytics.base.errors import InputError
from cvat_analytics.config import topology
from cvat_analytics.config.validation import validate
from cvat_analytics.credentials import certificates, secrets
from cvat_analytics.gateway import gateway
from cvat_analytics.rendering.context import Context
from cvat_analytics.rendering.files import Paths
from tests.gateway.conftest import Gateway
from tests.serving import served
from tests.waiting import PATIENCE, until

from .conftest import Program, allowed, as_json, nginx

PAGE = {"Accept": "text/html,application/xhtml+xml"}


def refused(status: int, headers: dict[str, str] | None = None) -> Callable[..., object]:
    """Return an authorizer that lets nobody in."""
    return lambda request: (status, headers or {}, b"")


def test_a_visitor_with_the_right_reaches_grafana_under_his_own_name(entrance: Gateway) -> None:
    entrance.authorizer.answer = lambda request: allowed("ann", "Editor")
    with entrance.browser() as browser:
        answer = browser.get("/analytics/d/EIGSTDAVz?from=now-7d", headers={"Cookie": "sessionid=abc"})
    got = answer.json()
    assert got["path"] == "/analytics/d/EIGSTDAVz?from=now-7d"
    names = ("x-webauth-login", "x-webauth-user", "x-webauth-role", "x-forwarded-proto", "host")
    assert {name: got["headers"].get(name) for name in names} == {
        "x-webauth-login": "ann@local",
        "x-webauth-user": "ann",
        "x-webauth-role": "Editor",
        "x-forwarded-proto": "https",
        "host": f"localhost:{entrance.context.settings.gateway_https_port}",
    }


def test_who_may_come_in_is_asked_for_every_request_with_the_visitors_own_credentials(
    entrance: Gateway,
) -> None:
    sent = {"Cookie": "sessionid=abc", "Authorization": "Basic YW5uOnB3"}
    with entrance.browser() as browser:
        browser.get("/analytics/", headers=sent)
        browser.post("/analytics/api/ds/query", headers=sent, content=b"x" * 1000)
    questions = [
        (each["path"], each["headers"].get("cookie"), each["headers"].get("authorization"), each["body"])
        for each in entrance.authorizer.requests
    ]
    assert questions == [("/gateway/authorize", "sessionid=abc", "Basic YW5uOnB3", "")] * 2


def test_grafana_sees_neither_password_nor_session_nor_headers_that_a_visitor_made_up(
    entrance: Gateway,
) -> None:
    made_up = {
        "X-WEBAUTH-LOGIN": "admin",
        "X-WEBAUTH-USER": "admin",
        "X-WEBAUTH-ROLE": "Admin",
        "x-webauth-email": "admin@example.org",
        "Authorization": "Basic YWRtaW46YWRtaW4=",
        "Cookie": "sessionid=abc; grafana_session=stolen",
        "X-Forwarded-For": "10.9.9.9",
    }
    entrance.authorizer.answer = lambda request: (200, {"X-Webauth-User": "ann"}, b"")
    with entrance.browser() as browser:
        headers = browser.get("/analytics/", headers=made_up).json()["headers"]
    names = [name.lower() for name in made_up]
    assert {name: headers[name] for name in names if name in headers} == {
        "x-webauth-user": "ann",
        "x-forwarded-for": "127.0.0.1",
    }


@pytest.mark.parametrize(
    ("authorizer", "status", "words"),
    [
        (refused(403), 403, "Ask your administrator for the right to them"),
        (refused(401), 401, "Sign in with your name and password"),
        (refused(500), 503, "cannot be checked"),
        (refused(503), 503, "cannot be checked"),
        (refused(302, {"Location": "/elsewhere"}), 503, "cannot be checked"),
    ],
)
def test_everybody_else_is_kept_out_and_told_why(
    entrance: Gateway, authorizer: Callable[..., object], status: int, words: str
) -> None:
    entrance.authorizer.answer = authorizer
    with entrance.browser() as browser:
        answer = browser.get("/analytics/d/EIGSTDAVz")
    assert (answer.status_code, words in answer.text) == (status, True), answer.text
    assert entrance.echo.requests == []


def test_who_may_come_in_is_told_when_the_dashboards_do_not_answer(tmp_path: Path) -> None:
    with (
        Program(lambda request: allowed()).running() as authorizer,
        nginx(tmp_path, grafana_port=1, events_api_port=authorizer.port) as entrance,
        entrance.browser() as browser,
    ):
        answer = browser.get("/analytics/")
    assert (answer.status_code, answer.text.partition(".")[0]) == (
        502,
        "The dashboards do not answer at the moment",
    )


def test_a_script_is_told_in_the_apis_own_form_when_the_api_does_not_answer(tmp_path: Path) -> None:
    with nginx(tmp_path, grafana_port=2, events_api_port=1) as entrance, entrance.browser() as browser:
        answer = browser.get("/api/events")
    assert (answer.status_code, answer.headers["content-type"]) == (502, "application/problem+json")
    assert (answer.json()["status"], answer.json()["detail"].partition(".")[0]) == (
        502,
        "the events API does not answer",
    )


def test_nobody_comes_in_while_nobody_can_be_asked(tmp_path: Path) -> None:
    with (
        Program(as_json).running() as echo,
        nginx(tmp_path, grafana_port=echo.port, events_api_port=1) as entrance,
        entrance.browser() as browser,
    ):
        assert browser.get("/analytics/").status_code == 503
        assert echo.requests == []


def test_on_a_host_of_its_own_a_visitor_without_a_name_is_asked_for_name_and_password(
    entrance: Gateway,
) -> None:
    entrance.authorizer.answer = refused(401, {"WWW-Authenticate": 'Basic realm="CVAT analytics"'})
    with entrance.browser() as browser:
        answer = browser.get("/analytics/", headers=PAGE)
    assert answer.status_code == 401
    assert answer.headers.get_list("WWW-Authenticate") == ['Basic realm="CVAT analytics"']


def test_on_cvats_own_host_a_browser_is_sent_to_cvats_login_and_a_program_is_not(tmp_path: Path) -> None:
    with (
        Program(as_json).running() as echo,
        Program(refused(401)).running() as authorizer,
        nginx(
            tmp_path, grafana_port=echo.port, events_api_port=authorizer.port, cvat_url="https://localhost"
        ) as entrance,
        entrance.browser() as browser,
    ):
        page = browser.get("/analytics/", headers=PAGE)
        program = browser.get("/analytics/api/search", headers={"Accept": "application/json"})
    assert (page.status_code, page.headers["Location"]) == (
        302,
        "https://localhost/auth/login?next=/analytics/",
    )
    assert program.status_code == 401


def test_plain_http_is_sent_to_https_under_our_own_name_whatever_the_visitor_calls_us(
    entrance: Gateway,
) -> None:
    port = entrance.context.settings.gateway_http_port
    answer = httpx.get(
        f"http://localhost:{port}/analytics/d/x?a=1", headers={"Host": "evil.example.org"}, trust_env=False
    )
    assert (answer.status_code, answer.headers["Location"]) == (301, f"{entrance.url}/analytics/d/x?a=1")


def test_the_root_leads_to_the_dashboards(entrance: Gateway) -> None:
    with entrance.browser() as browser:
        assert browser.get("/").headers["Location"] == f"{entrance.url}/analytics/"
        assert browser.get("/analytics").headers["Location"] == f"{entrance.url}/analytics/"
        assert browser.get("/other").status_code == 404


def test_under_its_own_host_name_grafana_is_at_the_root_and_the_api_beside_it(tmp_path: Path) -> None:
    with (
        Program(as_json).running() as echo,
        Program(
            lambda request: allowed() if "authorize" in request["path"] else as_json(request)
        ).running() as api,
    ):
        with nginx(tmp_path, grafana_port=echo.port, events_api_port=api.port) as gateway:
            root = gateway.url + "/"
        (tmp_path / "root").mkdir()
        with (
            nginx(
                tmp_path / "root",
                grafana_port=echo.port,
                events_api_port=api.port,
                gateway_https_port=gateway.context.settings.gateway_https_port,
                grafana_root_url=root,
            ) as entrance,
            entrance.browser() as browser,
        ):
            echo.requests.clear()
            api.requests.clear()
            assert browser.get("/api/search").json()["path"] == "/api/search"
            assert browser.get("/api/events?job_id=1").json()["path"] == "/api/events?job_id=1"
    assert [each["path"] for each in echo.requests] == ["/api/search"]
    assert [each["path"] for each in api.requests] == ["/gateway/authorize", "/api/events?job_id=1"]


@pytest.mark.parametrize(
    "path", ["/api/events", "/api/events/docs", "/api/events/openapi.json", "/api/requests/7"]
)
def test_the_events_api_asks_by_itself_and_gets_the_callers_credentials(entrance: Gateway, path: str) -> None:
    entrance.authorizer.answer = as_json
    with entrance.browser() as browser:
        got = browser.get(path, headers={"Authorization": "Basic YW5uOnB3", "X-Request-Id": "mine"}).json()
    assert got["path"] == path
    assert (got["headers"]["authorization"], got["headers"]["x-request-id"]) == ("Basic YW5uOnB3", "mine")


@pytest.mark.parametrize(
    "path", ["/gateway/authorize", "/_authorize", "/health", "/api/docs/", "/api/eventsx", "/api/users/self"]
)
def test_nothing_else_of_the_events_api_can_be_reached(entrance: Gateway, path: str) -> None:
    with entrance.browser() as browser:
        assert browser.get(path).status_code == 404
    assert entrance.authorizer.requests == []


@pytest.mark.parametrize(
    ("path", "status"),
    [("/analytics/", 200), ("/analytics/", 401), ("/analytics/", 403), ("/analytics/", 503), ("/", 302), ("/no", 404)],
)  # fmt: skip
def test_every_answer_carries_the_security_headers_and_no_version(
    entrance: Gateway, path: str, status: int
) -> None:
    entrance.authorizer.answer = lambda request: allowed() if status == 200 else (status, {}, b"")
    with entrance.browser() as browser:
        answer = browser.get(path)
    assert answer.status_code == status
    headers = answer.headers
    header_names = ("X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy", "Server")
    assert {name: headers.get(name) for name in header_names} == {
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "SAMEORIGIN",
        "Referrer-Policy": "same-origin",
        "Server": "nginx",
    }


@pytest.mark.parametrize("path", ["/analytics/", "/analytics/api/health", "/api/events", "/api/requests/7"])
@pytest.mark.parametrize("status", [200, 404])
def test_what_an_upstream_says_of_security_is_replaced_and_not_repeated(
    entrance: Gateway, path: str, status: int
) -> None:
    said = {
        "X-Content-Type-Options": "sniff",
        "X-Frame-Options": "deny",
        "Referrer-Policy": "unsafe-url",
        "Strict-Transport-Security": "max-age=1",
        "X-XSS-Protection": "1; mode=block",
        "Content-Security-Policy": "default-src 'self'",
    }

    def upstream(request: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        return allowed() if request["path"] == "/gateway/authorize" else (status, said, b"{}")

    entrance.authorizer.answer = entrance.echo.answer = upstream
    with entrance.browser() as browser:
        answer = browser.get(path)
    assert answer.status_code == status
    assert {name: answer.headers.get_list(name) for name in said} == {
        "X-Content-Type-Options": ["nosniff"],
        "X-Frame-Options": ["SAMEORIGIN"],
        "Referrer-Policy": ["same-origin"],
        # not with a certificate of the stack's own
        "Strict-Transport-Security": [],
        "X-XSS-Protection": [],
        # what only the upstream knows stays
        "Content-Security-Policy": ["default-src 'self'"],
    }


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_page_of_another_site_cannot_act_in_grafana_with_a_login_that_the_browser_remembers(
    entrance: Gateway, method: str, site: str
) -> None:
    with entrance.browser() as browser:
        other = browser.request(method, "/analytics/api/user/stars", headers={"Sec-Fetch-Site": site})
    assert (other.status_code, other.text, entrance.echo.requests) == (
        403,
        "A page of another site cannot act here.\n",
        [],
    )


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("POST", {"Sec-Fetch-Site": "same-origin"}),
        ("POST", {}),
        ("GET", {"Sec-Fetch-Site": "cross-site"}),
        ("GET", {"Sec-Fetch-Site": "none"}),
    ],
)
def test_grafanas_own_pages_programs_and_links_from_elsewhere_are_let_through(
    entrance: Gateway, method: str, headers: dict[str, str]
) -> None:
    with entrance.browser() as browser:
        assert browser.request(method, "/analytics/api/ds/query", headers=headers).status_code == 200


def test_an_answer_that_breaks_off_does_not_look_complete_behind_the_gateway(tmp_path: Path) -> None:
    class Breaking(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass
            self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")

    with (
        served(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Breaking)) as api,
        nginx(tmp_path, grafana_port=1, events_api_port=api.server_address[1]) as entrance,
        entrance.browser() as browser,
    ):
        with pytest.raises(httpx.RemoteProtocolError):
            browser.get("/api/events?format=csv")
        port = entrance.context.settings.gateway_https_port
        context = ssl.create_default_context(cafile=str(entrance.authority.certificate_file))
        with (
            socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as old,
        ):
            old.sendall(b"GET /api/events?format=csv HTTP/1.0\r\n\r\n")
            assert b" 505 " in old.recv(1000).partition(b"\r\n")[0]


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("", {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "AA"}),
        # Grafana Live: whoever had such a connection could lose the right and keep it
        ("api/live/ws", {"Upgrade": "websocket", "Connection": "Upgrade"}),
    ],
)
def test_no_other_protocol_can_be_asked_for(entrance: Gateway, path: str, headers: dict[str, str]) -> None:
    with entrance.browser() as browser:
        got = browser.get(f"/analytics/{path}", headers=headers).json()["headers"]
    assert [name for name in ("upgrade", "connection") if got.get(name) not in (None, "close")] == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_tls_is_refused(entrance: Gateway, version: ssl.TLSVersion) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.minimum_version = context.maximum_version = version
    port = entrance.context.settings.gateway_https_port
    with socket.create_connection(("127.0.0.1", port)) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain)


def test_a_browser_that_does_not_know_our_authority_is_warned(entrance: Gateway) -> None:
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{entrance.url}/analytics/", trust_env=False)


def test_too_many_requests_from_one_address_are_answered_429(tmp_path: Path) -> None:
    with (
        Program(as_json).running() as echo,
        Program(lambda request: allowed()).running() as authorizer,
        nginx(
            tmp_path,
            grafana_port=echo.port,
            events_api_port=authorizer.port,
            gateway_requests_per_second=1,
        ) as entrance,
        entrance.browser() as browser,
        concurrent.futures.ThreadPoolExecutor(4) as pool,
    ):
        began = time.monotonic()
        statuses: list[int] = []
        # until one is refused: how many that takes is a matter of how fast this machine is at the moment
        while 429 not in statuses:
            assert len(statuses) < 1000
            statuses += pool.map(lambda _: browser.get("/analytics/").status_code, range(20))
        seconds = time.monotonic() - began
        # what was allowed meanwhile would be answered otherwise
        refusals = pool.map(lambda _: browser.get("/analytics/"), range(100))
        waits = {each.headers.get("Retry-After") for each in refusals if each.status_code == 429}
    assert (set(statuses), waits) == ({200, 429}, {"1"})
    # one, five more at once, and one for each second that it took
    assert statuses.count(200) <= 6 + math.ceil(seconds)


def test_the_log_has_the_visitor_and_no_credential(entrance: Gateway) -> None:
    with entrance.browser() as browser:
        browser.get(
            "/analytics/d/logged?token=querysecret",
            headers={"Authorization": "Basic c2VjcmV0", "Cookie": "sessionid=cookiesecret"},
        )
    last = entrance.logged('"GET /analytics/d/logged"')
    assert '"GET /analytics/d/logged" 200' in last
    assert "user=ann" in last
    assert [
        word for word in ("querysecret", "c2VjcmV0", "cookiesecret") if word in entrance.log.read_text()
    ] == []


def test_the_other_log_has_neither_query_nor_the_page_before(tmp_path: Path) -> None:
    with nginx(tmp_path, grafana_port=1, events_api_port=2) as entrance:
        port = entrance.context.settings.gateway_https_port
        context = ssl.create_default_context(cafile=str(entrance.authority.certificate_file))
        for path in ("/analytics/d/x", "/api/events"):
            with (
                socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as plain,
                context.wrap_socket(plain, server_hostname="localhost") as visitor,
            ):
                # \xff is no letter in any encoding of the host's
                visitor.sendall(
                    f"GET {path}?a=1".encode()
                    + b"\xff%0a,client:x?token=querysecret HTTP/1.1\r\nHost: hostsecret\r\n"
                    b"Referer: https://localhost/?var=referersecret\r\nCookie: sessionid=cookiesecret\r\n"
                    b"Authorization: Basic c2VjcmV0\r\nConnection: close\r\n\r\n"
                )
                assert visitor.recv(1000).startswith(b"HTTP/1.1 50")

        def refused() -> list[str]:
            lines = entrance.errors.read_text(errors="replace").splitlines()
            return [line for line in lines if "connect() failed" in line]

        lines = until(refused, "the failures are logged", lambda found: len(found) >= 2)
        # what an operator needs stays
        assert all(
            "while connecting to upstream, client: 127.0.0.1, server: localhost" in each for each in lines
        )
    logged = entrance.errors.read_text(errors="replace") + entrance.log.read_text()
    words = ("querysecret", "referersecret", "hostsecret", "cookiesecret", "c2VjcmV0")
    assert [word for word in words if word in logged] == []


def test_grafana_which_logs_the_page_before_does_not_hear_of_it(entrance: Gateway) -> None:
    with entrance.browser() as browser:
        headers = browser.get("/analytics/", headers={"Referer": f"{entrance.url}/?var-user=7"}).json()[
            "headers"
        ]
    assert "referer" not in headers


def test_who_has_guessed_too_often_is_told_how_long_to_wait(entrance: Gateway) -> None:
    entrance.authorizer.answer = refused(403, {"Retry-After": "17"})
    with entrance.browser() as browser:
        answer = browser.get("/analytics/")
    assert (answer.status_code, answer.headers.get_list("Retry-After")) == (429, ["17"])
    assert answer.text == "Too many wrong passwords. Wait 17 s, then try again.\n"
    assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"


CVAT = {"cvat_url": "https://cvat.example.org", "grafana_root_url": "https://cvat.example.org/analytics/"}


def rendered(tmp_path: Path, **settings: Any) -> str:
    """Return the configuration of a gateway with `settings`."""
    described = topology.build(
        dict.fromkeys(topology.COMPONENTS, ("host",)), {"host": settings}, where="test"
    )
    context = Context("host", described, secrets.generate(), Paths(str(tmp_path)))
    return gateway.files(context, certificates.Pair("", ""))[2].content


@pytest.mark.parametrize(
    ("changed", "setting", "words"),
    [
        ({}, "cvat_server_url", "https://cvat.example.org/cvat-server"),
        ({"cvat_server_url": "https://cvat.example.org/"}, "cvat_server_url", "https://cvat.example.org/cvat-server"),
        ({"grafana_root_url": "https://cvat.example.org:443/"}, "grafana_root_url", "https://cvat.example.org/analytics/"),
    ],
)  # fmt: skip
def test_a_gateway_below_cvats_address_that_would_be_asked_by_itself_is_refused(
    tmp_path: Path, changed: dict[str, str], setting: str, words: str
) -> None:
    with pytest.raises(InputError, match=re.escape(words)) as error:
        rendered(tmp_path, **CVAT | changed)
    assert str(error.value).startswith(f"setting {setting!r} of host host: ")


OPEN = {"grafana_root_url": "https://analytics.example.org/analytics/", "gateway_listen_address": "0.0.0.0"}
WITH_PORT = {"grafana_root_url": "https://analytics.example.org:9443/analytics/"}


@pytest.mark.parametrize(
    ("values", "ports"),
    [
        (OPEN, ()),
        (OPEN | {"gateway_https_port": 9443}, (9443, 443)),
        (OPEN | WITH_PORT, (443, 9443)),
        (OPEN | WITH_PORT | {"gateway_https_port": 9443}, ()),
        pytest.param(OPEN | CVAT | {"gateway_https_port": 9443}, (), id="CVAT's proxy is in between"),
        pytest.param(OPEN | {"gateway_https_port": 9443, "gateway_trusted_proxies": ["10.0.0.4"]}, (), id="another proxy is"),
        pytest.param(OPEN | {"gateway_https_port": 9443, "gateway_listen_address": "127.0.0.1"}, (), id="something of this host is"),
    ],
)  # fmt: skip
def test_people_who_are_sent_to_another_port_than_the_gateways_are_told_of(
    values: dict[str, Any], ports: tuple[int, ...]
) -> None:
    note = gateway.port_note(validate(values, where="test"))
    assert tuple(map(int, re.findall(r"port (\d+) (?:\(|of)", note))) == ports


def test_under_cvats_name_it_is_cvat_that_says_whether_browsers_remember_https(tmp_path: Path) -> None:
    mine = {"gateway_certificate": "cert.pem", "gateway_certificate_key": "key.pem"}
    there = {"cvat_server_url": "http://10.0.0.4:8080"}
    assert "add_header Strict-Transport-Security" not in rendered(tmp_path, **CVAT | mine | there)
    own = {"grafana_root_url": "https://analytics.example.org/"}
    assert "add_header Strict-Transport-Security" in rendered(tmp_path, **CVAT | mine | own)


def test_without_a_proxy_that_is_trusted_nobodys_word_on_his_address_is_taken(tmp_path: Path) -> None:
    assert "real_ip" not in rendered(tmp_path, **CVAT, cvat_server_url="http://10.0.0.4:8080")
