"""A Vector that an earlier version has configured needs the rights of then, until its own host has been deployed."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from pyinfra import context

if TYPE_CHECKING:
    from cvat_analytics.rendering.context import Context


def question(directory: str) -> str:
    """Return the command that prints `former` where ClickHouse still lets Vector insert into the tables of events themselves.

    A deploy that was cut off leaves it so, and the next one goes on from there.
    """
    users = shlex.quote(f"{directory}/users.d/cvat-analytics.xml")
    return f"if grep -qE 'GRANT INSERT ON [^ ]+[.](events|[*])<' {users} 2>/dev/null; then echo former; fi"


def left_out(rendering: Context) -> str:
    """Return what is to be said where a Vector of an earlier version may stay at work, because this run does not come to its host."""
    left_out = [
        name
        for name in rendering.topology.groups["vector"]
        if not context.state.is_host_in_limit(context.inventory.get_host(name))
    ]
    if not rendering.former_vector or not left_out:
        return ""
    return (
        f"host {rendering.host}: Vector may go on inserting into the table of events itself, where nobody looks at the list of erasures, because "
        f"this deploy does not bring {', '.join(left_out)} to this version. A deploy without --limit ends that"
    )
