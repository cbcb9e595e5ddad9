"""The entry point `cvat-analytics`: gathers the commands and turns errors into one message and an exit code.

Exit codes: 0 fine, 1 a check or a step failed, 2 bad input or settings, 3 a part cannot be reached.
"""

from __future__ import annotations

import importlib
import keyword
import sys
from typing import Any

import click

from cvat_analytics.base.errors import CvatAnalyticsError

COMMANDS = (
    "init", "demo", "up", "down", "status", "smoke", "working-time", "dashboards", "replay", "dead-letters", "buffer", "cvat-env", "deploy", "bundle", "secrets", "import", "stock", "export", "users", "certificates",
)  # fmt: skip


class _Commands(click.Group):
    """Imports a command when it is asked for, and ends it with one message when it raises one of our errors."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        # names that Python does not let a module or a function have: `import`, and those with a hyphen
        module = name.replace("-", "_") + ("_" if keyword.iskeyword(name) else "")
        command: click.Command = getattr(importlib.import_module(f"scripts.{module}"), module)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CvatAnalyticsError as error:
            for line in str(error).splitlines():
                click.echo(f"cvat-analytics: {line}" if not line.startswith(" ") else line, err=True)
            sys.exit(error.exit_code)


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(package_name="cvat-analytics")
def main() -> None:
    """Deploy, run and check the analytics stack of CVAT."""


if __name__ == "__main__":
    main()
