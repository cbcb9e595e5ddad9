"""The events API answers nobody who takes it for another site: a name that a page has had mean this host (DNS rebinding)."""

from __future__ import annotations

import httpx
import pytest

from tests.api.harness import Api


@pytest.mark.parametrize(
    "path", ["/health", "/api/events/docs", "/api/events", "/gateway/authorize", "/nothing"]
)
def test_another_sites_name_is_refused(local_api: Api, path: str) -> None:
    answer = httpx.get(f"{local_api.url}{path}", headers={"Host": "evil.example:80"}, trust_env=False)
    assert answer.status_code == 421
    assert answer.text == (
        "421: 'evil.example:80' is no name of this server. Ask for it by an address, or give the name in the setting 'events_api_names'\n"
    )


@pytest.mark.parametrize(
    "host", ["localhost:8283", "[::1]:8283", "127.0.0.1", "a-forwarded-port.localhost:1"]
)
def test_its_own_names_are_answered_on_whatever_port(local_api: Api, host: str) -> None:
    answer = httpx.get(f"{local_api.url}/health", headers={"Host": host}, trust_env=False)
    assert answer.status_code == 200
