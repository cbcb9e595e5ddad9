"""Ask each component, as its clients do, whether it does its work. What is wrong is said with what to do next."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.config.endpoints import Endpoint
from cvat_analytics.connect.access import Access
from cvat_analytics.connect.http import certificate_error, http_client, no_answer
from cvat_analytics.rendering.files import UNITS

State = Literal["stopped", "not answering", "failing", "not asked", "starting", "running"]
"""From the worst to the best: `failing` answers, but does not do its work; of `not asked` nothing is known, as its host is away;
`starting` has been started just now, and may soon do its work."""

_TIMEOUT = 10.0
"""Seconds for an answer: the events API itself gives CVAT five."""
_SESSION = {"Cookie": "sessionid=cvat-analytics-status"}
"""A session of CVAT that is nobody's: to refuse it, CVAT must have been asked."""


@dataclass(frozen=True)
class Health:
    """How a component is. `problem` is empty, or says what is wrong, or soon will be, and what to do: a line each."""

    state: State
    problem: str = ""


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes
    valid: tuple[datetime, datetime] | None
    """From when until when the certificate that was shown is."""


def of(access: Access, component: str) -> Health:
    """Return how `component` answers at its endpoint of `access`; it must have one."""
    import httpx  # a fifth of a second, which a stack that is down does not need

    endpoint: Endpoint = getattr(access, component)
    unit = UNITS[component]
    try:
        if component == "events_api":
            return _events_api(access, endpoint)
        if component == "gateway":
            return _gateway(access, endpoint)
        path = {"grafana": f"{endpoint.settings.grafana_path}/api/health"}.get(component, "/ping")
        return _alive(_get(endpoint, path), path, unit)
    except httpx.HTTPError as error:
        if refused := certificate_error(error):
            return Health(
                "failing", f"no client accepts its certificate ({refused.verify_message}): deploy again"
            )
        reason = no_answer(endpoint.url, error)
        return Health("not answering", f"no answer ({reason}): see `journalctl -u {unit}`")
    except CvatAnalyticsError as error:
        return Health("running", f"it was not asked: {error}")


def _get(endpoint: Endpoint, path: str, headers: Mapping[str, str] | None = None) -> _Answer:
    with (
        http_client(endpoint.url, endpoint.tls(), timeout=_TIMEOUT) as asking,
        asking.stream("GET", path, headers=headers) as answer,
    ):
        tls: ssl.SSLSocket | None = answer.extensions["network_stream"].get_extra_info("ssl_object")
        shown = tls.getpeercert() if tls else None
        valid = (_moment(shown["notBefore"]), _moment(shown["notAfter"])) if shown else None
        return _Answer(answer.status_code, answer.read(), valid)


def _moment(text: object) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(text)), UTC)


def _alive(answer: _Answer, path: str, unit: str) -> Health:
    if answer.status != 200:
        return Health("failing", f"{path} is answered HTTP {answer.status}: see `journalctl -u {unit}`")
    return Health("running", _soon(answer))


def _soon(answer: _Answer) -> str:
    """Say when a certificate ends soon: within 60 days, or for one that lives shortly within a quarter of its life.

    A program that renews such a one does it when a third is left (https://letsencrypt.org/docs/faq/).
    """
    if not answer.valid:
        return ""
    # with the library that makes certificates, which a stack without TLS can do without
    from cvat_analytics.credentials.certificates import RENEW_BEFORE

    begins, ends = answer.valid
    left = ends - datetime.now(UTC)
    if left >= min(RENEW_BEFORE, (ends - begins) / 4):
        return ""
    return (
        f"its certificate ends on {ends:%Y-%m-%d} (in {left.days} days): the next deploy renews one of the stack's own "
        "authority, another one is yours to renew"
    )


def _events_api(access: Access, endpoint: Endpoint) -> Health:
    """Return whether it is alive, and whether anybody can log in."""
    health = _alive(_get(endpoint, "/health"), "/health", UNITS["events_api"])
    if health.state == "running" and access.asked_cvat:
        answer = _get(endpoint, "/api/events", _SESSION)
        if answer.status >= 500:
            return Health("failing", f"lets nobody in: {_of_cvat(access.asked_cvat, answer)}")
        if answer.status != 401:
            return Health(
                "failing", f"takes a session that is nobody's (HTTP {answer.status}): see 'cvat_server_url'"
            )
    return health


def _of_cvat(url: str, answer: _Answer) -> str:
    """Say what the events API's answer says of the CVAT that it has asked."""
    try:
        detail = str(json.loads(answer.body)["detail"])
    except (ValueError, LookupError, TypeError):
        detail = f"HTTP {answer.status}"
    reason = re.search(r"\((.*)\)", detail)
    return (
        f"CVAT at {url} does not answer the question who somebody is ({reason[1] if reason else detail}). See whether the host of the "
        "events API reaches that address, which is the setting 'cvat_server_url', or else 'cvat_url'"
    )


def _gateway(access: Access, endpoint: Endpoint) -> Health:
    """Return whether nginx answers, Grafana is closed to strangers, and the authorisation behind it works."""
    path = f"{endpoint.settings.grafana_path}/api/search"
    answer = _get(endpoint, path)
    if answer.status in (401, 403, 302) and access.asked_cvat:
        answer = _get(endpoint, path, _SESSION)
    if answer.status in (401, 403, 302):
        return Health("running", _soon(answer))
    if answer.status < 300:
        return Health(
            "failing",
            f"LETS STRANGERS IN: {path} is answered HTTP {answer.status} to nobody's login. Stop it "
            f"(`systemctl stop {UNITS['gateway']}`), then deploy again",
        )
    if answer.status < 500:
        return Health("failing", f"answers HTTP {answer.status} where a login is due: deploy again")
    behind = of(access, "events_api") if access.events_api else Health("stopped")
    if behind.state == "failing":
        return behind
    if behind.state == "running":
        why = f"see `journalctl -u {UNITS['gateway']}` and `journalctl -u {UNITS['events_api']}`"
    else:
        why = "the events API, which it asks who a visitor is, does not answer; see there"
    return Health("failing", f"lets nobody in (HTTP {answer.status}): {why}")
