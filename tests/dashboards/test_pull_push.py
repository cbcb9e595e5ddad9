"""Pull, diff and push between the files and a Grafana: what is edited there reaches git, tidy, and the other way round."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cvat_analytics.base.errors import CvatAnalyticsError, InputError, UnreachableError
from cvat_analytics.connect.access import Access
from cvat_analytics.dashboards import DASHBOARDS, exchange, load
from cvat_analytics.dashboards.exchange import Outcome
from cvat_analytics.dashboards.grafana import FOLDER, Grafana
from cvat_analytics.dashboards.tidying import tidied
from scripts import dashboards as command
from scripts.cli import main
from tests.clickhouse import context
from tests.dashboards.grafana import converted_back, edit, running
from tests.dashboards.grafana_stand_in import StandIn, serving
from tests.killing import killed

MANAGEMENT = "w0if6WAVz"


@pytest.fixture(scope="module")
def access(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    """Return the way to a Grafana with our dashboards."""
    with running(context(tmp_path_factory.mktemp("grafana"))) as way:
        yield way


@pytest.fixture
def grafana(access: Access) -> Grafana:
    """Return that Grafana with the dashboards as they are in git."""
    connected = Grafana(access)
    _reset(connected, exchange.site_of(access.grafana.settings))
    return connected


def _reset(grafana: Grafana, site: exchange.Site) -> None:
    for dashboard in load():
        original = site.deployed(dashboard.model)
        current = grafana.read(dashboard.uid) or {}
        if {key: value for key, value in current.items() if key not in ("id", "version")} != original:
            grafana.write(original, "as in git")


@pytest.fixture
def here(access: Access) -> exchange.Site:
    """Return the site."""
    return exchange.site_of(access.grafana.settings)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Return a copy of the files in git."""
    return Path(shutil.copytree(DASHBOARDS, tmp_path / "dashboards"))


def _text(files: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in sorted(files.iterdir())}


def _one(outcomes: Iterator[Outcome]) -> Outcome:
    (outcome,) = outcomes
    return outcome


def _panel(model: dict[str, Any], id_: int) -> dict[str, Any]:
    return next(panel for panel in model["panels"] if panel["id"] == id_)


def test_nothing_differs_after_a_deploy(grafana: Grafana, here: exchange.Site, files: Path) -> None:
    before = _text(files)
    assert [outcome.lines for outcome in exchange.diff(grafana, here, None, files)] == [[]] * len(before)
    assert [outcome.lines for outcome in exchange.pull(grafana, here, None, files)] == [[]] * len(before)
    assert [outcome.lines for outcome in exchange.push(grafana, here, None, files)] == [[]] * len(before)
    assert _text(files) == before


def test_saving_without_a_change_is_no_change(grafana: Grafana, here: exchange.Site, files: Path) -> None:
    before = _text(files)
    for dashboard in load():
        edit(grafana, dashboard.uid, lambda model: None)
    assert [outcome.lines for outcome in exchange.diff(grafana, here, None, files) if outcome.lines] == []
    assert [outcome.lines for outcome in exchange.pull(grafana, here, None, files) if outcome.lines] == []
    assert _text(files) == before


def test_an_edit_in_grafana_becomes_that_edit_in_the_file(
    grafana: Grafana, here: exchange.Site, files: Path
) -> None:
    file = files / "management.json"
    before = json.loads(file.read_text())
    panel = before["panels"][0]
    sql = panel["targets"][0]["rawSql"]

    def change(model: dict[str, Any]) -> None:
        edited = _panel(model, panel["id"])
        edited["title"] = "Who did what"
        edited["targets"][0]["rawSql"] += "\n-- looked at"

    edit(grafana, MANAGEMENT, change)
    expected = [
        f"panel {panel['title']!r} (#{panel['id']}):",
        "  targets[A].rawSql:",
        f"     {sql.splitlines()[-1]}",
        "    +-- looked at",
        f'  title: "{panel["title"]}" -> "Who did what"',
    ]
    assert _one(exchange.diff(grafana, here, "management", files)).lines == expected
    assert json.loads(file.read_text()) == before, "diff changes nothing"

    outcome = _one(exchange.pull(grafana, here, "Management", files))
    assert (outcome.lines, outcome.findings) == (expected, ())
    panel["title"] = "Who did what"
    panel["targets"][0]["rawSql"] = sql + "\n-- looked at"
    assert json.loads(file.read_text()) == before
    assert _one(exchange.diff(grafana, here, MANAGEMENT, files)).lines == []
    assert {name for name, text in _text(files).items() if text != (DASHBOARDS / name).read_text()} == {
        "management.json"
    }


def test_what_breaks_a_rule_leaves_the_file_alone(grafana: Grafana, here: exchange.Site, files: Path) -> None:
    before = _text(files)

    def change(model: dict[str, Any]) -> None:
        model["panels"][0]["targets"][0]["rawSql"] = "SELECT count() FROM cvat.events"

    edit(grafana, MANAGEMENT, change)
    outcome = _one(exchange.pull(grafana, here, "management", files))
    assert [finding.what for finding in outcome.findings] == [
        "it names the database 'cvat' of table 'events'"
    ]
    assert _text(files) == before


def test_a_dashboard_made_in_grafana_becomes_a_file(
    grafana: Grafana, here: exchange.Site, files: Path
) -> None:
    model = json.loads((files / "management.json").read_text()) | {
        "uid": "made-here",
        "title": "Night Shift (new)",
    }
    grafana.write(model, "made in the editor")
    outcome = _one(exchange.pull(grafana, here, "night shift (new)", files))
    assert (outcome.file, outcome.findings) == (files / "night-shift-new.json", ())
    assert json.loads(outcome.file.read_text()) == model
    assert _one(exchange.pull(grafana, here, "made-here", files)).lines == []


def test_a_dashboard_with_the_title_of_another_does_not_become_a_file(
    grafana: Grafana, here: exchange.Site, files: Path
) -> None:
    model = json.loads((files / "management.json").read_text()) | {"uid": "copy"}
    grafana.write(model, "copied in the editor")
    outcome = _one(exchange.pull(grafana, here, "copy", files))
    assert [finding.what for finding in outcome.findings] == [
        f"its title 'Management' is also that of {files / 'management.json'}"
    ]


def test_push_puts_the_file_there_and_says_what_changed(
    grafana: Grafana, here: exchange.Site, files: Path
) -> None:
    file = files / "monitoring.json"
    model = json.loads(file.read_text())
    model["panels"][0]["description"] = "Something else."
    file.write_text(json.dumps(model))
    lines = _one(exchange.push(grafana, here, "monitoring", files)).lines
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["description"]
    assert _one(exchange.push(grafana, here, "monitoring", files)).lines == [], "a second run changes nothing"
    shown = grafana.read(model["uid"])
    assert shown is not None
    assert shown["panels"][0]["description"] == "Something else."
    # and back, as `git checkout` and another push do
    shutil.copy(DASHBOARDS / file.name, file)
    assert _one(exchange.push(grafana, here, "monitoring", files)).lines != []
    assert _one(exchange.diff(grafana, here, "monitoring", files)).lines == []


def test_push_undoes_what_was_edited_there(grafana: Grafana, here: exchange.Site, files: Path) -> None:
    edit(grafana, MANAGEMENT, lambda model: model.update(title="Mine"))
    (title, *rest) = _one(exchange.push(grafana, here, "management", files)).lines
    assert (title, rest) == ('title: "Mine" -> "Management"', [])


def test_push_sends_nothing_that_breaks_a_rule(grafana: Grafana, here: exchange.Site, files: Path) -> None:
    file = files / "monitoring.json"
    model = json.loads(file.read_text())
    del model["panels"][0]["description"]
    file.write_text(json.dumps(model))
    outcome = _one(exchange.push(grafana, here, "monitoring", files))
    assert [finding.what for finding in outcome.findings] == ["it has no description"]
    shown = grafana.read(model["uid"])
    assert shown is not None
    assert shown["panels"][0]["description"]


def test_push_of_a_new_file_puts_it_beside_the_others(
    grafana: Grafana, here: exchange.Site, files: Path
) -> None:
    model = json.loads((files / "monitoring.json").read_text()) | {"uid": "brand-new", "title": "Brand new"}
    (files / "brand-new.json").write_text(json.dumps(model))
    assert _one(exchange.push(grafana, here, "brand-new", files)).lines == ["new in Grafana"]
    assert grafana._folder_of("brand-new") == grafana._folder_of(MANAGEMENT) != ""


@pytest.mark.parametrize("verb", [exchange.diff, exchange.push, exchange.pull])
def test_an_unknown_name_is_refused_with_the_nearest(
    grafana: Grafana, here: exchange.Site, files: Path, verb: Any
) -> None:
    with pytest.raises(InputError, match=r"dashboard 'Managment'.*Did you mean '[Mm]anagement'"):
        list(verb(grafana, here, "Managment", files))


def test_pull_of_a_file_that_grafana_does_not_have(
    grafana: Grafana, here: exchange.Site, files: Path
) -> None:
    model = json.loads((files / "monitoring.json").read_text()) | {"uid": "only-here", "title": "Only here"}
    (files / "only-here.json").write_text(json.dumps(model))
    with pytest.raises(
        InputError, match=r"only-here\.json: Grafana does not have it.*dashboards push only-here"
    ):
        list(exchange.pull(grafana, here, "only-here", files))
    assert _one(exchange.diff(grafana, here, "only-here", files)).lines == ["Grafana does not have it"]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.mkdir()
    with pytest.raises(CvatAnalyticsError, match=r"x\.json: cannot be written"):
        exchange.replace(file, "new")
    file.rmdir()
    exchange.replace(file, "new")
    assert file.read_text() == "new"


# A site in Japanese, with links to CVAT


@pytest.fixture
def japanese(access: Access) -> Iterator[exchange.Site]:
    """Return a site in Japanese with links to CVAT; afterwards Grafana is as before."""
    settings = access.grafana.settings.model_copy(
        update={"grafana_language": "ja", "cvat_url": "https://cvat.example.org/"}
    )
    yield exchange.site_of(settings)
    _reset(Grafana(access), exchange.site_of(access.grafana.settings))


@pytest.mark.parametrize("cvat_url", ["", "https://cvat.example.org/"])
@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("dashboard", load(), ids=lambda dashboard: dashboard.file.stem)
def test_what_a_site_makes_of_a_file_leads_back_to_it(dashboard: Any, language: str, cvat_url: str) -> None:
    settings = context(Path("/nowhere"), grafana_language=language, cvat_url=cvat_url).settings
    site = exchange.site_of(settings)
    back = site.original(site.deployed(dashboard.model), dashboard.model)
    assert tidied(back, dashboard.model) == dashboard.model


def test_a_column_that_has_only_a_link_to_cvat_gets_it_back_on_a_site_without(here: exchange.Site) -> None:
    link = {"id": "links", "value": [{"title": "Open in CVAT", "url": "${cvat_url}tasks/${__value.raw}"}]}
    task = {"matcher": {"id": "byName", "options": "Task"}, "properties": [link]}
    job = {
        "matcher": {"id": "byName", "options": "Job"},
        "properties": [{"id": "custom.width", "value": 90}, link],
    }
    model = {"panels": [{"id": 1, "fieldConfig": {"overrides": [task, job]}}], "templating": {"list": []}}
    shown = here.deployed(model)
    (left,) = shown["panels"][0]["fieldConfig"]["overrides"]
    assert [each["id"] for each in left["properties"]] == ["custom.width"]
    assert here.original(shown, model) == model
    # a column whose settings were taken away in Grafana stays as it is there
    shown["panels"][0]["fieldConfig"]["overrides"].clear()
    assert here.original(shown, model)["panels"][0]["fieldConfig"]["overrides"] == [task]


def test_nothing_differs_on_a_japanese_site_and_an_edit_comes_back_in_english(
    grafana: Grafana, japanese: exchange.Site, files: Path
) -> None:
    before = _text(files)
    _reset(grafana, japanese)
    assert [outcome.lines for outcome in exchange.diff(grafana, japanese, None, files) if outcome.lines] == []
    shown = grafana.read(MANAGEMENT)
    assert shown is not None
    english = json.loads(before["management.json"])
    assert shown["panels"][0]["title"] != english["panels"][0]["title"]

    def change(model: dict[str, Any]) -> None:
        model["refresh"] = "15m"

    edit(grafana, MANAGEMENT, change)
    outcome = _one(exchange.pull(grafana, japanese, "management", files))
    assert ([line.split(":")[0] for line in outcome.lines], outcome.findings) == (["refresh"], ())
    assert json.loads((files / "management.json").read_text()) == english | {"refresh": "15m"}


def test_a_japanese_text_does_not_get_into_the_english_file(
    grafana: Grafana, japanese: exchange.Site, files: Path
) -> None:
    before = _text(files)
    _reset(grafana, japanese)
    edit(grafana, MANAGEMENT, lambda model: model["panels"][0].update(title="夜勤の一覧"))
    outcome = _one(exchange.pull(grafana, japanese, "management", files))
    (finding,) = outcome.findings
    assert "'夜勤の一覧'" in finding.what
    assert "grafana/languages/ja.yaml" in finding.next_step
    assert _text(files) == before


# What only the stand-in can be made to do


@pytest.fixture
def stand_in(access: Access) -> Iterator[tuple[StandIn, Access]]:
    """Return a stand-in with our dashboards, whatever is installed, and the way to it."""
    made = StandIn(access.secrets["grafana_admin"])
    for dashboard in load():
        made.provision(exchange.site_of(access.grafana.settings).deployed(dashboard.model))
    with serving(made) as (host, port):
        yield made, replace(access, grafana=replace(access.grafana, host=host, port=port))


def test_what_the_newer_editor_stored_comes_in_the_classic_form(
    stand_in: tuple[StandIn, Access], here: exchange.Site, files: Path
) -> None:
    made, access = stand_in
    made.convert = converted_back
    made.newer |= set(made.dashboards)
    before = _text(files)
    assert [
        outcome.lines for outcome in exchange.diff(Grafana(access), here, None, files) if outcome.lines
    ] == []
    made.dashboards[MANAGEMENT]["refresh"] = "15m"
    outcomes = list(exchange.pull(Grafana(access), here, None, files))
    assert [(o.file.stem, len(o.lines), o.findings) for o in outcomes if o.lines] == [("management", 1, ())]
    assert json.loads((files / "management.json").read_text()) == json.loads(before["management.json"]) | {
        "refresh": "15m"
    }
    shutil.copy(DASHBOARDS / "management.json", files)
    assert _one(exchange.push(Grafana(access), here, "management", files)).lines
    assert made.newer == set(made.dashboards) - {MANAGEMENT}, "a push stores the classic form"
    made.newer.add(MANAGEMENT)
    made.unconvertible = "tabs"
    with pytest.raises(CvatAnalyticsError, match=r"cannot convert dashboard w0if6WAVz.*: tabs"):
        list(exchange.diff(Grafana(access), here, "management", files))


def test_a_provider_that_lets_nobody_save(
    stand_in: tuple[StandIn, Access], here: exchange.Site, files: Path
) -> None:
    made, access = stand_in
    made.allow_ui_updates = False
    made.dashboards[MANAGEMENT]["title"] = "Other"
    with pytest.raises(CvatAnalyticsError, match=r"saving dashboard 'Management'.*Cannot save provisioned"):
        list(exchange.push(Grafana(access), here, "management", files))


def test_a_wrong_password_is_told_without_it(stand_in: tuple[StandIn, Access]) -> None:
    _, access = stand_in
    wrong = replace(access, secrets={**access.secrets, "grafana_admin": "not-this-one"})
    with pytest.raises(UnreachableError, match="refuses the login of admin") as caught:
        Grafana(wrong).list()
    assert "not-this-one" not in str(caught.value)


def test_nobody_there(access: Access) -> None:
    with pytest.raises(
        UnreachableError, match=re.escape("Grafana at http://127.0.0.1:1/analytics cannot be reached")
    ):
        Grafana(replace(access, grafana=replace(access.grafana, port=1)))


def test_the_viewer_is_not_taken_for_a_grafana(stand_in: tuple[StandIn, Access]) -> None:
    made, access = stand_in
    made.version = "13.2.0-viewer"
    with pytest.raises(UnreachableError, match=r"there is no Grafana at .*: this stack runs the viewer"):
        Grafana(access)


def test_a_new_dashboard_makes_the_folder_that_is_missing(
    stand_in: tuple[StandIn, Access], here: exchange.Site, files: Path
) -> None:
    made, access = stand_in
    made.folders.clear()
    made.dashboards.clear()
    list(exchange.push(Grafana(access), here, "management", files))
    assert made.folders == {FOLDER: "made"}
    assert made.folder_of[MANAGEMENT] == "made"
    assert made.messages == ["cvat-analytics dashboards push"]


# The commands


@pytest.fixture
def invoke(
    stand_in: tuple[StandIn, Access], files: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """Return a function that runs `cvat-analytics dashboards` on copies of the files with the stand-in."""
    monkeypatch.setattr(command, "DASHBOARDS", files)
    monkeypatch.setattr("scripts.target.Target.reach", lambda target, **how: nullcontext(stand_in[1]))
    return lambda *arguments: CliRunner().invoke(main, ["dashboards", *arguments])


def test_diff_says_by_its_exit_code_whether_something_differs(
    invoke: Any, stand_in: tuple[StandIn, Access]
) -> None:
    result = invoke("diff")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "Management (management.json): the same\n" in result.stdout
    stand_in[0].dashboards[MANAGEMENT]["refresh"] = "3m"
    result = invoke("diff", "management")
    assert result.exit_code == 1
    assert (
        "Management (management.json): differs (first the file, then Grafana)\n  refresh: " in result.stdout
    )


def test_pull_and_push_say_what_they_did(invoke: Any, stand_in: tuple[StandIn, Access], files: Path) -> None:
    stand_in[0].dashboards[MANAGEMENT]["refresh"] = "3m"
    result = invoke("pull", "management")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("Management (management.json): updated\n  refresh: ")
    assert json.loads((files / "management.json").read_text())["refresh"] == "3m"
    assert invoke("pull", "management").stdout == "Management (management.json): as in Grafana already\n"
    shutil.copy(DASHBOARDS / "management.json", files)
    result = invoke("push")
    assert result.exit_code == 0
    assert "Management (management.json): put into Grafana\n  refresh: " in result.stdout
    assert "Monitoring (monitoring.json): Grafana has it already\n" in result.stdout


def test_a_refused_pull_ends_with_exit_code_2_and_the_reason(
    invoke: Any, stand_in: tuple[StandIn, Access], files: Path
) -> None:
    del stand_in[0].dashboards[MANAGEMENT]["panels"][0]["description"]
    result = invoke("pull")
    assert result.exit_code == 2
    assert "Management (management.json): left alone\n" in result.stdout
    assert "cvat-analytics: " in result.stderr
    assert "it has no description. Write what the number means" in result.stderr
    assert (files / "management.json").read_text() == (DASHBOARDS / "management.json").read_text()


def test_lint_without_an_engine_says_so_and_ends_with_1_when_it_finds_something(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files.parent)
    result = CliRunner().invoke(main, ["dashboards", "lint", str(files / "management.json")])
    assert (result.exit_code, result.stdout) == (
        0,
        "1 file without a finding (queries' syntax only: no stack runs in .cvat-analytics).\n",
    )
    model = json.loads((files / "management.json").read_text())
    model["version"] = 3
    (files / "management.json").write_text(json.dumps(model))
    result = CliRunner().invoke(main, ["dashboards", "lint", str(files / "management.json")])
    assert result.exit_code == 1
    assert "management.json: 'version' belongs to one Grafana only" in result.stdout
    result = CliRunner().invoke(main, ["dashboards", "lint", "--dir", str(files)])
    assert result.exit_code == 2
    assert "there is no stack" in result.stderr


def test_a_push_that_is_killed_between_two_dashboards_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = context(tmp_path / "grafana")
    with running(there) as way:
        grafana, site = Grafana(way), exchange.site_of(way.grafana.settings)
        for dashboard in load()[:2]:
            grafana.write(site.deployed(dashboard.model) | {"refresh": "3m"}, "somebody's")
        write = "cvat_analytics.dashboards.grafana:Grafana.write"
        killed(write, "dashboards", "push", times=2, context=there, grafana=way.grafana.address)
        monkeypatch.setattr("scripts.target.Target.reach", lambda target, **how: nullcontext(way))
        said = CliRunner().invoke(main, ["dashboards", "push"])
        assert (said.exit_code, said.stdout.count("refresh: ")) == (0, 1), said.output
        assert CliRunner().invoke(main, ["dashboards", "diff"]).exit_code == 0
