"""The OpenAPI document: what it says is so, and nothing that may be sent by it makes the service fail."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest
import schemathesis

from tests.api.harness import Api
from tests.browser import Page, chromium

# asked for by people, not by programs that try out everything
PATHS = {
    "/api/events": {"get", "post"},
    "/api/events/export": {"post"},
    "/api/events/download": {"get"},
    "/api/requests": {"get"},
    "/api/requests/{rq_id}": {"get", "delete"},
    "/api/requests/{rq_id}/cancel": {"post"},
}


@pytest.fixture(scope="session")
def document(local_api: Api) -> dict[str, Any]:
    with local_api.client() as client:
        answer = client.get("/api/events/openapi.json")
    assert answer.status_code == 200
    described: dict[str, Any] = answer.json()
    return described


def test_every_endpoint_is_described_with_its_problems(document: dict[str, Any]) -> None:
    assert {path: set(about) for path, about in document["paths"].items()} == PATHS
    for path, about in document["paths"].items():
        for method, operation in about.items():
            assert {"401", "429"} <= set(operation["responses"]), (path, method)
            assert "422" not in operation["responses"]
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    assert list(response["content"]) == ["application/problem+json"], (path, method, status)
    assert set(document["components"]["securitySchemes"]) == {"basic", "session", "token"}


@pytest.mark.parametrize(
    ("path", "method"), [(path, method) for path in sorted(PATHS) for method in sorted(PATHS[path])]
)
def test_nothing_that_may_be_sent_makes_the_service_fail(
    document: dict[str, Any], local_api: Api, path: str, method: str
) -> None:
    schema = schemathesis.openapi.from_dict(document)
    client = local_api.client("worker")

    # Vector and ClickHouse answer in these tests, and the limits on exports are high: a 5xx would be a mistake
    @hypothesis.given(schema[path][method.upper()].as_strategy())
    @hypothesis.settings(
        max_examples=25, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    def check(case: schemathesis.Case[Any]) -> None:
        # httpx sends it: schemathesis's own way of sending needs another urllib3 than the one that is installed here
        request = case.as_transport_kwargs(base_url=local_api.url)
        request.pop("cookies", None)
        body = request.pop("data", None)
        answer = client.request(**request, content=body if isinstance(body, str | bytes) else None)
        assert answer.status_code < 500, answer.text
        assert answer.headers["x-request-id"]

    with client:
        check()


def test_the_documentation_page_needs_nothing_from_elsewhere(local_api: Api) -> None:
    with local_api.client() as client:
        page = client.get("/api/events/docs")
        assert page.status_code == 200
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "http" not in page.text.split("<body>")[1]
        for name in (
            "docs/assets/swagger-ui.css",
            "docs/assets/swagger-ui-bundle.js",
            "docs/assets/favicon-32x32.png",
            "docs/start.js",
        ):
            assert name in page.text
            assert client.get(f"/api/events/{name}").status_code == 200
        for name in ("docs/assets/package.json", "docs/assets/..%2Fpackage.json"):
            assert client.get(f"/api/events/{name}").status_code == 404


def test_the_documentation_is_shown_and_asks_nobody_else(local_api: Api) -> None:
    with chromium() as browser:
        page = Page(browser, local_api.url)
        browser.get(f"{local_api.url}/api/events/docs")
        operations = sum(len(methods) for methods in PATHS.values())
        page.wait(lambda: len(page.all(".opblock")) == operations)
        page.run("document.querySelector('.opblock-summary-control').click()")
        page.wait(lambda: page.all(".opblock .execute"))
        loaded = page.run("return performance.getEntriesByType('resource').map((each) => each.name)")
        assert len(loaded) >= 4
        assert [each for each in loaded if not each.startswith((local_api.url, "data:"))] == []
        assert page.errors() == []
