"""Every setting of the stack, with its default. Change a line, run `make deploy`. See docs/reference/settings.md."""

# How to become administrator on the hosts: False when you log in as root.
_sudo = True


# --- Where things listen ---

# ClickHouse's HTTP port: Vector, CVAT and the events API use it.
clickhouse_http_port = 8123

# ClickHouse's native port: Grafana and clickhouse-client use it.
clickhouse_native_port = 9000

# Have ClickHouse speak TLS: on every address but 127.0.0.1 nothing else. The deploy makes its certificate with the
# stack's own authority (`certificates/ca.pem` beside the inventory), and this stack's other hosts verify it
# (docs/how-to/use-tls.md).
clickhouse_tls = False

# ClickHouse's HTTPS port, where `clickhouse_tls` is on.
clickhouse_https_port = 8443

# ClickHouse's native port with TLS, where `clickhouse_tls` is on.
clickhouse_native_tls_port = 9440

# Port on which Vector receives CVAT's events (CVAT's `DJANGO_LOG_SERVER_PORT`).
vector_port = 8282

# Further ports on which Vector receives events: the old one, for as long as a CVAT server may still send there.
vector_extra_ports = []

# Port on 127.0.0.1 at which Vector takes large requests up again, which it has put on disk before it answered.
vector_large_port = 8284

# Port on 127.0.0.1 where Vector shows all its metrics to Prometheus. `None`: not at all.
vector_metrics_port = None

# Grafana's HTTP port.
grafana_port = 3000

# HTTP port of the events API (`/api/events`).
events_api_port = 8283

# The gateway's HTTPS port, which people's browsers use.
gateway_https_port = 443

# The gateway's HTTP port; all it does is to send browsers on to HTTPS.
gateway_http_port = 80

# The host's own address on the private network, set per host. Needed as soon as the parts of the stack are on more
# than one host: the others reach it there. ClickHouse listens there only if another host needs it.
address = None

# Addresses on which ClickHouse listens beside 127.0.0.1, for example so that the CVAT server can read its exports.
clickhouse_listen_addresses = []

# Addresses or networks (CIDR) outside this stack that may log in to ClickHouse as `cvat`, usually the CVAT host's.
clickhouse_allowed_addresses = []

# Address on which Vector receives events. Set it to the private address that the CVAT host reaches.
vector_listen_address = "127.0.0.1"

# Have Vector take events through TLS only, with a certificate that the deploy makes with the stack's own authority.
# CVAT's own client speaks plain HTTP, so this is for a proxy in between or for other producers.
vector_tls = False

# File on your own machine with a certificate and its chain (PEM), in the place of the one that `vector_tls` makes;
# it turns TLS on by itself.
vector_tls_certificate = None

# File with the private key of `vector_tls_certificate` (PEM, not encrypted).
vector_tls_key = None

# With a name here, Vector takes events only with it and the password `vector_ingest` of the secrets (basic
# authentication). CVAT's own client sends no password.
vector_username = None

# Address on which Grafana listens.
grafana_listen_address = "127.0.0.1"

# Have Grafana speak HTTPS, with a certificate that the deploy makes with the stack's own authority. For a Grafana
# without the gateway, which speaks TLS itself.
grafana_tls = False

# Address on which the events API listens.
events_api_listen_address = "127.0.0.1"

# Further names under which the events API is reached, as in `events.example.org`. Known are all addresses, the
# host's own name, and those in `grafana_root_url` and `cvat_url`; whoever asks for another one is answered 421.
events_api_names = []

# Address on which the gateway listens. Set it to the host's public address, or `0.0.0.0` for all, when people shall
# come in.
gateway_listen_address = "127.0.0.1"

# CVAT's address as a browser reaches it, as in `https://cvat.example.org`: dashboards link to its tasks and jobs,
# and it is asked who a visitor is. Empty: no links, and visitors come from the file of local users.
cvat_url = ""

# File on your own machine with the gateway's certificate and its chain (PEM). Without one, the deploy makes a
# private authority beside the inventory (`certificates/ca.pem`) and a certificate signed by it.
gateway_certificate = None

# File with the certificate's private key (PEM, not encrypted).
gateway_certificate_key = None

# How many requests a second the gateway takes from one address, five times as many for a moment; more are answered
# 429.
gateway_requests_per_second = 100

# How many connections to the gateway one address (IPv6: one /64) may have at once, those included on which nothing
# is said: nftables rules refuse more, with `firewall` or without. As many requests of one address are answered at
# once. A browser opens up to six, so 600 are a hundred people behind one address. `gateway_trusted_proxies` have no
# limit of connections.
gateway_connections_per_address = 600

# Addresses or networks (CIDR) of the proxy through which people reach the gateway, such as CVAT's traefik: only
# from there the visitor's address is taken from `X-Forwarded-For`. Without them all its visitors count as one.
gateway_trusted_proxies = []

# Close the stack's own ports, by nftables rules in a table of their own, to everybody but this stack's hosts and
# the addresses allowed for each part. No other port of the host is touched.
firewall = False

# Parts that may listen on the network although neither `firewall` nor a password or TLS of theirs keeps strangers
# out, because something of your own does, such as a firewall in between. Without their names here a deploy refuses.
open_to_network = []

# Addresses or networks (CIDR), usually the CVAT host's, that may send events where `firewall` is on.
vector_allowed_addresses = []

# Addresses or networks (CIDR) that may reach Grafana and the events API directly, not through the gateway, where
# `firewall` is on.
grafana_allowed_addresses = []

# Address at which this stack asks CVAT's server who a visitor is (`/api/users/self`) and whether they have the
# analytics right (`/analytics`); empty means `cvat_url`. Needed where CVAT's proxy sends `/analytics` elsewhere.
cvat_server_url = ""

# Scopes that clients may send through the events API beside those that are known, such as a newer CVAT's.
events_api_client_scopes = []

# How long the events API keeps a finished export.
events_api_export_retention = "1h"

# How much disk the exports of one person may take together; those that were downloaded make room for new ones.
events_api_export_max_size = "10GiB"

# The address that people type to reach Grafana; its path is the sub-path under which Grafana answers (CVAT serves
# `/analytics`). Empty means `http://localhost:<grafana_port>/analytics/`, with `grafana_tls` `https`.
grafana_root_url = ""

# Whether Grafana itself answers below the path of `grafana_root_url`. Set it to False when the proxy in front
# strips that path, as CVAT's own traefik does for `/analytics`.
grafana_serve_from_sub_path = True

# Let visitors without a login read the dashboards (role Viewer, never more).
grafana_anonymous_viewer = False

# Language of the dashboards' titles, descriptions and column names: `en` (English) or `ja` (Japanese).
grafana_language = "en"


# --- What is installed ---

# Where packages come from: `vendor` (the vendors' apt repositories), the URL of an apt mirror, or the path of an
# offline bundle directory.
package_source = "vendor"

# File with the mirror's public signing key. Needed when `package_source` is a URL.
package_signing_key = None

# Exact version of the ClickHouse packages (an LTS release).
clickhouse_version = "26.8.19.9"

# Exact version of the Vector package.
vector_version = "0.58.0-1"

# Exact version of the Grafana package.
grafana_version = "13.2.3"

# Exact version of Grafana's ClickHouse datasource plugin.
grafana_plugin_version = "4.22.0"

# sha256 of the plugin's zip for each architecture.
grafana_plugin_sha256 = {
    "amd64": "2041f4c32160aeedc36c6e51cc996542b44c27f4595dd33546cb18018b30b8d8",
    "arm64": "530bef1ff592a5aa3ff43e391e7a66d8df875c940d051da4fe30ddac0e540543",
}


# --- What is stored, and for how long ---

# Name of the ClickHouse database.
database = "cvat"

# Columns that a newer CVAT wants to add to the event table at its start, which `status` then names: a deploy adds
# them, empty, so that CVAT finds them there (docs/how-to/cvat-wants-a-column.md).
cvat_columns = []

# How long events are kept, as in `400d`; `forever` keeps all.
events_retention = "forever"

# How long people's names and e-mail addresses are kept after the last event that tells them: `events`, as long as
# events are (`events_retention`), or longer, as in `5y` or `forever`. After it dashboards show an id.
names_retention = "events"

# How long refused events (dead letters) are kept.
dead_letters_retention = "90d"

# How long ClickHouse's own log tables are kept. They grow for ever where this is `forever`.
system_logs_retention = "14d"

# How long the journal of accepted events is kept beside Vector.
journal_retention = "30d"

# How much disk the journal may take: beyond it, its oldest hours go before their time.
journal_max_size = "20GiB"

# Disk space for events that wait while ClickHouse is away; at least 256 MiB.
vector_buffer_size = "1GiB"


# --- What is backed up, where to, and for how long ---

# Where backups go (docs/how-to/back-up.md): a directory of ClickHouse's host as in `/mnt/backup/cvat`, another host
# over SSH as in `sftp:backup@host.example.org:/srv/cvat`, or an S3-compatible store as in
# `s3:https://s3.example.org/bucket`. Empty: no backup.
backup_target = ""

# When a backup is made, as systemd writes times (`OnCalendar=`), in the host's time zone unless it names one:
# `daily`, `Sun 03:00`, `*-*-* 00/6:00:00`, `02:30 UTC`. A time at which the host was off is caught up.
backup_schedule = "*-*-* 02:30:00"

# Of how many of the last days that have backups the newest one is kept. What none of the three keeps goes after the
# next backup.
backup_keep_daily = 7

# The same for weeks.
backup_keep_weekly = 4

# The same for months.
backup_keep_monthly = 12

# `status` says, and an alert, when the last good backup is older than this.
backup_too_old = "2d"


# --- How working time is computed ---

# A pause shorter than this counts as work (CVAT's own rule says 100 seconds).
working_time_threshold = "100s"

# Scopes of events whose own duration counts as work.
working_time_duration_scopes = ["change:frame"]

# How often working time is brought up to date with the events that have arrived since, at most 1 minute.
working_time_delay = "20s"

# Time zone in which reports divide work into days, and of `alert_working_hours`, such as `Europe/Berlin`.
time_zone = "UTC"


# --- When somebody is told that something is wrong ---

# Have Grafana watch the pipeline and tell of it when something is wrong (docs/how-to/turn-on-alerts.md).
alerts = False

# E-mail addresses that alerts go to; they need `smtp_host`.
alert_emails = []

# URL to which alerts are posted as JSON, in the form of Grafana's webhook.
alert_webhook_url = ""

# Whether the webhook wants a token (`Authorization: Bearer`); give it with `cvat-analytics secrets set
# alert_webhook_token`.
alert_webhook_token = False

# Mail server through which Grafana sends, as in `mail.example.org:587`.
smtp_host = ""

# Login at the mail server, if it wants one; give the password with `cvat-analytics secrets set smtp_password`.
smtp_user = ""

# Sender of the alerts' e-mails.
smtp_from = "cvat-analytics@localhost"

# Days on which events are expected.
alert_working_days = ["mon", "tue", "wed", "thu", "fri"]

# Hours of those days in which events are expected, in `time_zone`.
alert_working_hours = "08:00-18:00"

# Alert when no event has arrived for longer than this in working hours.
alert_silence = "1h"

# Alert when there were more exceptions than this in 15 minutes, and five times the usual number.
alert_exceptions = 20

# Alert when a disk will be full within this time if things go on as they do.
alert_disk_full_within = "14d"


# --- How much of the host it may use ---

# ClickHouse's memory profile: `small` (hosts up to 6 GiB), `medium` (up to 24 GiB), `large`; `auto` chooses by the
# host's memory.
memory_profile = "auto"

# Upper limit of ClickHouse's memory, as in `3GiB`; overrides the profile's.
clickhouse_memory_limit = None

# How many queries ClickHouse runs at the same time, whoever asks. `grafana_max_queries`, `events_api_max_queries`
# and `cvat_max_queries` together leave at least 12 of them to Vector and the administrator.
clickhouse_max_queries = 50

# How many queries the user `grafana` may run at the same time. Grafana itself keeps two thirds as many connections,
# and what comes beyond waits for one (docs/how-to/too-many-queries.md).
grafana_max_queries = 15

# The same for the user `events_api`: the events API has places for exports, streams and short questions, and
# whoever comes beyond them waits.
events_api_max_queries = 15

# The same for the user `cvat`, with which the CVAT server reads for its exports.
cvat_max_queries = 5

# How much of ClickHouse's memory all queries of the user `grafana` may take together. The three shares leave at
# least 20 % to Vector's inserts and ClickHouse's own work.
grafana_memory_percent = 35

# The same for the user `events_api`.
events_api_memory_percent = 25

# The same for the user `cvat`.
cvat_memory_percent = 20

# Free disk space that a host must have before anything is installed on it.
minimum_free_disk = "10GiB"

# What stays free on the disks of the data: with less, ClickHouse refuses what is to be inserted, with half of it
# Vector takes no events, so that CVAT keeps them, and goes on by itself when there is room. With less than twice as
# much every command says so first, and those that need room refuse to begin.
disk_reserve = "1GiB"


# --- How the deploy behaves ---

# File with the generated passwords; default `secrets.json` beside the inventory. Keep a copy in your password
# store.
secrets_file = None

# How long a deploy waits for a service to become healthy.
health_timeout = "90s"
