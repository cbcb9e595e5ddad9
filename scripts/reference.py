"""Write the pages that are made from the code: settings, commands, and the settings file with every default.

make docs
"""

from __future__ import annotations

import click

from cvat_analytics.base.project import ROOT
from cvat_analytics.config import reference
from scripts.cli import main as cli


def commands_page() -> str:
    """Return the text of docs/reference/commands.md."""
    parts = [
        "# Commands\n",
        "`make setup` puts `cvat-analytics` into `.venv/bin`. Exit codes: 0 fine; 1 a check or a step failed; 2 bad input or",
        "settings, with nothing changed; 3 a part of the stack cannot be reached. What goes wrong is said in one message.",
        "This page is written from the commands' own help (`make docs`).\n",
    ]
    context = click.Context(cli, info_name="cvat-analytics", **cli.context_settings)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        parts += _help(command, context, name) if command else []
    return "\n".join(parts)


def _help(command: click.Command, parent: click.Context, name: str) -> list[str]:
    context = click.Context(command, info_name=name, parent=parent, max_content_width=110, terminal_width=110)
    parts = [f"## {context.command_path}\n", "```text", command.get_help(context), "```\n"]
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            subcommand = command.get_command(context, child)
            parts += _help(subcommand, context, child) if subcommand else []
    return parts


PAGES = {
    "docs/reference/commands.md": commands_page,
    "docs/reference/settings.md": reference.settings_page,
    "inventory/group_data/all.py": reference.group_data,
}
"""The files made from the code, and what makes each."""


def main() -> None:
    """Write every page."""
    for path, make in PAGES.items():
        (ROOT / path).write_text(make())


if __name__ == "__main__":
    main()
