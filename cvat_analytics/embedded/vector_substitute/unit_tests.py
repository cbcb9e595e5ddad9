"""Run Vector's own unit tests of a configuration (`[[tests]]`), as `vector test` does."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import vector_vrl

from cvat_analytics.embedded.vector_substitute import remap
from cvat_analytics.embedded.vector_substitute.config import Component, Config, ConfigError


def read(path: Path) -> list[dict[str, Any]]:
    """Return the tests in `path`. Raises ConfigError when they cannot be read."""
    try:
        tests: list[dict[str, Any]] = tomllib.loads(path.read_text())["tests"]
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{path}: {error}") from None
    return tests


def run(config: Config, path: Path) -> list[str]:
    """Return what fails of the tests in `path`, a line each. Raises ConfigError when they cannot be read."""
    return [failure for test in read(path) if (failure := failure_of(test, config.transforms))]


def failure_of(test: Mapping[str, Any], transforms: tuple[Component, ...]) -> str:
    """Return why `test` fails, "" when it passes. Raises ConfigError for a form of a test that is not implemented."""
    (entry,) = test["inputs"]
    if entry["type"] != "log":
        raise ConfigError(f"tests: {test['name']}: type {entry['type']!r} is not implemented")
    names = [transform.name for transform in transforms]
    chain = transforms[names.index(entry["insert_at"]) :]
    outputs = remap.run_all(chain, {chain[0]["inputs"][0]: [json.dumps(entry["log_fields"])]})
    for output in test["outputs"]:
        name = output["extract_from"]
        events = list(outputs.get(name, ()))
        if not events:
            return f"{test['name']}: {name} gave nothing, but: {outputs}"
        for condition in output["conditions"]:
            program = f'. = {{"event": to_string({{\n{condition["source"]}\n}})}}'
            results = vector_vrl.execute_vrl(program, events)
            if not any(result.get("event") == "true" for result in results):
                return f"{test['name']}: {results}"
    return ""
