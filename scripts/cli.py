"""The entry point `cvat-analytics`: gathers the commands and turns errors into one message and an exit code.

Exit codes: 0 fine, 1 a check or a step failed, 2 bad input or settings, 3 a part cannot be reached.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from cvat_analytics.errors import CvatAnalyticsError
from scripts import demo, deploy, down, secrets, smoke, status, up


class _Commands(click.Group):
    """Ends a command that raises one of our errors with its text and its exit code, without a traceback."""

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


for command in (demo.demo, up.up, down.down, status.status, smoke.smoke, deploy.deploy, secrets.secrets):
    main.add_command(command)

if __name__ == "__main__":
    main()
