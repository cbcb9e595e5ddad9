"""What a deploy refuses before it has asked the host anything: ports of which nobody has said that they may be open."""

from __future__ import annotations

from typing import Any

import pytest
from pyinfra.api.exceptions import PyinfraError

from tests.deploys.conftest import Deploy

OPEN: list[dict[str, Any]] = [
    {"vector_listen_address": "0.0.0.0"},
    {"events_api_listen_address": "0.0.0.0"},
    {"clickhouse_listen_addresses": ["10.0.0.5"]},
    {"grafana_listen_address": "0.0.0.0"},
]


@pytest.mark.parametrize("settings", OPEN, ids=[next(iter(each)) for each in OPEN])
def test_an_open_port_is_refused_before_the_host_is_asked_anything(
    run_deploy: Deploy, settings: dict[str, Any]
) -> None:
    groups = {name: ["@fake/a"] for name in ("clickhouse", "vector", "grafana", "events_api")}
    # a question would get an answer that is refused with other words
    answers: dict[str, Any] = {"os-release": ["os_id=fedora"]}
    with pytest.raises(PyinfraError, match=r"listens on (?s:.*)\n firewall = True\n"):
        run_deploy(groups, settings | {"open_to_network": []}, answers=answers)
    assert run_deploy(groups, settings | {"open_to_network": [], "firewall": True}).failed == set()
