"""How the viewer starts and ends, who it lets in, and what it says when it cannot run."""

from __future__ import annotations

import dataclasses
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clickhouse import Store, free_ports
from tests.embedded.viewer.conftest import Viewer, get, serving, start, write_configuration


@pytest.fixture
def elsewhere(store: Store, tmp_path: Path) -> tuple[Any, Path]:
    """Return a second viewer's context and configuration, on a port of its own and without a sub-path."""
    settings = store.context.settings.model_copy(
        update={
            "grafana_port": free_ports(1)[0],
            "grafana_root_url": "http://localhost/",
            "grafana_anonymous_viewer": False,
        }
    )
    topology = dataclasses.replace(store.context.topology, settings={"host": settings})
    paths = dataclasses.replace(store.context.paths, root=str(tmp_path))
    made = dataclasses.replace(store.context, topology=topology, paths=paths)
    return made, write_configuration(made)


def test_pages_need_a_login_by_default(store: Store, elsewhere: tuple[Any, Path]) -> None:
    context, ini = elsewhere
    with serving(context, ini, [f"--clickhouse-http-port={store.http_port}"]) as viewer:
        answer = get(f"{viewer.url}/dashboards")
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (
            401,
            'Basic realm="cvat-analytics viewer"',
        )
        assert get(f"{viewer.url}/dashboards", ("admin", "wrong")).status == 401
        assert get(f"{viewer.url}/dashboards", viewer.login).status == 200
        assert get(f"{viewer.url}/api/health").status == 200


def test_visitors_see_dashboards_where_the_settings_allow_it(
    store: Store, elsewhere: tuple[Any, Path]
) -> None:
    context, ini = elsewhere
    ini.write_text(ini.read_text().replace("enabled = false\norg_role", "enabled = true\norg_role"))
    with serving(context, ini, [f"--clickhouse-http-port={store.http_port}"]) as viewer:
        assert get(f"{viewer.url}/dashboards").status == 200
        assert get(f"{viewer.url}/api/search").status == 200
        assert get(f"{viewer.url}/api/search", ("admin", "wrong")).status == 401
        assert httpx.post(f"{viewer.url}/api/ds/query").status_code == 401


def test_visitors_are_let_in_by_a_gateway_that_is_believed(store: Store, elsewhere: tuple[Any, Path]) -> None:
    context, ini = elsewhere
    text = ini.read_text()
    visitor = {"X-WEBAUTH-USER": "reader", "X-Forwarded-For": "198.51.100.9"}
    for addresses, header, status in (
        ("127.0.0.1, ::1", visitor, 200),
        ("127.0.0.1", {}, 401),
        ("192.0.2.7", visitor, 401),
    ):
        ini.write_text(
            f"{text}\n[auth.proxy]\nenabled = true\nheader_name = X-WEBAUTH-USER\nwhitelist = {addresses}\n"
        )
        with serving(context, ini, [f"--clickhouse-http-port={store.http_port}"]) as viewer:
            assert httpx.get(f"{viewer.url}/api/search", headers=header).status_code == status
            assert httpx.post(f"{viewer.url}/api/ds/query", headers=header).status_code == 401


def test_without_clickhouse_pages_say_so(elsewhere: tuple[Any, Path]) -> None:
    context, ini = elsewhere
    (nobody,) = free_ports(1)
    with serving(context, ini, [f"--clickhouse-http-port={nobody}", "--no-login"]) as viewer:
        answer = get(f"{viewer.url}/data/EIGSTDAVz/panels/1")
        assert answer.status == 502
        assert f"ClickHouse at 127.0.0.1:{nobody} does not answer" in answer.text


def test_ends_cleanly_when_told_to(elsewhere: tuple[Any, Path]) -> None:
    context, ini = elsewhere
    with serving(context, ini, []) as viewer:
        viewer.process.send_signal(signal.SIGTERM)
        assert viewer.process.wait(60) == 0


def _fails(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, message = process.communicate(timeout=60)
    return process.returncode, message


def test_a_port_in_use_is_one_clear_message(viewer: Viewer, ini: Path) -> None:
    port = viewer.context.settings.grafana_port
    assert _fails(start(ini)) == (
        1,
        f"viewer: cannot listen on 127.0.0.1 port {port}: Address already in use. Choose another grafana_port\n",
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda ini: ini.unlink(), "FileNotFoundError"),
        (lambda ini: ini.write_text("http_port = 1\n"), "MissingSectionHeaderError"),
        (
            lambda ini: ini.write_text(ini.read_text().replace("provisioning =", ";")),
            "KeyError: 'provisioning'",
        ),
        (
            lambda ini: ini.write_text(re.sub("http_port = .*", "http_port = many", ini.read_text())),
            "ValueError",
        ),
        (
            lambda ini: next(ini.parent.glob("provisioning/datasources/*")).unlink(),
            "has 0 entries in datasources; the viewer needs exactly one",
        ),
        (lambda ini: next(ini.parent.glob("provisioning/datasources/*")).write_text("- : ["), "ParserError"),
    ],
    ids=["missing", "no section", "no provisioning", "bad port", "no datasource", "bad yaml"],
)
def test_a_configuration_that_cannot_be_used_is_named(
    elsewhere: tuple[Any, Path], change: Any, reason: str
) -> None:
    _, ini = elsewhere
    change(ini)
    status, message = _fails(start(ini))
    assert status == 2
    assert message.startswith(f"Grafana configuration {ini}: cannot be used (")
    assert reason in message


@pytest.mark.parametrize(
    "path", ["/", "/dashboards", "/api/health", "/api/search", "/data/x", "/public/js/viewer.js"]
)
def test_a_page_of_another_site_is_not_taken_for_this_one(viewer: Viewer, path: str) -> None:
    """DNS rebinding: pages are open to whoever asks, so that the name asked for is all that tells them apart."""

    def status(host: str) -> int:
        return httpx.get(f"{viewer.url}{path}", headers={"Host": host}, trust_env=False).status_code

    assert status("evil.example") == 421
    for host in ("localhost:1", "127.0.0.1:18103", "[::1]:8080"):
        assert status(host) != 421
