"""`status` and `smoke` ask the front door itself: nginx, the events API and CVAT, each as it is and as it may fail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.checks import health, smoke
from cvat_analytics.checks.causes import SkippedError
from cvat_analytics.checks.health import Health
from cvat_analytics.checks.smoke_case import Case, read_cases, run
from cvat_analytics.config.endpoints import Endpoint, Trust, listening, trust
from cvat_analytics.connect.access import Access
from cvat_analytics.credentials.certificates import CERTIFICATE_LIFETIME, Authority
from tests.api.fake_cvat import FakeCvat
from tests.api.harness import FakeVector, running_api
from tests.clickhouse import Store, free_ports, way_to
from tests.serving import served
from tests.tls_server import listening_with

from .conftest import Gateway, Program, allowed, as_json, nginx

pytestmark = pytest.mark.usefixtures("patience")
FRONT = [case for case in read_cases() if case.request]
GATEWAY = [case for case in FRONT if "gateway" in case.name]


def nobody(*_: object, **__: object) -> list[list[object]]:
    """Answer as ClickHouse, which these cases do not ask."""
    raise AssertionError("ClickHouse was asked")


def access_to(gateway: Gateway, cvat_url: str = "") -> Access:
    """Return the way to a stack with that gateway, whose events API asks that CVAT."""
    settings = gateway.context.settings.model_copy(update={"cvat_server_url": cvat_url})

    def endpoint(component: str) -> Endpoint:
        how = trust(component, settings, gateway.authority.certificate_file)
        return Endpoint(*listening(component, settings), settings, how)

    return replace(
        way_to(gateway.context),
        events_api=endpoint("events_api"),
        gateway=endpoint("gateway"),
        gateway_http=endpoint("gateway_http"),
    )


@pytest.fixture(scope="module")
def beside_cvat(
    tmp_path_factory: pytest.TempPathFactory, store: Store, cvat: FakeCvat
) -> Iterator[tuple[Gateway, str]]:
    """Return the gateway of a stack that asks a CVAT, and where that is."""
    directory = tmp_path_factory.mktemp("health")
    with (
        served(FakeVector()) as vector,
        running_api(directory, store, vector.url, cvat.url) as api,
        Program(as_json).running() as echo,
        nginx(directory / "gateway", grafana_port=echo.port, events_api_port=api.port) as gateway,
    ):
        yield gateway, cvat.url


def test_a_front_door_beside_a_cvat_is_healthy(beside_cvat: tuple[Gateway, str]) -> None:
    access = access_to(*beside_cvat)
    assert health.of(access, "events_api") == Health("running")
    assert health.of(access, "gateway") == Health("running")


@pytest.mark.parametrize("case", FRONT, ids=lambda case: case.name)
def test_smoke_cases_pass_at_a_front_door(beside_cvat: tuple[Gateway, str], case: Case) -> None:
    assert run(access_to(*beside_cvat), case, "marker", nobody).startswith(case.title)


def test_smoke_says_that_it_cannot_export_where_only_cvat_knows_people(
    beside_cvat: tuple[Gateway, str],
) -> None:
    results = {result.name: result for result in smoke.run(access_to(*beside_cvat))}
    result = results["events-api-export"]
    assert result.passed is None
    assert "is asked of CVAT" in result.detail
    assert results["08-events-api-refuses-strangers"].passed


@pytest.mark.parametrize("case", FRONT, ids=lambda case: case.name)
def test_smoke_cases_are_skipped_without_a_front_door(store: Store, case: Case) -> None:
    with pytest.raises(SkippedError, match=r"this stack has no (gateway|events API)"):
        run(way_to(store.context), case, "marker", nobody)


def test_when_cvat_does_not_answer_nobody_comes_in_and_status_says_why(tmp_path: Path, store: Store) -> None:
    away = f"http://127.0.0.1:{free_ports(1)[0]}"
    with (
        running_api(tmp_path, store, "http://127.0.0.1:1/", away) as api,
        nginx(tmp_path / "gateway", grafana_port=1, events_api_port=api.port) as gateway,
    ):
        access = access_to(gateway, away)
        for component in ("events_api", "gateway"):
            verdict = health.of(access, component)
            assert verdict.state == "failing"
            assert verdict.problem.startswith(f"lets nobody in: CVAT at {away} does not answer the question")
            assert "(ConnectError)" in verdict.problem
            assert "'cvat_server_url'" in verdict.problem
        assert {case.name for case in FRONT if _fails(access, case)} == {"12-login-can-be-checked"}
        assert failures(access) == {"12-login-can-be-checked"}

        api.kill()
        assert failures(access) == {"events-api"}
        assert health.of(access, "events_api").state == "not answering"
        verdict = health.of(access, "gateway")
        assert verdict.state == "failing"
        assert verdict.problem.startswith("lets nobody in (HTTP 503): the events API")
    assert failures(access) == {"events-api", "gateway"}
    stopped = health.of(access, "gateway")
    assert stopped.state == "not answering"
    assert "journalctl -u cvat-analytics-gateway" in stopped.problem


def test_a_gateway_that_lets_everybody_in_is_found_out(entrance: Gateway) -> None:
    access = access_to(entrance)
    verdict = health.of(access, "gateway")
    assert verdict.state == "failing"
    assert verdict.problem.startswith("LETS STRANGERS IN: /analytics/api/search")
    refused = {case.name for case in GATEWAY if _fails(access, case)}
    assert refused == {"09-gateway-refuses-strangers", "10-gateway-refuses-forged-visitors"}


def test_a_gateway_that_believes_what_visitors_say_is_found_out(entrance: Gateway) -> None:
    assert entrance.authorizer
    entrance.authorizer.answer = lambda request: (
        allowed() if "x-webauth-login" in request["headers"] else (401, {}, b"")
    )
    access = access_to(entrance)
    assert health.of(access, "gateway") == Health("running")
    assert {case.name for case in GATEWAY if _fails(access, case)} == {"10-gateway-refuses-forged-visitors"}


def test_the_port_without_tls_must_send_on(entrance: Gateway) -> None:
    access = access_to(entrance)
    with Program(lambda request: (301, {"Location": "http://elsewhere/"}, b"")).running() as other:
        assert access.gateway_http
        there = replace(access, gateway_http=replace(access.gateway_http, port=other.port))
        (case,) = [case for case in GATEWAY if "http" in case.name]
        with pytest.raises(CvatAnalyticsError, match="sends on to http://elsewhere/"):
            run(there, case, "marker", nobody)


def failures(access: Access) -> set[str]:
    """Return which checks of the whole smoke test fail, besides those of the parts that nothing here stands for."""
    failed = {result.name for result in smoke.run(access) if result.passed is False}
    return failed - {"clickhouse", "vector", "grafana"}


def _fails(access: Access, case: Case) -> bool:
    try:
        run(access, case, "marker", nobody)
    except CvatAnalyticsError as error:
        return "not so, " in str(error)
    return False


def test_a_certificate_that_ends_or_is_not_ours_is_told(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    names = ["vector.example.org"]
    quarter = timedelta(days=90)
    for name, life, left in (
        ("good", CERTIFICATE_LIFETIME, 61), ("soon", CERTIFICATE_LIFETIME, 30), ("ended", CERTIFICATE_LIFETIME, -1),
        ("short", quarter, 29), ("short-soon", quarter, 20),
    ):  # fmt: skip
        monkeypatch.setattr("cvat_analytics.credentials.certificates.CERTIFICATE_LIFETIME", life)
        # made as if at a time from which on it has that many days left
        authority.issue(name, names, now=datetime.now(UTC) - life + timedelta(days=left, hours=1))

    def seen(name: str, at: Trust) -> Health:
        with listening_with(tmp_path / f"{name}.pem") as (host, port, _):
            access = way_to(store.context)
            vector = Endpoint(host, port, access.vector.settings, at)
            return health.of(replace(access, vector=vector), "vector")

    ours = Trust(authority.certificate_file, names[0])
    assert seen("good", ours) == Health("running")
    soon = seen("soon", ours)
    assert soon.state == "running"
    assert "(in 30 days): the next deploy renews" in soon.problem
    assert seen("short", ours) == Health("running"), "what renews it does so at 30 days"
    assert "(in 20 days)" in seen("short-soon", ours).problem
    assert seen("ended", ours) == Health(
        "failing", "no client accepts its certificate (certificate has expired): deploy again"
    )
    Authority(tmp_path / "other").make()
    assert seen("good", Trust(tmp_path / "other" / "ca.pem", names[0])).state == "failing"
    nothing = seen("good", Trust(tmp_path / "nothing.pem", names[0]))
    assert nothing.state == "running"
    assert nothing.problem.startswith(f"it was not asked: {tmp_path}/nothing.pem: cannot be read")
