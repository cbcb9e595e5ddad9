"""Settings from the values that an operator has given: all mistakes at once, one line each."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError
from cvat_analytics.config import conflicts
from cvat_analytics.config.settings import Settings


def validate(values: Mapping[str, Any], *, where: str) -> Settings:
    """Return the settings in `values`.

    `where` names the source of the values in messages, such as a file. Raises InputError that lists every mistake,
    one line each; for an unknown setting with the nearest known one.
    """
    mistakes = []
    code = Code.SETTING_WRONG
    for name in values.keys() - Settings.model_fields.keys():
        near = difflib.get_close_matches(name, Settings.model_fields, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "docs/reference/settings.md lists all settings"
        mistakes.append(f"unknown setting {name!r}: {hint}")
    try:
        settings = Settings(
            **{name: value for name, value in values.items() if name in Settings.model_fields}
        )
    except ValidationError as error:
        for detail in error.errors():
            name = ".".join(str(part) for part in detail["loc"])
            reason = detail["msg"].removeprefix("Value error, ")
            if detail["type"] == "tuple_type":
                reason = "is not a list. Write it in brackets, one value too: [...]"
            mistakes.append(
                f"setting {name!r}: {reason} (got {detail['input']!r})"
                if repr(detail["input"]) not in reason
                else f"setting {name!r}: {reason}"
            )
    else:
        code = code if mistakes else Code.SETTINGS_CONFLICT
        mistakes += conflicts.found(settings)
    if mistakes:
        raise InputError(code, "\n".join(f"{where}: {mistake}" for mistake in sorted(mistakes)))
    return settings
