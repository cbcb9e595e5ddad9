"""The entry point `cvat-analytics`: gathers the commands and turns errors into one message and an exit code.

Exit codes: 0 fine, 1 a check or a step failed, 2 bad input or settings, 3 a part cannot be reached.
"""

from __future__ import annotations

import ast
import importlib
import keyword
import sys
from pathlib import Path
from typing import Any

import click

from cvat_analytics.base.codes import Code, marked
from cvat_analytics.base.errors import CvatAnalyticsError
from scripts import hints
from scripts.terminal import echo

COMMANDS = (
    "init", "demo", "up", "down", "status", "doctor", "smoke", "working-time", "dashboards", "replay", "dead-letters", "buffer", "cvat-env", "deploy", "move", "uninstall", "upgrade", "bundle", "secrets", "import", "stock", "adopt", "export", "users", "person", "certificates", "backup", "explain",
)  # fmt: skip


class _Commands(click.Group):
    """Imports a command when it is asked for, and ends it with one message when it raises one of our errors."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = _module(name)
        command: click.Command = getattr(importlib.import_module(f"scripts.{module}"), module)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with what they do. None is imported for that: with their libraries they take seconds."""
        limit = formatter.width - 6 - max(map(len, COMMANDS))
        with formatter.section("Commands"):
            formatter.write_dl([(name, _summary(name, limit)) for name in COMMANDS])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CvatAnalyticsError as error:
            for line in hints.pasteable(error.told).splitlines():
                # one blank at its beginning marks a line that is to be pasted
                given = line[1:] if line.startswith(" ") and line[1:2] != " " else line
                echo(given if line.startswith(" ") else f"cvat-analytics: {line}", err=True)
            hints.tell_more(error.code)
            sys.exit(error.exit_code)
        except click.UsageError as error:
            raise _with_code(error) from None

    def make_context(self, *arguments: Any, **named: Any) -> click.Context:
        try:
            return super().make_context(*arguments, **named)
        except click.UsageError as error:
            raise _with_code(error) from None


def _with_code(error: click.UsageError) -> click.UsageError:
    """Return what click prints, with the command's usage."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return error
    return click.UsageError(marked(error.format_message(), Code.COMMAND_LINE), error.ctx)


def _module(name: str) -> str:
    """Return what the command's module and function are called: Python lets none have the name `import`, or a hyphen."""
    return name.replace("-", "_") + ("_" if keyword.iskeyword(name) else "")


def _summary(name: str, limit: int) -> str:
    """Return the first sentence of the command's docstring, read from its file."""
    module = _module(name)
    tree = ast.parse((Path(__file__).parent / f"{module}.py").read_text())
    (function,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == module]
    text: str = click.Command(name, help=ast.get_docstring(function)).get_short_help_str(limit)
    return text


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(package_name="cvat-analytics")
def main() -> None:
    """Deploy, run and check the analytics stack of CVAT."""


if __name__ == "__main__":
    main()
