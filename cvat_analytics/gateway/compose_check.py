"""What the Docker Compose of this machine says of an override: the last word on it, where there is one."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

_PROGRAMS = (("docker", "compose"), ("docker-compose",))


def program() -> tuple[str, ...]:
    """Return how Docker Compose is called here; nothing where it is not installed (version 1 reads other files)."""
    for words in _PROGRAMS:
        if not shutil.which(words[0]):
            continue
        done = subprocess.run([*words, "version", "--short"], capture_output=True, text=True, check=False)
        if done.returncode == 0 and not done.stdout.startswith("1."):
            return words
    return ()


def complaint(files: Sequence[Path], override: str) -> str:
    """Return why Docker Compose does not take `override` after the compose files `files`; nothing if it does, or is not here."""
    words = program()
    if not words or not all(file.is_file() for file in files):  # a pipe has been read already
        return ""
    stated = [part for file in files for part in ("-f", str(file))]
    done = subprocess.run(
        [*words, *stated, "-f", "-", "--profile", "*", "config", "--quiet"],
        input=override, env={"CLICKHOUSE_PASSWORD": "x", **os.environ}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return " ".join(done.stderr.split()) if done.returncode else ""
