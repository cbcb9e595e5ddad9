"""The OpenAPI document: what it says is so, and nothing that may be sent by it makes the service fail."""

from __future__ import annotations

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error

from tests.api.harness import Api

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
def document(local_api: Api):
    with local_api.client() as client:
        answer = client.get("/api/events/openapi.json")
    assert answer.status_code == 200
    return answer.json()


def test_every_endpoint_is_described_with_its_problems(document):
    assert {path: set(about) for path, about in document["paths"].items()} == PATHS
    for path, about in document["paths"].items():
        for method, operation in about.items():
            assert {"401", "429"} <= set(operation["responses"]), (path, method)
            assert "422" not in operation["responses"]
            for status, response in operation["responses"].items():
                if int(status) >= 400 and status != "416":
                    assert list(response["content"]) == ["application/problem+json"], (path, method, status)
    assert set(document["components"]["securitySchemes"]) == {"basic", "session", "token"}


@pytest.fixture
def schema(document, local_api: Api):
    found = schemathesis.openapi.from_dict(document)
    found.config.update(base_url=local_api.url)
    return found


lazy = schemathesis.pytest.from_fixture("schema")


@lazy.parametrize()
@hypothesis.settings(
    max_examples=40, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)  # fmt: skip
def test_nothing_makes_the_service_fail(case):
    response = case.call(auth=("worker", "password-of-worker"), timeout=20)
    # Vector answers in these tests, ClickHouse too, and the limits on exports are high
    not_a_server_error(None, response, case)


def test_the_documentation_page_needs_nothing_from_elsewhere(local_api: Api):
    with local_api.client() as client:
        page = client.get("/api/events/docs")
        assert page.status_code == 200
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "http" not in page.text.replace("https://", "http").split("<body>")[1]
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
