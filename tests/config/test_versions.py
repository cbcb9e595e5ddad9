"""What a step from one version of a part to another means: supported or not, and whether it goes back."""

from __future__ import annotations

import pytest

from cvat_analytics.base.project import ROOT
from cvat_analytics.config import versions
from cvat_analytics.config.settings import Settings
from cvat_analytics.config.versions import Step
from cvat_analytics.store import migrations


@pytest.mark.parametrize(
    ("before", "after", "supported"),
    [
        ("26.8.19.9", "26.8.20.1", True),
        ("26.8.20.1", "26.8.19.9", True),
        ("26.3.2.1", "26.8.19.9", True),
        ("25.8.3.1", "26.8.19.9", True),
        ("25.9.1.1", "26.8.19.9", True),
        ("25.8.1.1", "27.3.1.1", False),
        ("25.3.3.1", "26.8.19.9", False),
        ("24.8.1.1", "25.9.1.1", False),
        ("26.9.1.1", "26.8.19.9", True),
        ("26.8.19.9", "26.7.1.1", False),
        ("26.3.1.1", "25.12.1.1", False),
    ],
    ids=lambda value: str(value),
)
def test_which_steps_of_clickhouse_are_taken(before: str, after: str, supported: bool) -> None:
    assert (Step("clickhouse", before, after).refusal() == "") == supported


def test_a_step_that_is_too_far_names_the_releases_by_way_of_which_it_goes() -> None:
    said = Step("clickhouse", "25.3.3.1", "26.8.19.9").refusal()
    assert said == (
        "ClickHouse 25.3.3.1 -> 26.8.19.9: ClickHouse supports steps within a year, or with fewer than two LTS releases in between. Go by way "
        "of 25.8, on which this version's SQL does not run: with the former checkout set 'clickhouse_version' to the newest release of it, deploy, "
        'then to "26.8.19.9" with this one'
    )
    said = Step("clickhouse", "26.3.3.1", "27.8.1.1").refusal()
    assert said.endswith(
        "Go by way of 26.8: set 'clickhouse_version' to the newest release of it, deploy, then to \"27.8.1.1\""
    )


def test_a_clickhouse_that_does_not_run_the_migrations_is_known() -> None:
    said = versions.refused_setting("clickhouse", Settings(clickhouse_version="25.8.3.1"))
    assert said == (
        "ClickHouse 25.8.3.1 does not run the SQL of this version of cvat-analytics, which needs 25.10 or newer. Set 'clickhouse_version' to such a "
        'one (the default is "26.8.19.9"), or deploy from the former checkout (docs/how-to/upgrade.md)'
    )
    for version in ("25.10.1.1", "26.8.19.9"):
        assert versions.refused_setting("clickhouse", Settings(clickhouse_version=version)) == ""


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (Step("clickhouse", "26.8.19.9", "26.3.2.1"), "patches of lightweight updates are written in a second form; ClickHouse/ClickHouse#103182"),
        (Step("grafana", "13.2.3", "12.4.0"), "dashboards and folders in its database move to another storage"),
    ],
    ids=["clickhouse", "grafana"],
)  # fmt: skip
def test_what_an_older_version_may_not_be_able_to_read_keeps_it_away(step: Step, why: str) -> None:
    said = step.refusal()
    assert why in said
    assert f"Set '{versions.SETTINGS[step.part]}' back to \"{step.before}\"" in said


@pytest.mark.parametrize(
    "step",
    [
        Step("grafana", "12.4.0", "13.2.3"),
        Step("grafana", "13.2.3", "13.0.1"),
        Step("vector", "0.58.0-1", "0.57.0-1"),
        Step("plugin", "4.22.0", "4.18.0"),
        Step("vector", "0.58.0-1", "0.58.0-2"),
    ],
    ids=str,
)
def test_all_else_is_taken(step: Step) -> None:
    assert step.refusal() == ""


def test_what_a_step_changes_is_what_lies_between_its_versions_in_either_direction() -> None:
    there, back = (Step("vector", *way).notes for way in (("0.56.0-1", "0.58.0-1"), ("0.58.0-1", "0.56.0-1")))
    assert [note.since for note in there] == ["0.57", "0.58"]
    assert there == back


def test_the_pinned_versions_have_their_lines() -> None:
    """A pin that is moved on needs what its release changes: `known_until` moves on with it, when that has been looked up."""
    for part, setting in versions.SETTINGS.items():
        pinned = versions.numbers(Settings.model_fields[setting].default)
        known = versions.part(part)
        assert versions.numbers(known.known_until) == pinned[:2], (
            f"{part}: look up what the release changes, then set known_until"
        )
        assert versions.numbers(known.notes[-1].since) <= pinned, part
        assert versions.numbers(known.tested) <= pinned, part
        assert [note.since for note in known.notes] == sorted(
            (note.since for note in known.notes), key=versions.numbers
        )


def test_every_measured_script_is_there_and_what_grows_is_reckoned() -> None:
    names = {script.name for script in migrations.read(ROOT / "clickhouse")}
    assert versions.migrations_took().keys() <= names
    # from 0011 on they may read events, and each is measured
    assert {
        name for name in names if name > "migrations/0011" and name.startswith("migrations/")
    } <= versions.migrations_took().keys()
    assert versions.Took(10, grows=True).at(40_000_000) == 20
    assert versions.Took(10).at(40_000_000) == 10
