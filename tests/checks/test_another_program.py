"""Where another program has a part's port, or another version of the part, a check fails with what it answers, and no traceback."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.checks import datasource, smoke, smoke_export
from cvat_analytics.connect.access import Access
from cvat_analytics.credentials import users

SHAPES: list[Any] = [[], {}, "fine", 1, None, [1], {"results": [1]}, {"results": {"A": 1}}]


def saying(*answers: httpx.Response) -> httpx.Client:
    """Return a client of what gives these answers in turn, the last one for good."""
    left = list(answers)
    transport = httpx.MockTransport(lambda request: left.pop(0) if len(left) > 1 else left[0])
    return httpx.Client(base_url="http://localhost", transport=transport)


@pytest.mark.parametrize("shape", SHAPES, ids=repr)
def test_an_answer_of_another_shape_fails_grafanas_checks(shape: Any) -> None:
    access = SimpleNamespace(grafana_client=lambda timeout: saying(httpx.Response(200, json=shape)))
    checks = {check.name: check for check in smoke.Smoke(cast("Access", access), "marker")._grafana()}
    for name in ("grafana-datasource", "grafana-dashboards"):
        with pytest.raises(CvatAnalyticsError, match=r"Grafana"):
            checks[name].do()
    with (
        pytest.raises(CvatAnalyticsError, match="Grafana"),
        saying(httpx.Response(200, json=shape)) as grafana,
    ):
        datasource.read_events(grafana)


@pytest.mark.parametrize(
    "answers",
    [
        *([httpx.Response(202, json=shape)] for shape in SHAPES),
        [httpx.Response(202, text="<html>")],
        [
            httpx.Response(202, json={"query_id": 1}),
            httpx.Response(201),
            httpx.Response(200, text="other\n1\n"),
            httpx.Response(204),
        ],
    ],
    ids=[*map(repr, SHAPES), "page", "file"],
)
def test_an_answer_of_another_shape_fails_the_export(
    answers: list[httpx.Response], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = [httpx.Response(201), httpx.Response(200, text="1\n2\n3\n")]
    monkeypatch.setattr(smoke_export, "http_client", lambda *_, **__: saying(*taken, *answers))
    endpoint = SimpleNamespace(url="http://localhost", tls=lambda: None)
    access = SimpleNamespace(events_api=endpoint, asked_cvat=False, secrets={"events_api_admin": users.ADMIN})
    with pytest.raises(CvatAnalyticsError, match="what answers /api/events is another program"):
        smoke_export.export(cast("Access", access), "marker")
