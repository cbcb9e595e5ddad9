"""The agent's command line. Exit codes: 0 fine, 1 a step failed, 2 bad input or settings, 3 something cannot be reached."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from cvat_analytics.operate.backup.agent import config, report


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="cvat-analytics-backup", description="Back up what is on this machine."
    )
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--target", help="in the place of the configuration's")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("create", help="make a backup")
    commands.add_parser("list", help="list the backups that are complete")
    verify = commands.add_parser("verify", help="check the repository's data, and with --restore a backup")
    verify.add_argument("name", nargs="?", help="the backup (default: the newest)")
    verify.add_argument("--restore", action="store_true", help="restore it beside the live data and compare")
    commands.add_parser("prune", help="forget what is older than is to be kept")
    arguments = parser.parse_args()
    try:
        settings = config.load(arguments.config)
        if arguments.target:
            settings = replace(settings, target=arguments.target)
        raise report.AgentError(f"{arguments.command}: not there yet")
    except report.AgentError as error:
        return report.result(error.exit_code, str(error))


if __name__ == "__main__":
    sys.exit(main())
