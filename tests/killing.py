"""kill -9 in the middle of a command of the project's: by itself, as soon as it comes to a place in the code for the n-th time.

That is as abrupt as one from outside, and always at the same place: nothing is waited for, no machine is too slow.
"""

from __future__ import annotations

import base64
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Mapping

from cvat_analytics.base.project import ROOT
from cvat_analytics.rendering.context import Context

_COMMAND = """
import base64, importlib, os, pickle, signal, sys
from contextlib import nullcontext

where, times, done, values, way, *arguments = sys.argv[1:]


def found(place):
    module, _, name = place.partition(":")
    owner, *path = importlib.import_module(module), *name.split(".")
    for each in path[:-1]:
        owner = getattr(owner, each)
    return owner, path[-1]


for place, value in pickle.loads(base64.b64decode(values)).items():
    setattr(*found(place), value)
if way:
    from scripts import target
    from tests.clickhouse import way_to

    context, running = pickle.loads(base64.b64decode(way))
    target.Target.reach = lambda self, **how: nullcontext(way_to(context, **running))
owner, name = found(where)
original, calls = getattr(owner, name), []


def called(*given, **options):
    calls.append(1)
    if len(calls) < int(times):
        return original(*given, **options)
    if done:
        original(*given, **options)
    os.kill(os.getpid(), signal.SIGKILL)


setattr(owner, name, called)
from scripts.cli import main

main(arguments)
"""


def killed(
    place: str,
    *arguments: object,
    times: int = 1,
    done: bool = False,
    values: Mapping[str, object] | None = None,
    context: Context | None = None,
    text: str = "",
    **running: tuple[str, int],
) -> None:
    """Run `cvat-analytics` with `arguments`, which is killed as it calls `place` ("module:name") for the n-th time.

    `done`: right after the call. `values`: what else is set in its code, by place. `context`, `running`: which stack it reaches
    (`way_to`), where no option says it. `text`: what comes in on its standard input.
    """
    way = _packed((context, running)) if context else ""
    words = [place, str(times), "done" if done else "", _packed(dict(values or {})), way]
    ended = subprocess.run(
        [sys.executable, "-c", _COMMAND, *words, *map(str, arguments)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, input=text, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert ended.returncode == -signal.SIGKILL, f"{ended.returncode}: {ended.stdout}{ended.stderr}"


def _packed(value: object) -> str:
    return base64.b64encode(pickle.dumps(value)).decode()
