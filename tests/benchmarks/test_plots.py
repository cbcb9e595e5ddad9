"""The plots show what was measured, and leave out what could not be done."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

from click.testing import CliRunner

from benchmarks.plots import COLOURS, main
from benchmarks.store import queries


def step(events: int, unable: str) -> dict[str, object]:
    stock = [
        {"name": pair.name, "cpu_ms": 0 if pair.name == unable else events / 1e5} for pair in queries.PAIRS
    ]
    ours = [{"name": name, "cpu_ms": 5.0} for name in {pair.ours for pair in queries.PAIRS}]
    return {"events": events, "stock": {"everything": stock}, "ours": {"everything": ours}}


def test_each_question_is_a_picture_with_a_point_for_each_figure(tmp_path: Path) -> None:
    steps = [step(20_000_000, ""), step(200_000_000, queries.PAIRS[0].name)]
    machine = {"cores": 2, "memory_gib": 23.5, "load_before": 0.1}
    figures = tmp_path / "figures.json"
    figures.write_text(json.dumps({"machine": machine, "sections": {"store": {"steps": steps}}}))

    done = CliRunner().invoke(main, [str(figures), str(tmp_path / "images")])

    assert done.exit_code == 0, done.output
    picture = ElementTree.parse(tmp_path / "images" / "growth.svg")
    circles = [each.get("fill") for each in picture.iter("{http://www.w3.org/2000/svg}circle")]
    assert circles.count(COLOURS["stock"]) == 2 * len(queries.PAIRS) - 1
    assert circles.count(COLOURS["ours"]) == 2 * len(queries.PAIRS)


def test_one_size_is_no_picture(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    figures.write_text(json.dumps({"machine": {}, "sections": {"store": {"steps": [step(20_000_000, "")]}}}))

    done = CliRunner().invoke(main, [str(figures), str(tmp_path)])

    assert (done.exit_code, "no two sizes" in done.output) == (2, True)
