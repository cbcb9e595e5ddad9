"""What was deployed, noted on the host when all of it is: `status` tells by it what the inventory has beyond that."""

from __future__ import annotations

from cvat_analytics.config import deployed
from cvat_analytics.rendering.files import RenderedFile
from deploys import operations
from deploys.plan import Plan


def apply(plan: Plan) -> None:
    """Note the host's settings, as the last step: a deploy that is cut off before leaves the note as it was."""
    content = deployed.note(plan.settings, plan.components)
    operations.managed_files(
        name="all services: what is deployed is noted",
        files=[RenderedFile(deployed.NOTE, content, mode="600", effect="none")],
    )
