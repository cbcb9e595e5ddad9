"""`make faults`: break the pipeline for as long as wanted, and count (docs/why/faults.md).

Exit code 0 when every acknowledged event is there once, 1 otherwise; the seed is in the last line.
"""

from __future__ import annotations

import json
import random
import signal
import sys
import tempfile
from pathlib import Path

import click

from tests.faults import harness
from tests.faults.embedded import Embedded
from tests.faults.kinds import FAULTS


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option(
    "--minutes",
    type=click.FloatRange(min=0),
    default=30.0,
    help="How long; at least one round of all faults.",
)
@click.option("--seed", type=int, help="Order and length of the faults; default a new one.")
@click.option("--rate", type=click.FloatRange(min=1, max=500), default=50.0, help="Events per second.")
@click.option(
    "--longest", type=click.FloatRange(min=1), default=15.0, help="Longest time that a fault lasts, seconds."
)
@click.option(
    "--only", "names", multiple=True, help="A fault to inject, by its name; default all. Can be repeated."
)
@click.option(
    "--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Where the report goes, as JSON."
)  # fmt: skip
def main(
    minutes: float, seed: int | None, rate: float, longest: float, names: tuple[str, ...], file: Path | None
) -> None:
    """Send numbered events through CVAT's client to an embedded stack, break it, and count what arrives."""
    for name in names:
        if name not in FAULTS:
            raise click.BadParameter(f"there is no fault {name!r}; there is: {'; '.join(FAULTS)}")
    faults = {name: FAULTS[name] for name in names or FAULTS}
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    click.echo(f"seed {seed}")
    # what was started and mounted is taken down also then
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="faults-") as directory:
        stage = Embedded(Path(directory))
        click.echo(f"on {stage.vector_version}")
        try:
            outcome = harness.run(
                stage, faults, seed=seed, rate=rate, seconds=minutes * 60, hold=(1.0, longest), say=click.echo
            )
        finally:
            stage.close()
    click.echo(f"\n{outcome.text()}")
    if file:
        file.write_text(json.dumps(outcome.as_json(), indent=2) + "\n")
    sys.exit(0 if outcome.passed else 1)


if __name__ == "__main__":
    main()
