"""Every setting of the stack as one model, validated before any host is touched.

The values live in `inventory/group_data/all.py` (or in the embedded stack's own file); this module says
which exist, what they mean, and refuses what cannot work with one message per mistake.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cvat_analytics.config import limits, query_limits
from cvat_analytics.config.types import (
    Address,
    BackupTarget,
    Calendar,
    DatabaseName,
    Duration,
    GrafanaText,
    HostAndPort,
    HostName,
    Hours,
    HttpUrl,
    Kept,
    MailAddress,
    MaxQueries,
    NamesRetention,
    NewColumn,
    OptionalHttpUrl,
    Percent,
    Port,
    Retention,
    Scope,
    Sha256,
    Size,
    TimeZone,
    Version,
    WebhookUrl,
    one_line,
)

GROUPS = ("clickhouse", "vector", "grafana")
"""The components that every stack has, which are also the names of the inventory's groups."""

OPTIONAL_GROUPS = ("events_api", "gateway")
"""The components that a stack may go without: their groups may be missing from the inventory."""

COMPONENTS = GROUPS + OPTIONAL_GROUPS


class Settings(BaseModel):
    """Everything an operator may change. Durations are `timedelta`, sizes are bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    # Where things listen
    clickhouse_http_port: Port = Field(
        8123, description="ClickHouse's HTTP port: Vector, CVAT and the events API use it."
    )
    clickhouse_native_port: Port = Field(
        9000, description="ClickHouse's native port: Grafana and clickhouse-client use it."
    )
    clickhouse_tls: bool = Field(
        False,
        description="Have ClickHouse speak TLS: on every address but 127.0.0.1 nothing else. The deploy makes its certificate with the "
        "stack's own authority (`certificates/ca.pem` beside the inventory), and this stack's other hosts verify it (docs/how-to/use-tls.md).",
    )
    clickhouse_https_port: Port = Field(
        8443, description="ClickHouse's HTTPS port, where `clickhouse_tls` is on."
    )
    clickhouse_native_tls_port: Port = Field(
        9440, description="ClickHouse's native port with TLS, where `clickhouse_tls` is on."
    )
    vector_port: Port = Field(
        8282, description="Port on which Vector receives CVAT's events (CVAT's `DJANGO_LOG_SERVER_PORT`)."
    )
    vector_extra_ports: tuple[Port, ...] = Field(
        (),
        description="Further ports on which Vector receives events: the old one, for as long as a CVAT server may still send there.",
    )
    vector_large_port: Port = Field(
        8284,
        description="Port on 127.0.0.1 at which Vector takes large requests up again, which it has put on disk before it answered.",
    )
    vector_metrics_port: Port | None = Field(
        None,
        description="Port on 127.0.0.1 where Vector shows all its metrics to Prometheus. `None`: not at all.",
    )
    grafana_port: Port = Field(3000, description="Grafana's HTTP port.")
    events_api_port: Port = Field(8283, description="HTTP port of the events API (`/api/events`).")
    gateway_https_port: Port = Field(
        443, description="The gateway's HTTPS port, which people's browsers use."
    )
    gateway_http_port: Port = Field(
        80, description="The gateway's HTTP port; all it does is to send browsers on to HTTPS."
    )
    address: Address | None = Field(
        None,
        description="The host's own address on the private network, set per host. Needed as soon as the parts of the stack "
        "are on more than one host: the others reach it there. ClickHouse listens there only if another host needs it.",
    )
    clickhouse_listen_addresses: tuple[Address, ...] = Field(
        (),
        description="Addresses on which ClickHouse listens beside 127.0.0.1, for example so that the CVAT server can read its exports.",
    )
    clickhouse_allowed_addresses: tuple[str, ...] = Field(
        (),
        description="Addresses or networks (CIDR) outside this stack that may log in to ClickHouse as `cvat`, usually the CVAT host's.",
    )
    vector_listen_address: Address = Field(
        "127.0.0.1",
        description="Address on which Vector receives events. Set it to the private address that the CVAT host reaches.",
    )
    vector_tls: bool = Field(
        False,
        description="Have Vector take events through TLS only, with a certificate that the deploy makes with the stack's own authority. "
        "CVAT's own client speaks plain HTTP, so this is for a proxy in between or for other producers.",
    )
    vector_tls_certificate: Path | None = Field(
        None,
        description="File on your own machine with a certificate and its chain (PEM), in the place of the one that `vector_tls` makes; "
        "it turns TLS on by itself.",
    )
    vector_tls_key: Path | None = Field(
        None, description="File with the private key of `vector_tls_certificate` (PEM, not encrypted)."
    )
    vector_username: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")] | None = Field(
        None,
        description="With a name here, Vector takes events only with it and the password `vector_ingest` of the secrets "
        "(basic authentication). CVAT's own client sends no password.",
    )
    grafana_listen_address: Address = Field("127.0.0.1", description="Address on which Grafana listens.")
    grafana_tls: bool = Field(
        False,
        description="Have Grafana speak HTTPS, with a certificate that the deploy makes with the stack's own authority. For a Grafana "
        "without the gateway, which speaks TLS itself.",
    )
    events_api_listen_address: Address = Field(
        "127.0.0.1", description="Address on which the events API listens."
    )
    events_api_names: tuple[HostName, ...] = Field(
        (),
        description="Further names under which the events API is reached, as in `events.example.org`. Known are all addresses, the "
        "host's own name, and those in `grafana_root_url` and `cvat_url`; whoever asks for another one is answered 421.",
    )
    gateway_listen_address: Address = Field(
        "127.0.0.1",
        description="Address on which the gateway listens. Set it to the host's public address, or `0.0.0.0` for all, "
        "when people shall come in.",
    )
    cvat_url: OptionalHttpUrl = Field(
        "",
        description="CVAT's address as a browser reaches it, as in `https://cvat.example.org`: dashboards link to its tasks "
        "and jobs, and it is asked who a visitor is. Empty: no links, and visitors come from the file of local users.",
    )
    gateway_certificate: Path | None = Field(
        None,
        description="File on your own machine with the gateway's certificate and its chain (PEM). Without one, the deploy makes a "
        "private authority beside the inventory (`certificates/ca.pem`) and a certificate signed by it.",
    )
    gateway_certificate_key: Path | None = Field(
        None, description="File with the certificate's private key (PEM, not encrypted)."
    )
    gateway_requests_per_second: Annotated[int, Field(ge=1, le=10_000)] = Field(
        100,
        description="How many requests a second the gateway takes from one address, five times as many for a moment; more are "
        "answered 429.",
    )
    gateway_connections_per_address: Annotated[int, Field(ge=20, le=5000)] = Field(
        600,
        description="How many connections to the gateway one address (IPv6: one /64) may have at once, those included on which nothing "
        "is said: nftables rules refuse more, with `firewall` or without. As many requests of one address are answered at once. A "
        "browser opens up to six, so 600 are a hundred people behind one address. `gateway_trusted_proxies` have no limit of connections.",
    )
    gateway_trusted_proxies: tuple[str, ...] = Field(
        (),
        description="Addresses or networks (CIDR) of the proxy through which people reach the gateway, such as CVAT's traefik: "
        "only from there the visitor's address is taken from `X-Forwarded-For`. Without them all its visitors count as one.",
    )
    firewall: bool = Field(
        False,
        description="Close the stack's own ports, by nftables rules in a table of their own, to everybody but this stack's hosts "
        "and the addresses allowed for each part. No other port of the host is touched.",
    )
    open_to_network: tuple[Literal["clickhouse", "vector", "grafana", "events_api"], ...] = Field(
        (),
        description="Parts that may listen on the network although neither `firewall` nor a password or TLS of theirs keeps strangers "
        "out, because something of your own does, such as a firewall in between. Without their names here a deploy refuses.",
    )
    vector_allowed_addresses: tuple[str, ...] = Field(
        (),
        description="Addresses or networks (CIDR), usually the CVAT host's, that may send events where `firewall` is on.",
    )
    grafana_allowed_addresses: tuple[str, ...] = Field(
        (),
        description="Addresses or networks (CIDR) that may reach Grafana and the events API directly, not through the gateway, where `firewall` is on.",
    )
    cvat_server_url: OptionalHttpUrl = Field(
        "",
        description="Address at which this stack asks CVAT's server who a visitor is (`/api/users/self`) and whether they have the "
        "analytics right (`/analytics`); empty means `cvat_url`. Needed where CVAT's proxy sends `/analytics` elsewhere.",
    )
    events_api_client_scopes: tuple[Scope, ...] = Field(
        (),
        description="Scopes that clients may send through the events API beside those that are known, such as a newer CVAT's.",
    )
    events_api_export_retention: Duration = Field(
        timedelta(hours=1), description="How long the events API keeps a finished export."
    )
    events_api_export_max_size: Size = Field(
        10 * 1024**3,
        description="How much disk the exports of one person may take together; those that were downloaded make room for new ones.",
        ge=2**20,
    )
    grafana_root_url: HttpUrl = Field(
        "",
        description="The address that people type to reach Grafana; its path is the sub-path under which Grafana answers "
        "(CVAT serves `/analytics`). Empty means `http://localhost:<grafana_port>/analytics/`, with `grafana_tls` `https`.",
    )
    grafana_serve_from_sub_path: bool = Field(
        True,
        description="Whether Grafana itself answers below the path of `grafana_root_url`. Set it to False when the proxy in "
        "front strips that path, as CVAT's own traefik does for `/analytics`.",
    )
    grafana_anonymous_viewer: bool = Field(
        False, description="Let visitors without a login read the dashboards (role Viewer, never more)."
    )
    grafana_language: Literal["en", "ja"] = Field(
        "en",
        description="Language of the dashboards' titles, descriptions and column names: `en` (English) or `ja` (Japanese).",
    )

    # What is installed
    package_source: str = Field(
        "vendor",
        description="Where packages come from: `vendor` (the vendors' apt repositories), the URL of an apt mirror, or the path of an offline bundle directory.",
    )
    package_signing_key: Path | None = Field(
        None, description="File with the mirror's public signing key. Needed when `package_source` is a URL."
    )
    clickhouse_version: Version = Field(
        "26.8.19.9", description="Exact version of the ClickHouse packages (an LTS release)."
    )
    vector_version: Version = Field("0.58.0-1", description="Exact version of the Vector package.")
    grafana_version: Version = Field("13.2.3", description="Exact version of the Grafana package.")
    grafana_plugin_version: Version = Field(
        "4.22.0", description="Exact version of Grafana's ClickHouse datasource plugin."
    )
    grafana_plugin_sha256: dict[Literal["amd64", "arm64"], Sha256] = Field(
        {
            "amd64": "2041f4c32160aeedc36c6e51cc996542b44c27f4595dd33546cb18018b30b8d8",
            "arm64": "530bef1ff592a5aa3ff43e391e7a66d8df875c940d051da4fe30ddac0e540543",
        },
        description="sha256 of the plugin's zip for each architecture.",
    )

    # What is stored, and for how long
    database: DatabaseName = Field("cvat", description="Name of the ClickHouse database.")
    cvat_columns: tuple[NewColumn, ...] = Field(
        (),
        description="Columns that a newer CVAT wants to add to the event table at its start, which `status` then names: a deploy adds them, "
        "empty, so that CVAT finds them there (docs/how-to/cvat-wants-a-column.md).",
    )
    events_retention: Retention = Field(
        None, description="How long events are kept, as in `400d`; `forever` keeps all."
    )
    names_retention: NamesRetention = Field(
        "events",
        description="How long people's names and e-mail addresses are kept after the last event that tells them: `events`, as long as "
        "events are (`events_retention`), or longer, as in `5y` or `forever`. After it dashboards show an id.",
    )
    dead_letters_retention: Retention = Field(
        timedelta(days=90), description="How long refused events (dead letters) are kept."
    )
    system_logs_retention: Retention = Field(
        timedelta(days=14),
        description="How long ClickHouse's own log tables are kept. They grow for ever where this is `forever`.",
    )
    journal_retention: Duration = Field(
        timedelta(days=30), description="How long the journal of accepted events is kept beside Vector."
    )
    journal_max_size: Size = Field(
        20 * 1024**3,
        description="How much disk the journal may take: beyond it, its oldest hours go before their time.",
        ge=2**20,
    )
    vector_buffer_size: Size = Field(
        1024**3,
        description="Disk space for events that wait while ClickHouse is away; at least 256 MiB.",
        ge=limits.SMALLEST_BUFFER,
    )

    # What is backed up, where to, and for how long
    backup_target: BackupTarget = Field(
        "",
        description="Where backups go (docs/how-to/back-up.md): a directory of ClickHouse's host as in `/mnt/backup/cvat`, another host over SSH as "
        "in `sftp:backup@host.example.org:/srv/cvat`, or an S3-compatible store as in `s3:https://s3.example.org/bucket`. Empty: no backup.",
    )
    backup_schedule: Calendar = Field(
        "*-*-* 02:30:00",
        description="When a backup is made, as systemd writes times (`OnCalendar=`), in the host's time zone unless it names one: `daily`, `Sun 03:00`, "
        "`*-*-* 00/6:00:00`, `02:30 UTC`. A time at which the host was off is caught up.",
    )
    backup_keep_daily: Kept = Field(
        7,
        description="Of how many of the last days that have backups the newest one is kept. What none of the three keeps goes after the next backup.",
    )
    backup_keep_weekly: Kept = Field(4, description="The same for weeks.")
    backup_keep_monthly: Kept = Field(12, description="The same for months.")
    backup_too_old: Duration = Field(
        timedelta(days=2),
        description="`status` says, and an alert, when the last good backup is older than this.",
        ge=timedelta(hours=1),
    )

    # How working time is computed
    working_time_threshold: Duration = Field(
        timedelta(seconds=100),
        description="A pause shorter than this counts as work (CVAT's own rule says 100 seconds).",
    )
    working_time_duration_scopes: tuple[Scope, ...] = Field(
        ("change:frame",), description="Scopes of events whose own duration counts as work."
    )
    working_time_delay: Duration = Field(
        timedelta(seconds=20),
        description="How often working time is brought up to date with the events that have arrived since, at most 1 minute.",
        le=timedelta(minutes=1),
        ge=timedelta(seconds=1),
    )
    time_zone: TimeZone = Field(
        "UTC",
        description="Time zone in which reports divide work into days, and of `alert_working_hours`, such as `Europe/Berlin`.",
    )

    # When somebody is told that something is wrong
    alerts: bool = Field(
        False,
        description="Have Grafana watch the pipeline and tell of it when something is wrong (docs/how-to/turn-on-alerts.md).",
    )
    alert_emails: tuple[MailAddress, ...] = Field(
        (), description="E-mail addresses that alerts go to; they need `smtp_host`."
    )
    alert_webhook_url: WebhookUrl = Field(
        "", description="URL to which alerts are posted as JSON, in the form of Grafana's webhook."
    )
    alert_webhook_token: bool = Field(
        False,
        description="Whether the webhook wants a token (`Authorization: Bearer`); give it with "
        "`cvat-analytics secrets set alert_webhook_token`.",
    )
    smtp_host: HostAndPort = Field(
        "", description="Mail server through which Grafana sends, as in `mail.example.org:587`."
    )
    smtp_user: GrafanaText = Field(
        "",
        description="Login at the mail server, if it wants one; give the password with `cvat-analytics secrets set smtp_password`.",
    )
    smtp_from: MailAddress = Field("cvat-analytics@localhost", description="Sender of the alerts' e-mails.")
    alert_working_days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = Field(
        ("mon", "tue", "wed", "thu", "fri"), description="Days on which events are expected."
    )
    alert_working_hours: Hours = Field(
        "08:00-18:00", description="Hours of those days in which events are expected, in `time_zone`."
    )
    alert_silence: Duration = Field(
        timedelta(hours=1),
        description="Alert when no event has arrived for longer than this in working hours.",
        ge=timedelta(minutes=5),
    )
    alert_exceptions: int = Field(
        20,
        description="Alert when there were more exceptions than this in 15 minutes, and five times the usual number.",
        ge=1,
    )
    alert_disk_full_within: Duration = Field(
        timedelta(days=14),
        description="Alert when a disk will be full within this time if things go on as they do.",
        ge=timedelta(days=1),
    )

    # How much of the host it may use
    memory_profile: Literal["auto", "small", "medium", "large"] = Field(
        "auto",
        description="ClickHouse's memory profile: `small` (hosts up to 6 GiB), `medium` (up to 24 GiB), `large`; `auto` chooses by the host's memory.",
    )
    clickhouse_memory_limit: Size | None = Field(
        None, description="Upper limit of ClickHouse's memory, as in `3GiB`; overrides the profile's."
    )
    clickhouse_max_queries: MaxQueries = Field(
        50,
        description="How many queries ClickHouse runs at the same time, whoever asks. `grafana_max_queries`, `events_api_max_queries` and "
        "`cvat_max_queries` together leave at least 12 of them to Vector and the administrator.",
        ge=1,
    )
    grafana_max_queries: MaxQueries = Field(
        15,
        description="How many queries the user `grafana` may run at the same time. Grafana itself keeps two thirds as many connections, and "
        "what comes beyond waits for one (docs/how-to/too-many-queries.md).",
        ge=query_limits.LEAST["grafana"],
    )
    events_api_max_queries: MaxQueries = Field(
        15,
        description="The same for the user `events_api`: the events API has places for exports, streams and short questions, and "
        "whoever comes beyond them waits.",
        ge=query_limits.LEAST["events_api"],
    )
    cvat_max_queries: MaxQueries = Field(
        5, description="The same for the user `cvat`, with which the CVAT server reads for its exports.", ge=1
    )
    grafana_memory_percent: Percent = Field(
        35,
        description="How much of ClickHouse's memory all queries of the user `grafana` may take together. "
        "The three shares leave at least 20 % to Vector's inserts and ClickHouse's own work.",
    )
    events_api_memory_percent: Percent = Field(25, description="The same for the user `events_api`.")
    cvat_memory_percent: Percent = Field(20, description="The same for the user `cvat`.")
    minimum_free_disk: Size = Field(
        10 * 1024**3, description="Free disk space that a host must have before anything is installed on it."
    )
    disk_reserve: Size = Field(
        2**30,
        description="What stays free on the disks of the data: with less, ClickHouse refuses what is to be inserted, with half of it Vector "
        "takes no events, so that CVAT keeps them, and goes on by itself when there is room. With less than twice as much every command "
        "says so first, and those that need room refuse to begin.",
        ge=2**24,
    )

    # How the deploy behaves
    secrets_file: Path | None = Field(
        None,
        description="File with the generated passwords; default `secrets.json` beside the inventory. Keep a copy in your password store.",
    )
    health_timeout: Duration = Field(
        timedelta(seconds=90), description="How long a deploy waits for a service to become healthy."
    )

    @field_validator("*", mode="before")
    @classmethod
    def _of_one_line(cls, value: Any) -> Any:
        return one_line(value)

    @model_validator(mode="before")
    @classmethod
    def _derive_root_url(cls, values: Any) -> Any:
        """Derive the default address of Grafana from its port, so that the port is defined once."""
        if isinstance(values, dict) and not values.get("grafana_root_url"):
            port = values.get("grafana_port", cls.model_fields["grafana_port"].default)
            scheme = "https" if values.get("grafana_tls") is True else "http"
            return values | {"grafana_root_url": f"{scheme}://localhost:{port}/analytics/"}
        return values

    @property
    def grafana_path(self) -> str:
        """Return the path below which Grafana itself answers, such as `/analytics`; empty for the root."""
        return urlsplit(self.grafana_root_url).path.rstrip("/") if self.grafana_serve_from_sub_path else ""

    @property
    def names_kept(self) -> timedelta | None:
        """Return how long people's names are kept after the last event that tells them; None for ever."""
        return self.events_retention if isinstance(self.names_retention, str) else self.names_retention

    @property
    def asked_cvat(self) -> str:
        """Return the CVAT that is asked who somebody is; empty where the file of local users says it."""
        return self.cvat_server_url or self.cvat_url

    @property
    def vector_sources(self) -> dict[str, int]:
        """Return the port of each of Vector's sources of events by the id under which Vector counts it.

        The id is the port's alone: with one that is handed on when the port moves, the new port would take over the old one's counts.
        """
        return {f"cvat_{port}": port for port in (self.vector_port, *self.vector_extra_ports)}

    @property
    def vector_speaks_tls(self) -> bool:
        """Return whether Vector takes events through TLS, with whichever certificate."""
        return self.vector_tls or self.vector_tls_certificate is not None

    @property
    def tls_by_authority(self) -> frozenset[str]:
        """Return the components, but for the gateway, that show a certificate of the stack's own authority."""
        enabled = {
            "clickhouse": self.clickhouse_tls,
            "vector": self.vector_tls and self.vector_tls_certificate is None,
            "grafana": self.grafana_tls,
        }
        return frozenset(component for component, tls in enabled.items() if tls)

    def listening_ports(self) -> dict[str, dict[str, int]]:
        """Return each component's ports by the setting that defines them."""
        with_tls = ("clickhouse_https_port", "clickhouse_native_tls_port") if self.clickhouse_tls else ()
        return {
            "clickhouse": {
                name: getattr(self, name)
                for name in ("clickhouse_http_port", "clickhouse_native_port", *with_tls)
            },
            "vector": self._vector_ports(),
            "grafana": {"grafana_port": self.grafana_port},
            "events_api": {"events_api_port": self.events_api_port},
            "gateway": {name: getattr(self, name) for name in ("gateway_https_port", "gateway_http_port")},
        }

    def _vector_ports(self) -> dict[str, int]:
        ports = {"vector_port": self.vector_port}
        ports |= {f"vector_extra_ports[{index}]": port for index, port in enumerate(self.vector_extra_ports)}
        ports["vector_large_port"] = self.vector_large_port
        return ports | ({"vector_metrics_port": self.vector_metrics_port} if self.vector_metrics_port else {})
