"""The order of a rollout. Run it with `make deploy`, or `pyinfra inventory/hosts.py deploy.py`.

Everything that can be refused is refused in `plan.make`, before the first change. Every install comes before every
configuration, every configuration before every start, and the store before those who write to it and read from it. The firewall
closes ports before what listens on them is started, and opens them when everything is: a deploy may end anywhere in between.
Where versions change the parts take turns: a run leaves out those whose turn has not come (scripts/upgrading.py).
"""

from deploys import (
    backup,
    clickhouse,
    cvat,
    departed,
    events_api,
    firewall,
    gateway,
    grafana,
    plan,
    record,
    vector,
)
from deploys.operations import managed_files, stage
from deploys.report import leaving

wanted = plan.make(plan.inventory_file())

record.begin()

if "gateway" in wanted.components:
    gateway.prepare(wanted)
if "clickhouse" in wanted.components:
    clickhouse.rebuild(wanted)

stage(name="all hosts: what is installed can be added to")

if "clickhouse" in wanted.components:
    clickhouse.install(wanted)
if "vector" in wanted.components:
    vector.install(wanted)
if "grafana" in wanted.components:
    grafana.install(wanted)
if "events_api" in wanted.components:
    events_api.install(wanted)
if "gateway" in wanted.components:
    gateway.install(wanted)
backup.install(wanted)
firewall.install(wanted)

stage(name="all hosts: installed")

if "clickhouse" in wanted.components:
    clickhouse.configure(wanted)
if "vector" in wanted.components:
    vector.configure(wanted)
if "grafana" in wanted.components:
    grafana.configure(wanted)
if "events_api" in wanted.components:
    events_api.configure(wanted)
if "gateway" in wanted.components:
    gateway.configure(wanted)
backup.configure(wanted)
firewall.configure(wanted)

stage(name="all hosts: configured")

firewall.close(wanted)
if "clickhouse" in wanted.components:
    clickhouse.activate(wanted)

stage(name="all hosts: the store is ready")

if "vector" in wanted.components:
    vector.activate(wanted)
if "grafana" in wanted.components:
    grafana.activate(wanted)
if "events_api" in wanted.components:
    events_api.activate(wanted)
if "gateway" in wanted.components:
    gateway.activate(wanted)
backup.activate(wanted)

# after what all hosts share, so that every Vector is at work by now
if "clickhouse" in wanted.components:
    clickhouse.settle(wanted)
if not leaving():
    managed_files(name="all services: nothing of TLS is left over", files=[], absent=wanted.left_over)
    firewall.open_again(wanted)
    departed.apply(wanted)
    cvat.apply(wanted)
    record.apply(wanted)
