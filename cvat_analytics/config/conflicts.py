"""What is wrong between settings that are fine each for itself, or with the files that they name."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from cvat_analytics.config import package_source, query_limits

if TYPE_CHECKING:
    from cvat_analytics.config.settings import Settings


def found(settings: Settings) -> list[str]:
    """Return each mistake as one line for the operator; nothing where all is well."""
    mistakes = _alert_conflicts(settings) + _reader_conflicts(settings) + _backup_conflicts(settings)
    for name in (
        "clickhouse_allowed_addresses", "vector_allowed_addresses", "grafana_allowed_addresses", "gateway_trusted_proxies",
    ):  # fmt: skip
        for network in getattr(settings, name):
            try:
                # a zone (fe80::1%eth0) is text, which no part of the stack reads
                everywhere = ipaddress.ip_network(network.replace("%", " ")).prefixlen == 0
            except ValueError:
                mistakes.append(f"setting {name!r}: {network!r} is neither an IP address nor a network")
                continue
            if everywhere and name == "gateway_trusted_proxies":
                mistakes.append(
                    f"setting {name!r}: with {network!r} everybody could claim to come from elsewhere; give the proxy's address"
                )
    keep, names = settings.events_retention, settings.names_kept
    if names is not None and (keep is None or names < keep):
        mistakes.append(
            "setting 'names_retention': is shorter than 'events_retention', and events hold names themselves; write 'events', or a longer time"
        )
    if (settings.gateway_certificate is None) != (settings.gateway_certificate_key is None):
        mistakes.append(
            "settings 'gateway_certificate' and 'gateway_certificate_key': give both or neither; one is of no use without the other"
        )
    if (settings.vector_tls_certificate is None) != (settings.vector_tls_key is None):
        mistakes.append(
            "settings 'vector_tls_certificate' and 'vector_tls_key': give both or neither; one is of no use without the other"
        )
    if settings.grafana_tls and not settings.grafana_root_url.startswith("https://"):
        mistakes.append(
            f"setting 'grafana_root_url': {settings.grafana_root_url} is not where people reach a Grafana that speaks TLS ('grafana_tls'); "
            "give its https address"
        )
    for name in ("vector_tls_certificate", "vector_tls_key"):
        file = getattr(settings, name)
        if file is not None and not file.is_file():
            mistakes.append(f"setting {name!r}: there is no file {file}")
    if package_source.kind(settings) == "mirror" and settings.package_signing_key is None:
        mistakes.append(
            "setting 'package_signing_key': needed because 'package_source' is a mirror; give the file with its public key"
        )
    if settings.package_signing_key is not None and not settings.package_signing_key.is_file():
        mistakes.append(f"setting 'package_signing_key': there is no file {settings.package_signing_key}")
    if (directory := package_source.bundle(settings)) and not directory.is_dir():
        mistakes.append(
            f"setting 'package_source': {settings.package_source!r} is neither 'vendor', nor a URL, nor an existing directory"
        )
    return mistakes


def _alert_conflicts(settings: Settings) -> list[str]:
    """Return what is wrong between settings of alerts."""
    mistakes = []
    if settings.alert_emails and not settings.smtp_host:
        mistakes.append(
            "setting 'smtp_host': needed because 'alert_emails' has addresses; give the mail server, as in 'mail.example.org:587'"
        )
    if settings.alert_webhook_token and not settings.alert_webhook_url:
        mistakes.append("setting 'alert_webhook_token': there is no 'alert_webhook_url' that could want it")
    if settings.alerts and not settings.alert_working_days:
        mistakes.append("setting 'alert_working_days': name at least one day, or turn 'alerts' off")
    return mistakes


def _backup_conflicts(settings: Settings) -> list[str]:
    """Return what is wrong between settings of backups."""
    kept = ("backup_keep_daily", "backup_keep_weekly", "backup_keep_monthly")
    if any(getattr(settings, name) for name in kept):
        return []
    return [
        f"settings {', '.join(map(repr, kept))}: all are 0, so that no backup would be kept; set at least one to 1 or more"
    ]


def _reader_conflicts(settings: Settings) -> list[str]:
    """Return where readers together would leave too little of ClickHouse to Vector and the administrator."""

    def sum_of(kind: str) -> tuple[int, str]:
        shares = {f"{user}_{kind}": getattr(settings, f"{user}_{kind}") for user in query_limits.READERS}
        return sum(shares.values()), " + ".join(f"{name!r} ({value})" for name, value in shares.items())

    mistakes = []
    queries, named = sum_of("max_queries")
    if (least := queries + query_limits.RESERVED_QUERIES) > settings.clickhouse_max_queries:
        mistakes.append(
            f"setting 'clickhouse_max_queries': readers may run {queries} queries at the same time ({named}), and Vector and the "
            f"administrator need {query_limits.RESERVED_QUERIES} beside them; lower one of these, or set it to {least} or more "
            f"(got {settings.clickhouse_max_queries})"
        )
    percent, named = sum_of("memory_percent")
    if percent > (most := 100 - query_limits.RESERVED_PERCENT):
        mistakes.append(
            f"settings {named}: together {percent} % of ClickHouse's memory, which leaves Vector's inserts too little; lower one of "
            f"them, so that they are {most} or less"
        )
    return mistakes
