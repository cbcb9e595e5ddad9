"""What the events API imports on a host is what `requirements-events-api.in` names, no less and no more."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import packages_distributions

from cvat_analytics.base.project import ROOT
from cvat_analytics.rendering.events_api_archive import program


def normalized(name: str) -> str:
    """Return a distribution's name as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def imported() -> set[str]:
    """Return the packages and modules that the archive's modules import, by the first part of their names."""
    names = set()
    for path, content in program().items():
        for node in ast.walk(ast.parse(content)) if path.endswith(".py") else ():
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(str(node.module))
    return {name.partition(".")[0] for name in names}


def test_imports_are_declared_and_what_is_declared_is_imported() -> None:
    text = (ROOT / "requirements-events-api.in").read_text()
    declared = {normalized(name) for name in re.findall(r"^[\w.-]+", text, re.MULTILINE)}
    providers = packages_distributions()
    # `compression` is a part of Python from 3.14 on
    others = imported() - set(sys.stdlib_module_names) - {"cvat_analytics", "compression"}
    used = {normalized(each) for name in others for each in providers[name]}
    assert used == declared
