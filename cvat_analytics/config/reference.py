"""The settings' reference, made from the model itself: docs/reference/settings.md and inventory/group_data/all.py.

`make docs` writes both; a test holds them against the model, so that no setting exists without documentation.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from datetime import timedelta
from typing import Any

from cvat_analytics.config.settings import Settings

_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
_SIZES = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


def as_written(value: Any, name: str = "") -> str:
    """Return a setting's value as an operator writes it in Python: `'90d'` for a timedelta, `'1GiB'` for a size."""
    if isinstance(value, timedelta):
        seconds = int(value.total_seconds())
        if value % timedelta(seconds=1):
            return f'"{value // timedelta(milliseconds=1)}ms"'
        unit, size = next((unit, size) for unit, size in _UNITS if seconds % size == 0)
        return f'"{seconds // size}{unit}"'
    if value is None and "retention" in name:
        return '"forever"'
    if isinstance(value, int) and not isinstance(value, bool) and value >= 2**20:
        unit, size = next((unit, size) for unit, size in _SIZES if value % size == 0)
        return f'"{value // size}{unit}"'
    if isinstance(value, dict):
        rows = "".join(f"    {_quoted(key)}: {as_written(item)},\n" for key, item in value.items())
        return f"{{\n{rows}}}"
    if isinstance(value, tuple):
        return f"[{', '.join(as_written(item) for item in value)}]"
    return _quoted(value) if isinstance(value, str) else repr(value)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def sections() -> dict[str, list[str]]:
    """Return the settings' names below the headings that stand as comments in the model."""
    by_title: dict[str, list[str]] = {}
    heading = ""
    for line in inspect.getsource(Settings).splitlines():
        comment, field = re.fullmatch(r"    # (.+)", line), re.match(r"    (\w+): ", line)
        if comment:
            heading = comment[1]
        elif field and field[1] in Settings.model_fields:
            by_title.setdefault(heading, []).append(field[1])
    return by_title


def settings_page() -> str:
    """Return the text of docs/reference/settings.md."""
    parts = [
        "# Settings\n",
        "Every setting stands in `inventory/group_data/all.py` with its default; a host may have its own value in",
        "`inventory/hosts.py`. Change a line, run `make deploy`: everything that depends on it follows, on all hosts.",
        "In brackets stands the default. Durations are written as `500ms`, `30s`, `15m`, `12h`, `90d`, `2w` or `1y`, sizes as `512MiB` or `2GiB`.",
        "This page is written from the settings model (`make docs`).\n",
    ]
    for heading, names in sections().items():
        parts.append(f"## {heading}\n")
        for name in names:
            field = Settings.model_fields[name]
            default = " ".join(as_written(field.default, name).split())
            # as a link from where the page stands, docs/reference/
            description = re.sub(
                r"\bdocs/([\w-]+)/([\w-]+)\.md", r"[\2](../\1/\2.md)", field.description or ""
            )
            parts.append(f"- **`{name}`** (`{default}`): {description}")
        parts.append("")
    return "\n".join(parts)


def group_data() -> str:
    """Return the text of inventory/group_data/all.py."""
    parts = [
        '"""Every setting of the stack, with its default. Change a line, run `make deploy`. See docs/reference/settings.md."""\n',
        "# How to become administrator on the hosts: False when you log in as root.\n_sudo = True\n",
    ]
    for heading, names in sections().items():
        parts.append(f"\n# --- {heading} ---\n")
        for name in names:
            field = Settings.model_fields[name]
            comment = textwrap.fill(field.description or "", 116, initial_indent="# ", subsequent_indent="# ")
            parts.append(f"{comment}\n{name} = {as_written(field.default, name)}\n")
    return "\n".join(parts)
