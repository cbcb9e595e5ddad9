"""Which part of the stack runs on which host.

One host for everything is the usual case: write its name (as SSH knows it, or `@local` for this machine) once.
For three hosts give each group its own list, and each host its private address:

    clickhouse = [("store.example.org", {"address": "10.0.0.5"})]

Data of a host: `ssh_user`, `ssh_port`, `ssh_key`, `ssh_hostname`, `_sudo`, `_sudo_password` are pyinfra's; everything
else is a setting (docs/reference/settings.md).
"""

# Your analytics host, for example: everything = ["analytics.example.org"]
everything: list[str] = []

clickhouse = everything
vector = everything
grafana = everything
events_api = everything
