"""The order of a rollout. Run it with `make deploy`, or `pyinfra inventory/hosts.py deploy.py`.

Everything that can be refused is refused in `plan.make`, before the first change. Every install comes before every
configuration, and every configuration before every start.
"""

from deploys import clickhouse, grafana, plan, vector

wanted = plan.make(plan.inventory_file())

if "clickhouse" in wanted.components:
    clickhouse.install(wanted)
if "vector" in wanted.components:
    vector.install(wanted)
if "grafana" in wanted.components:
    grafana.install(wanted)

if "clickhouse" in wanted.components:
    clickhouse.configure(wanted)
if "vector" in wanted.components:
    vector.configure(wanted)
if "grafana" in wanted.components:
    grafana.configure(wanted)

if "clickhouse" in wanted.components:
    clickhouse.activate(wanted)
if "vector" in wanted.components:
    vector.activate(wanted)
if "grafana" in wanted.components:
    grafana.activate(wanted)
