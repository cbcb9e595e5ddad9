"""A host after its first deploy with the defaults, kept as an image: tests of what comes later begin there.

First deploys have tests of their own. The archive that calls itself Debian is there when this one is made, as on every Debian host.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import image
from . import inventory as inventories
from .command import deploy
from .lab import Lab
from .repository import Repository


@dataclass(frozen=True)
class DeployedImage:
    """The image, and what its deploy has left where the operator works: passwords, and whatever else is beside the inventory."""

    tag: str
    directory: Path

    def lend(self, inventory: Path) -> None:
        """Put what goes with such a host beside `inventory`, unless it is there."""
        inventory.mkdir(parents=True, exist_ok=True)
        for kept in self.directory.iterdir():
            if kept.name not in ("hosts.py", "group_data") and not (inventory / kept.name).exists():
                (shutil.copytree if kept.is_dir() else shutil.copy2)(kept, inventory / kept.name)


@contextmanager
def deployed_image(
    lab: Lab, directory: Path, debian: Repository, settings: dict[str, Any]
) -> Iterator[DeployedImage]:
    """Deploy to one more host, yield what is left of it as an image, and remove that at the end."""
    host = lab.start()
    try:
        host.offer_debian(debian)
        host.run("apt-get -q update")
        inventory = inventories.write(directory, host, **settings)
        deploy(inventory)
        # whoever begins here has another name: nothing is to be known of this one, which will be silent
        host.run("systemctl stop vector")
        host.run(
            "clickhouse-client --config-file=/etc/cvat-analytics/secrets/clickhouse-client.xml "
            "--query 'TRUNCATE TABLE cvat.pipeline_metrics SYNC'"
        )
        host.container.stop(timeout=60)  # in order, so that all of it is on disk
        tag = f"deployed-{lab.run_id}"
        host.container.commit(repository=image.REPOSITORY, tag=tag)
    finally:
        lab.destroy(host)
    try:
        yield DeployedImage(f"{image.REPOSITORY}:{tag}", inventory.parent)
    finally:
        lab.client.images.remove(f"{image.REPOSITORY}:{tag}", force=True)
