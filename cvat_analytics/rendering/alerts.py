"""What the settings say about alerts, as Grafana's provisioning needs it (templates/grafana/alerting.yaml.j2).

Passwords reach Grafana as files that only its unit may read, like the others; the rules name the files.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.config.settings import Settings
from cvat_analytics.config.types import parse_hours

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True)
class Rule:
    """One rule. Its query is templates/grafana/alerts/NAME.sql.j2; docs/reference/alerts.md says what to do about it."""

    name: str
    title: str
    range: timedelta
    """How far back its query looks."""
    beyond: str
    """On which side of the limit it fires: `gt` or `lt`."""
    limit: float
    pending: timedelta
    """For how long it must be so."""
    summary: str
    """What the message says; `{{ $values.A.Value }}` is what the query found."""


def rules(settings: Settings) -> list[Rule]:
    """Return the rules with the settings' limits."""
    value = "{{ $values.A.Value }}"
    quarter, week, once = timedelta(minutes=15), timedelta(days=7), timedelta(0)
    return [
        Rule(
            "no-events",
            "No events",
            timedelta(days=1),
            "gt",
            settings.alert_silence // timedelta(minutes=1),
            once,
            f"No event has arrived from CVAT for {value} minutes of working hours.",
        ),
        Rule(
            "exceptions",
            "Exceptions",
            week,
            "gt",
            settings.alert_exceptions,
            once,
            f"{value} exceptions in 15 minutes, more than five times the usual number.",
        ),
        Rule(
            "dead-letters",
            "Dead letters",
            quarter,
            "gt",
            0,
            # whoever tries something with `curl` has time to remove its letter
            timedelta(minutes=2),
            f"{value} events could not be stored as such in 15 minutes; they are kept as dead letters.",
        ),
        Rule(
            "vector",
            "Vector drops events",
            quarter,
            "gt",
            0,
            once,
            f"Vector counted {value} dropped events and errors in 15 minutes.",
        ),
        # the query itself waits until the next attempt has failed too
        Rule(
            "refused",
            "ClickHouse refuses a batch",
            quarter,
            "gt",
            0,
            once,
            f"ClickHouse has refused what {{{{ $labels.sink }}}} inserts {value} times since {{{{ $labels.since }}}}: {{{{ $labels.words }}}}",
        ),
        Rule(
            "background-work",
            "Background work fails",
            quarter,
            "gt",
            0,
            # the query itself waits for a minute
            once,
            "ClickHouse has not done this since {{ $labels.since }}: {{ $labels.work }}: {{ $labels.why }}",
        ),
        Rule(
            "no-client-events",
            "No client events",
            timedelta(days=1),
            "gt",
            0,
            once,
            f"{value} changes by people with browsers in an hour, and not one event from any browser: working time is not counted.",
        ),
        Rule(
            "disk",
            "Disk full soon",
            week,
            "lt",
            settings.alert_disk_full_within / timedelta(days=1),
            timedelta(minutes=30),
            f"{{{{ $labels.disk }}}} will be full in {value} days.",
        ),
        Rule(
            "backup",
            "No good backup",
            quarter,
            "gt",
            0,
            once,
            "{{ $labels.problem }}",
        ),
    ]


def credentials(settings: Settings) -> dict[str, str]:
    """Return the further credentials of Grafana's unit: the file's name, and the secret that is in it."""
    if not settings.alerts:
        return {}
    needed = {}
    if settings.smtp_user:
        needed["smtp_password"] = "smtp_password"  # noqa: S105 - a name
    if settings.alert_webhook_url and settings.alert_webhook_token:
        needed["alert_webhook_token"] = "alert_webhook_token"  # noqa: S105 - a name
    return needed


def check(settings: Settings, secrets: Mapping[str, str]) -> None:
    """Raise InputError when a password that the settings ask for is not among the `secrets`."""
    for name in credentials(settings).values():
        if not secrets.get(name):
            setting = "smtp_user" if name == "smtp_password" else name
            raise InputError(
                Code.SECRET_NOT_GIVEN,
                f"setting {setting!r}: the secrets file has no {name}. Give it with `cvat-analytics secrets set {name}`",
            )


def link_note(settings: Settings) -> str:
    """Say that the links in alerts lead whoever reads them to their own machine; empty where they do not, or nobody is sent any.

    No mistake by itself: somebody may forward that port to their own machine.
    """
    name = urlsplit(settings.grafana_root_url).hostname or ""
    try:
        address = ipaddress.ip_address(name)
        here = address.is_loopback or address.is_unspecified
    except ValueError:
        here = name == "localhost" or name.endswith(".localhost")
    if not here or not settings.alerts or not (settings.alert_emails or settings.alert_webhook_url):
        return ""
    return (
        f"the links in alerts begin with {settings.grafana_root_url}, which is the machine of whoever reads them. Give the address at which "
        "people reach Grafana as 'grafana_root_url'"
    )


def variables(settings: Settings) -> dict[str, Any]:
    """Return what the alerts' templates use: times in minutes, days as ClickHouse counts them (Monday is 1)."""
    opening, closing = parse_hours(settings.alert_working_hours)
    channels = [
        name
        for name, target in (("e-mail", settings.alert_emails), ("webhook", settings.alert_webhook_url))
        if target
    ]
    return {
        "days": [_DAYS.index(day) + 1 for day in settings.alert_working_days],
        "rules": rules(settings),
        "credentials": credentials(settings),
        "opening": opening,
        "closing": closing,
        # Grafana never takes a receiver out of a contact point: each combination is a contact point of its own
        "contact_point": f"CVAT analytics ({' and '.join(channels)})" if channels else "",
        "contact_point_id": f"cvat-analytics-{'-'.join(channels)}",
    }
