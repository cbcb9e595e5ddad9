"""CVAT's containers on the stock side, through the `docker` program as the operator's shell has it: here, or where DOCKER_HOST leads.

They are looked at and stopped, never removed: the stock Grafana has no volume, so that its dashboards end with its container.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError

VECTOR, GRAFANA, CLICKHOUSE = "cvat_vector", "cvat_grafana", "cvat_clickhouse"
_AT_STOCK = ("vector", VECTOR)
"""How CVAT's own services name the stock Vector."""
_SENDS_TO = "DJANGO_LOG_SERVER_HOST="
_GRACE = 60
"""Seconds that a container has to end by itself: Vector delivers what it holds."""
_PATIENCE = 30.0


@dataclass(frozen=True)
class Containers:
    """What docker has told. `unknown`: why it has told nothing of the stock services."""

    unknown: str = ""
    running: Sequence[str] = field(default=())
    """Of the stock services those that run."""
    stopped: Sequence[str] = field(default=())
    still_sending: Sequence[str] = field(default=())
    """Services of CVAT's that run and send their events to the stock Vector."""
    starts: str = ""
    """The stock services' containers and when each was started: another text as soon as one was made anew or started again."""


@dataclass(frozen=True)
class Compose:
    """CVAT's compose project."""

    project: str

    def look(self) -> Containers:
        """Return what docker says of the project now."""
        label = f"label=com.docker.compose.project={self.project}"
        try:
            ids = self._docker("ps", "--all", "--quiet", "--filter", label).split()
            if not ids:
                return Containers(
                    f"docker has no container of the compose project {self.project!r} (--project; DOCKER_HOST says which docker)"
                )
            found = _read(json.loads(self._docker("inspect", "--type", "container", *ids)))
            if found.running or found.stopped:
                return found
            return Containers(
                f"docker has no container of CVAT's analytics in the compose project {self.project!r} (--project; DOCKER_HOST says which docker)",
                still_sending=found.still_sending,
            )
        except CvatAnalyticsError as error:
            return Containers(str(error))
        except (ValueError, LookupError, TypeError, AttributeError):
            return Containers("docker has answered what cannot be read")

    def stop(self, *services: str) -> None:
        """Stop `services`, and return when they have ended. Raises CvatAnalyticsError with the command."""
        try:
            self._docker(*self._words("stop", services), patience=_GRACE * 3)
        except CvatAnalyticsError as error:
            raise CvatAnalyticsError(
                Code.ADOPT_NOT_STOPPED,
                f"{', '.join(services)}: not stopped ({error}). Stop them where CVAT's docker is, then run the same command again:\n"
                f" {self.command('stop', *services)}",
            ) from None

    def command(self, verb: str, *services: str) -> str:
        """Return the command that stops or starts `services`, for pasting."""
        return f"docker {shlex.join(self._words(verb, services))}"

    def _words(self, verb: str, services: Sequence[str]) -> list[str]:
        grace = ["-t", str(_GRACE)] if verb == "stop" else []
        return ["compose", "-p", self.project, verb, *grace, *services]

    def _docker(self, *words: str, patience: float = _PATIENCE) -> str:
        program = shutil.which("docker")
        if program is None:
            raise CvatAnalyticsError(Code.ADOPT_NOT_STOPPED, "there is no docker on this machine")
        try:
            # not where a compose file of somebody else's may lie
            done = subprocess.run(
                [program, *words], cwd="/", capture_output=True, text=True, timeout=patience, check=False
            )
        except subprocess.TimeoutExpired:
            raise CvatAnalyticsError(
                Code.ADOPT_NOT_STOPPED, f"docker {words[0]} gave no answer in {patience:.0f} s"
            ) from None
        except OSError as error:
            raise CvatAnalyticsError(
                Code.ADOPT_NOT_STOPPED, f"docker cannot be started ({error.strerror})"
            ) from None
        if done.returncode:
            said = " ".join(done.stderr.split())[:200]
            raise CvatAnalyticsError(
                Code.ADOPT_NOT_STOPPED, f"docker {words[0]}: {said or f'exit code {done.returncode}'}"
            )
        return done.stdout


def _read(described: Sequence[Mapping[str, Any]]) -> Containers:
    """Return what is in the answer of `docker inspect`; it has passwords, of which none is kept."""
    running, stopped, sending, starts = set[str](), set[str](), set[str](), []
    for each in described:
        config, state = each["Config"], each["State"]
        service = str(config["Labels"]["com.docker.compose.service"])
        if service in (VECTOR, GRAFANA, CLICKHOUSE):
            (running if state["Running"] else stopped).add(service)
            starts.append(f"{service} {each['Id']} {state['StartedAt']}")
        elif state["Running"]:
            hosts = [
                line.removeprefix(_SENDS_TO) for line in config["Env"] or () if line.startswith(_SENDS_TO)
            ]
            if hosts and hosts[-1] in _AT_STOCK:
                sending.add(service)
    return Containers(
        "", sorted(running), sorted(stopped - running), sorted(sending), ", ".join(sorted(starts))
    )
