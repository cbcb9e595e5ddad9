"""Write the pages that are made from the code: codes, settings, commands, and the settings file with every default.

make docs
"""

from __future__ import annotations

from copy import copy

import click

from cvat_analytics.base import explanations
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
        "`--dir DIRECTORY` and `--inventory FILE` say which stack a command is about: an embedded one below that directory (the default where",
        "both are there, in `.cvat-analytics`), or the deployed one of that inventory (`inventory/hosts.py` where `--dir` is not there), which is",
        "reached over its hosts' SSH. `-h` shows a command's help.\n",
    ]
    context = click.Context(cli, info_name="cvat-analytics", **cli.context_settings)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        parts += _help(command, context, name) if command else []
    return "\n".join(parts)


def _help(command: click.Command, parent: click.Context, name: str) -> list[str]:
    context = click.Context(command, info_name=name, parent=parent, max_content_width=110, terminal_width=110)
    shown = _without_what_is_said_once(command)
    parts = [f"## {context.command_path}\n", "```text", shown.get_help(context), "```\n"]
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            subcommand = command.get_command(context, child)
            parts += _help(subcommand, context, child) if subcommand else []
    return parts


def _without_what_is_said_once(command: click.Command) -> click.Command:
    """Return the command with the options that name the stack in its first line, and none that every command has."""
    shown = copy(command)
    named = [each for each in command.params if each.opts[0] in ("--dir", "--inventory")]
    shown.params = [each for each in command.params if each not in named]
    shown.add_help_option = False
    stack = " | ".join(f"{each.opts[0]} {each.make_metavar(click.Context(command))}" for each in named)
    pieces = [
        f"[{stack}]" if stack else "",
        "[OPTIONS]" if any(isinstance(each, click.Option) for each in shown.params) else "",
    ]
    shown.options_metavar = " ".join(filter(None, pieces))
    return shown


PAGES = {
    "docs/reference/codes.md": explanations.page,
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
