"""`cvat-analytics`: run the operator's commands, which stand beside the library, or in an installed wheel inside of it."""

from __future__ import annotations

import sys

from cvat_analytics.base.project import ROOT


def main() -> None:
    """Run the command that the arguments name."""
    # not at the top of everybody's site-packages, where other projects have a `scripts` too
    sys.path.insert(0, str(ROOT))
    from scripts.cli import main as commands

    commands()


if __name__ == "__main__":
    main()
