"""Run the equivalent playbook with ansible-core, at its defaults or tuned, and read its recap."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.report import BenchmarkError, tail

PLAYBOOK = Path(__file__).parent / "ansible" / "playbook.yml"
_PROGRAM = Path(sys.executable).with_name("ansible-playbook")
_RECAP = re.compile(r"ok=(\d+) +changed=(\d+)")
_STEP = re.compile(r"^(?:ok|changed): ", re.MULTILINE)
_TASK_OR_CHANGE = re.compile(
    r"^(?:(?:TASK|RUNNING HANDLER) \[(.*)\] \*+|(?:changed: .*?(?:\(item=(.*)\))?))$", re.MULTILINE
)


@dataclass(frozen=True, eq=False)
class Variant:
    """One way to configure Ansible: its environment variables, and variables of the playbook."""

    name: str
    environment: dict[str, str] = field(default_factory=dict)
    variables: dict[str, Any] = field(default_factory=dict)


DEFAULTS = Variant("defaults", variables={"facts_subset": ["all"]})
TUNED = Variant(
    "tuned",
    # one SSH round trip per module instead of several; connections stay open between runs
    {
        "ANSIBLE_PIPELINING": "True",
        "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=600s",
        "ANSIBLE_FORKS": "20",
        "ANSIBLE_INJECT_FACT_VARS": "False",
    },
    # the one fact that the playbook uses, and no search for a Python
    {
        "facts_subset": ["!all", "!min", "distribution"],
        "ansible_python_interpreter": "/usr/bin/python3",
    },
)


@dataclass(frozen=True)
class Run:
    """What one run took and did."""

    seconds: float
    tasks: int
    """Tasks that ran, a loop as one."""
    steps: int
    """Tasks that ran, and each item of a loop."""
    changes: Sequence[str]
    """The tasks, with the items of loops, that changed something."""


def changes(output: str) -> list[str]:
    """Return what Ansible says that it has changed, as `task: item`."""
    found, task = [], ""
    for match in _TASK_OR_CHANGE.finditer(output):
        if match[1] is not None:
            task = match[1]
        else:
            found.append(f"{task}: {match[2]}" if match[2] else task)
    return found


class Ansible:
    """Ansible with a laid out inventory (benchmarks.layout). Its own state is below the layout's directory."""

    def __init__(self, inventory: Path) -> None:
        self._inventory = inventory
        self._directory = inventory.parent
        (self._directory / "ansible.cfg").touch()

    def run(self, variant: Variant) -> Run:
        """Run the playbook as an operator does; the whole process is timed. Raises BenchmarkError when it fails."""
        command = [
            *(str(_PROGRAM), "-i", str(self._inventory), str(PLAYBOOK)),
            *("-e", f"@{self._directory / 'variables.json'}", "-e", json.dumps(variant.variables)),
        ]
        began = time.perf_counter()
        done = subprocess.run(
            command, env=self._environment(variant), capture_output=True, text=True, timeout=900, check=False
        )
        seconds = time.perf_counter() - began
        recap = _RECAP.search(done.stdout)
        if done.returncode != 0 or not recap:
            raise BenchmarkError(f"the playbook failed ({variant.name}):\n{tail(done.stdout + done.stderr)}")
        tasks, changed = int(recap[1]), changes(done.stdout)
        if bool(changed) != (recap[2] != "0"):
            raise BenchmarkError(f"the playbook's recap does not match its tasks:\n{tail(done.stdout)}")
        return Run(seconds, tasks, len(_STEP.findall(done.stdout)), changed)

    def _environment(self, variant: Variant) -> dict[str, str]:
        # nothing of the tester's own configuration of Ansible takes part
        own = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        return {
            **own,
            "ANSIBLE_CONFIG": str(self._directory / "ansible.cfg"),
            "ANSIBLE_HOME": str(self._directory),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self._control(variant)),
            "ANSIBLE_NOCOLOR": "1",
            "LC_ALL": "C.UTF-8",
            **variant.environment,
        }

    def _control(self, variant: Variant) -> Path:
        return self._directory / f"cp-{variant.name}"

    def close(self) -> None:
        """End the SSH connections that Ansible has left open."""
        for variant in (DEFAULTS, TUNED):
            for socket in self._control(variant).glob("*"):
                subprocess.run(
                    ["ssh", "-F", os.devnull, "-o", f"ControlPath={socket}", "-O", "exit", "host"],
                    capture_output=True,
                    check=False,
                )
