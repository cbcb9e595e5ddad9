"""A real traefik on a machine whose containers are told a company's proxy: what the override says is what it goes by."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cvat_analytics.config import topology
from cvat_analytics.gateway import cvat_env
from cvat_analytics.gateway.compose_variables import interpolated
from tests.api.fake_cvat import FakeCvat

from .conftest import Program, as_json
from .cvats_traefik import cvats_traefik
from .test_access_right import session

DOCKERS = "*.corp"
"""What docker's config.json keeps off the proxy in each container."""


@pytest.mark.parametrize("override", [False, True], ids=["CVAT alone", "the override"])
def test_traefik_passes_a_companys_proxy_by(tmp_path: Path, cvat: FakeCvat, override: bool) -> None:
    proxy, grafana = Program(as_json), Program(as_json)
    with proxy.running(), grafana.running():
        # traefik asks no proxy for loopback; 0.0.0.0 is not loopback to it, and leads there on Linux
        values = {
            "address": "0.0.0.0", "grafana_listen_address": "0.0.0.0", "grafana_port": grafana.port,
            "grafana_root_url": "https://localhost/analytics/",
        }  # fmt: skip
        described = topology.build(dict.fromkeys(topology.GROUPS, ("host",)), {"host": values}, where="test")
        environment = dict.fromkeys(("no_proxy", "NO_PROXY"), DOCKERS)
        environment |= dict.fromkeys(("http_proxy", "HTTP_PROXY"), f"http://127.0.0.1:{proxy.port}")
        if override:
            text = cvat_env.as_compose(cvat_env.environment(described), docker=DOCKERS)
            stated = yaml.safe_load(text)["services"]["traefik"]["environment"]
            environment |= {
                name: interpolated(value, lambda name: None)
                for name, value in stated.items()
                if name in environment
            }
            assert DOCKERS in environment["NO_PROXY"]
        with cvats_traefik(tmp_path, cvat.url, **environment) as traefik, traefik.browser() as browser:
            traefik.mount(cvat_env.as_traefik(described, None))
            assert browser.get("/analytics/d/x", headers=session("flagged")).status_code == 200
    # a request to a proxy has a whole URL; whose it is traefik takes from the visitor's Host
    asked = [request["path"].startswith("http://") for request in proxy.requests]
    seen = [request["path"] for request in grafana.requests]
    assert (asked, seen) == (([], ["/analytics/d/x"]) if override else ([True], []))
