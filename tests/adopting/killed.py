"""Runs `cvat-analytics adopt` in processes that kill themselves (SIGKILL) at a point that the test names.

Started as a program: it loads the libraries once, and forks a process for each line on its standard input, `{"point": …, "arguments": […],
"output": …}`. It answers with how that one ended.
"""

from __future__ import annotations

import functools
import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

from cvat_analytics.base.project import ROOT
from cvat_analytics.dashboards import grafana
from cvat_analytics.importing import copying, tables
from cvat_analytics.operate.adopt import carrying, containers, hand_made, survey
from scripts.cli import main
from scripts.target import Target
from tests.clickhouse import Store, way_to


def _die(*_: object, **__: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def _dies_after(owner: Any, name: str, nth: int, when: Callable[..., bool] = lambda *_, **__: True) -> None:
    """Let the process die when `name` of `owner` has done its work for the nth time."""
    original = getattr(owner, name)
    done = 0

    @functools.wraps(original)
    def dying(*arguments: Any, **options: Any) -> Any:
        nonlocal done
        result = original(*arguments, **options)
        done += when(*arguments, **options)
        if done == nth:
            _die()
        return result

    setattr(owner, name, dying)


def _prepare(point: str) -> None:
    survey.copying.plan = functools.partial(copying.plan, chunk_rows=500)
    if point == "copy":
        # stored, and not in the ledger yet
        _dies_after(tables.Table, "insert", 2)
    elif point == "rest":
        stopped: list[tuple[str, ...]] = []
        stop = containers.Compose.stop

        def stopping(compose: containers.Compose, *services: str) -> None:
            stop(compose, *services)
            stopped.append(services)

        containers.Compose.stop = stopping  # type: ignore[method-assign,assignment]
        _dies_after(tables.Table, "insert", 1, lambda *_: bool(stopped))
    elif point == "a file":
        hand_made._put = _die
    elif point == "a dashboard":
        _dies_after(grafana.Grafana, "write", 1)
    elif point == "the wait":
        carrying.time = SimpleNamespace(monotonic=carrying.time.monotonic, sleep=_die)  # type: ignore[assignment]
    elif point == "compared":
        _dies_after(copying.Copy, "compare", 1)
    elif point == "noted":
        _dies_after(copying.Ledger, "enter", 1, lambda _, days: 0 in days)
    elif point:
        _dies_after(containers.Compose, "stop", 1, lambda _, service: service == point)


@dataclass
class Runs:
    """A process that has everything loaded, and forks one for each run."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls, store: Store, grafana_address: tuple[str, int], directory: Path, path: str) -> Runs:
        """Start it for a stack with that ClickHouse and Grafana."""
        given = directory / "stack.pickle"
        given.write_bytes(pickle.dumps((store.context, grafana_address)))
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.adopting.killed", str(given)],
            cwd=ROOT, env=os.environ | {"PATH": path}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        return cls(process)

    def begin(self, point: str, arguments: Sequence[object], output: Path) -> None:
        """Begin a run, which dies at `point` (empty: it does not), and prints into `output`."""
        assert self.process.stdin
        run = {"point": point, "arguments": [str(each) for each in arguments], "output": str(output)}
        self.process.stdin.write(json.dumps(run) + "\n")
        self.process.stdin.flush()

    def end(self) -> int:
        """Return the exit code of the run, below 0 the signal that ended it."""
        assert self.process.stdout
        return int(self.process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def _serve(given: Path) -> None:
    context, address = pickle.loads(given.read_bytes())
    for line in sys.stdin:
        run = json.loads(line)
        child = os.fork()
        if not child:
            output = os.open(run["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            _prepare(run["point"])
            Target.reach = lambda target, **how: nullcontext(way_to(context, grafana=address))  # type: ignore[method-assign,assignment]
            Target.embedded = lambda target: SimpleNamespace(context=lambda: context)  # type: ignore[method-assign,assignment,return-value]
            try:
                main(run["arguments"])
            finally:
                sys.stdout.flush()
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
