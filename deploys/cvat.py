"""What the CVAT side has to be told: remembered on the host of the store, so that a deploy can say what is new."""

from __future__ import annotations

from hashlib import sha256
from pathlib import PurePath

from pyinfra import host
from pyinfra.api import StringCommand, operation

from cvat_analytics.gateway import cvat_env
from deploys.facts import STATE_DIRECTORY, FileText
from deploys.operations import Commands
from deploys.plan import Plan
from deploys.report import tell

_NOTE = f"{STATE_DIRECTORY}/cvat-environment"


def apply(plan: Plan) -> None:
    """Say which of CVAT's settings are new or have changed since the last deploy, and which of the files that it is given."""
    if "clickhouse" in plan.components:
        env = cvat_env.environment(plan.topology)
        files = {}
        if env.rule:
            # the authority in it takes no part: a later host of this run may be the one that makes it
            files[cvat_env.RULE] = cvat_env.as_traefik(plan.topology, None)
        if env.authority:
            files[cvat_env.AUTHORITY] = plan.context.signing().make().certificate
        told(
            name="CVAT: what it has to be told",
            environment=dict(env.values),
            files={PurePath(name).name: sha256(text.encode()).hexdigest() for name, text in files.items()},
        )


@operation()
def told(environment: dict[str, str], files: dict[str, str]) -> Commands:
    """Note what CVAT has to be told, and report what of it is new.

    + environment: names and values, no secrets
    + files: names and checksums of what lies beside CVAT's docker-compose.yml
    """
    text = cvat_env.as_env(environment | files)
    before = host.get_fact(FileText, path=_NOTE)
    if before == text:
        host.noop("nothing that CVAT has to be told has changed")
        return
    known = dict(line.split("=", 1) for line in before.splitlines() if "=" in line)
    for name, value in environment.items():
        if known.get(name) != value:
            was = f"  (was {known[name]})" if name in known else ""
            tell("cvat setting", text=f"{name}={value}{was}")
    for name, checksum in files.items():
        if known.get(name) != checksum:
            tell("cvat file", name=name, change="has changed" if name in known else "is new")
    yield f"install -d -m 755 {STATE_DIRECTORY}"
    yield StringCommand(f"cat > {_NOTE}", _stdin=text.splitlines())
