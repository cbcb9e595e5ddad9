"""The dashboards in another language: every text that people read, and nothing else, comes from a reviewed table.

`translate` with a table goes one way, with `inverted(table)` the other: what was edited in a Japanese Grafana comes back
to git in English. SQL, column names and variables' names are never touched, so links and filters stay what they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import InputError

LANGUAGES = Path(__file__).parents[2] / "grafana" / "languages"
"""One file per language: a list of pairs, the English text (`en`) and the translation under the language's code."""

Table = Mapping[str, str]

_TEXTS = frozenset({"title", "description", "label", "displayName", "noValue", "axisLabel"})
"""Keys whose value is read by people, wherever in a dashboard they are."""
_CUSTOM_OPTION = re.compile(r"\s*(?P<text>.+?)\s+:\s+(?P<value>.+?)\s*")
"""One choice of a custom variable. https://grafana.com/docs/grafana/latest/dashboards/variables/add-template-variables/#add-a-custom-variable"""


def read(language: str, directory: Path = LANGUAGES) -> dict[str, str]:
    """Return the table of a language; English needs none. Raises InputError for a file that is not such a table."""
    if language == "en":
        return {}
    file = directory / f"{language}.yaml"
    try:
        pairs = yaml.safe_load(file.read_text())
        return {pair["en"]: pair[language] for pair in pairs}
    except (OSError, yaml.YAMLError, LookupError, TypeError) as error:
        raise InputError(
            Code.LANGUAGE_FILE,
            f"{file}: is not a list of pairs `en` and `{language}` ({type(error).__name__}: {error})",
        ) from None


def inverted(table: Table) -> dict[str, str]:
    """Return the table that leads back."""
    return {translation: english for english, translation in table.items()}


def translate(dashboard: Mapping[str, Any], table: Table) -> dict[str, Any]:
    """Return `dashboard` with the texts as `table` has them; a text that it lacks stays as it is."""
    translated: dict[str, Any] = _mapped(dashboard, lambda text: table.get(text, text))
    return translated


def texts(dashboard: Mapping[str, Any]) -> list[str]:
    """Return the texts of `dashboard` that need a translation, in the order in which they stand there, each once."""
    ordered: dict[str, None] = {}

    def note(text: str) -> str:
        ordered[text] = None
        return text

    _mapped(dashboard, note)
    return list(ordered)


def _mapped(node: Any, change: Callable[[str], str]) -> Any:
    if isinstance(node, list):
        return [_mapped(each, change) for each in node]
    if not isinstance(node, Mapping):
        return node
    if node.get("type") == "custom" and isinstance(node.get("query"), str):
        return _custom_variable(node, change)
    # an annotation's and a value's name are read by people where nothing else says that they are
    own = (
        _TEXTS
        | ({"name"} if "iconColor" in node else set())
        | ({"value"} if node.get("id") in _TEXTS else set())
    )
    return {
        key: change(value) if key in own and _is_readable(value) else _mapped(value, change)
        for key, value in node.items()
    }


def _custom_variable(variable: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """Change the names of a custom variable's choices, in its definition and in the chosen one."""
    choices = [(match["text"], match["value"]) for match in _choices(variable["query"])]
    changed = {text: change(text) for text, _ in choices}
    rest = {key: value for key, value in variable.items() if key not in {"query", "current"}}
    current = variable.get("current", {})
    translated: dict[str, Any] = _mapped(rest, change)
    return translated | {
        "query": ", ".join(f"{changed[text]} : {value}" for text, value in choices),
        "current": {**current, "text": changed.get(current.get("text"), current.get("text"))},
    }


def _choices(query: str) -> Iterator[re.Match[str]]:
    for part in query.split(","):
        match = _CUSTOM_OPTION.fullmatch(part)
        if not match:
            raise InputError(
                Code.DASHBOARD_QUERY, f"custom variable with {query!r}: write each choice as `text : value`"
            )
        yield match


def _is_readable(value: object) -> bool:
    """Return whether a text has words of its own: not only variables, and not only signs."""
    return isinstance(value, str) and any(map(str.isalpha, re.sub(r"\$\{[^}]*\}", "", value)))
