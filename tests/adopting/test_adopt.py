"""`cvat-analytics adopt` takes the place of a stand-in of CVAT's stock compose: what it says, and what it leaves alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cvat_analytics.connect.access import Access
from cvat_analytics.connect.volumes import Volume
from tests.adopting.conftest import dashboard
from tests.adopting.stock_compose import SENDERS, STOCK, Cvat, StockCompose
from tests.clickhouse import Store, free_ports
from tests.dashboards.grafana_stand_in import StandIn

Run = Callable[..., tuple[int, str]]
Served = tuple[StandIn, str]


def _tables(store: Store) -> dict[str, str]:
    answer = json.loads(
        store.post("SELECT name, toString(total_rows) FROM system.tables WHERE database = currentDatabase()")
    )
    return dict(answer["data"])


def _events(store: Store) -> int:
    return int(store.rows("SELECT count() AS n FROM events")[0]["n"])


def test_the_plan_says_what_is_there_and_changes_nothing(
    run: Run,
    side: list[object],
    store: Store,
    compose: StockCompose,
    weeks: list[dict[str, Any]],
    stock_grafana: Served,
) -> None:
    before = _tables(store)
    code, output = run("adopt", "plan", *side, "--json")
    assert code == 0, output
    plan = json.loads(output)
    assert plan["events"]["rows"] == plan["events"]["to_copy"] == len(weeks) + 50
    assert (plan["events"]["first"], plan["events"]["last"]) == (
        min(each["timestamp"] for each in weeks)[:10],
        "2026-03-18",
    )
    assert plan["events"]["bytes"] == plan["needed_bytes"] > 0
    assert [each["title"] for each in plan["grafana"]["hand_made"]] == ["Night shift", "Old numbers"]
    assert len(plan["grafana"]["stock"]) == 3
    assert plan["grafana"]["users"] == 3
    assert sorted(plan["containers"]["running"]) == sorted(STOCK)
    assert sorted(plan["containers"]["still_sending"]) == sorted(SENDERS)
    assert plan["refused"] == []
    assert any("3 users" in line for line in plan["not_taken"])
    code, text = run("adopt", "plan", *side)
    assert (
        code,
        f"{len(weeks) + 50:,} rows" in text,
        "2 hand-made dashboards (Night shift, Old numbers)" in text,
    ) == (0, True, True), text
    assert _tables(store) == before
    assert compose.changes() == []
    assert stock_grafana[0].messages == []


def test_what_the_plan_finds_wrong_keeps_apply_from_beginning(
    run: Run, side: list[object], store: Store, stock: Store, tmp_path: Path
) -> None:
    stock.post("ALTER TABLE cvat.events ADD COLUMN mood String", database="system")
    code, output = run("adopt", "plan", *side, "--json")
    plan = json.loads(output)
    assert (code, plan["events"]["unknown_columns"]) == (1, ["mood"])
    assert "--leave-out mood" in plan["refused"][0]
    code, output = run("adopt", "apply", *side, "--yes", "--files", tmp_path / "files")
    assert (code, "--leave-out mood" in output) == (2, True), output
    assert (_events(store), (tmp_path / "files").exists()) == (0, False)
    code, output = run("adopt", "plan", *side, "--leave-out", "mood")
    assert code == 0, output


def test_without_room_nothing_is_begun(
    run: Run, side: list[object], access: Access, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    full = Volume("one", ("clickhouse",), "/var/lib/clickhouse", 2 * 2**30 + 1000, 2**40, 2**30, 0)
    object.__setattr__(access, "volumes", lambda: [full])
    code, output = run("adopt", "plan", *side)
    assert (code, "room for 0 MiB beside the reserve" in output) == (1, True), output
    code, output = run("adopt", "apply", *side, "--yes")
    assert (code, "docs/how-to/disk-is-full.md" in output, _events(store)) == (2, True, 0), output


def test_who_does_not_know_the_addresses_is_told_how_to_find_them(run: Run) -> None:
    code, output = run("adopt", "plan", "--inventory", "hosts.py")
    assert code == 2
    lines = output.splitlines()
    assert (
        "address() { docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' \"$1\"; }"
        in lines
    )
    assert any(line.startswith("ssh -fN -L 18123:") for line in lines)
    assert any(
        'adopt plan --inventory hosts.py --from "http://$(address cvat_clickhouse):8123"' in line
        for line in lines
    )


def test_a_cvat_that_still_sends_to_the_stock_vector_is_waited_for(
    run: Run, side: list[object], compose: StockCompose, stock: Store, store: Store, tmp_path: Path
) -> None:
    files = tmp_path / "files"
    with Cvat(compose, stock, store):
        code, output = run("adopt", "apply", *side, "--yes", "--files", files, "--quiet", 0.1, "--wait", 0)
        assert code == 1
        assert "cvat_server, cvat_worker_import still send to the stock Vector" in output
        assert "no event has come here that is newer" in output
    # under the override with which CVAT is switched the stock containers go on: compose would remove those with no replicas
    services = yaml.safe_load((files / "docker-compose.analytics.yml").read_text())["services"]
    assert services.keys().isdisjoint(STOCK)
    assert services["cvat_server"]["environment"]["DJANGO_LOG_SERVER_PORT"] == str(
        store.context.settings.vector_port
    )
    assert compose.running() == list(STOCK)


@pytest.mark.usefixtures("switched")
def test_containers_are_stopped_last_and_only_after_a_yes(
    run: Run,
    side: list[object],
    compose: StockCompose,
    store: Store,
    stock: Store,
    weeks: list[dict[str, Any]],
    tmp_path: Path,
) -> None:
    files = ["--files", tmp_path / "files", "--quiet", 0]
    code, output = run("adopt", "apply", *side, *files, answer="n\n")
    assert (code, "Stop cvat_clickhouse, cvat_grafana, cvat_vector?" in output, compose.changes()) == (
        1,
        True,
        [],
    ), output
    code, output = run("adopt", "apply", *side, *files, answer="y\n")
    assert code == 0, output
    assert [words[4:] for words in compose.changes()] == [
        ["-t", "60", name] for name in ("cvat_vector", "cvat_grafana", "cvat_clickhouse")
    ]
    assert "docker compose -p cvat start cvat_clickhouse cvat_vector cvat_grafana" in output
    march = next(line for line in output.splitlines() if line.startswith("2026-03"))
    rows, distinct, stored = (int(word.replace(",", "")) for word in march.split()[1:])
    assert rows >= distinct == stored > 0
    assert _events(store) == len({json.dumps(each) for each in weeks}) + 1
    services = yaml.safe_load((tmp_path / "files" / "docker-compose.analytics.yml").read_text())["services"]
    assert [services[name] for name in STOCK] == [{"deploy": {"replicas": 0}}] * 3
    # once more, when nothing of the old side answers
    gone = ["--from", f"http://127.0.0.1:{free_ports(1)[0]}", *side[2:]]
    code, output = run("adopt", "apply", *gone, *files, "--json")
    assert code == 0, output
    assert json.loads(output)["ended_before"]
    assert len(compose.changes()) == 3
    # whoever goes back has more in the stock table, and nobody says that all of it is here
    stock.post(
        "INSERT INTO cvat.events (scope, source, timestamp) VALUES ('load:job', 'client', '2026-03-18 20:00:00')",
        database="system",
    )
    run("adopt", "apply", *side, *files, "--wait", 0, answer="n\n")
    code, output = run("adopt", "apply", *side, *files, "--yes")
    assert (code, "2026-03" in output) == (0, True), output


def test_a_stock_clickhouse_that_was_stopped_before_all_was_compared_has_to_be_started(
    run: Run, side: list[object], compose: StockCompose
) -> None:
    compose.put("cvat_clickhouse", runs=False)
    code, output = run("adopt", "apply", "--from", f"http://127.0.0.1:{free_ports(1)[0]}", *side[2:], "--yes")
    assert (code, output.splitlines()[-1]) == (2, "docker compose -p cvat start cvat_clickhouse")


@pytest.mark.usefixtures("switched")
def test_where_docker_is_not_reached_the_commands_are_printed(
    run: Run, side: list[object], compose: StockCompose, tmp_path: Path
) -> None:
    arguments = ["adopt", "apply", *side, "--project", "labels", "--quiet", 0, "--files", tmp_path / "files"]
    code, output = run(*arguments, answer="n\n")
    assert code == 1
    assert "  docker compose -p labels stop -t 60 cvat_vector\nIs it stopped?" in output
    code, output = run(*arguments, answer="y\n")
    assert code == 0, output
    stop = "docker compose -p labels stop -t 60 cvat_vector cvat_grafana cvat_clickhouse"
    assert f"Stop the old containers where CVAT's docker is:\n  {stop}" in output
    assert compose.running() == list(STOCK)


@pytest.mark.usefixtures("switched")
def test_hand_made_dashboards_come_along_and_what_does_not_hold_is_named_by_panel(
    run: Run, side: list[object], own_grafana: tuple[StandIn, Any], stock_grafana: Served, tmp_path: Path
) -> None:
    arguments = ["adopt", "apply", *side, "--yes", "--quiet", 0, "--files", tmp_path / "files", "--json"]
    code, output = run(*arguments)
    assert code == 0, output
    taken = {each["title"]: each for each in json.loads(output.splitlines()[-1])["dashboards"]}
    assert (taken["Night shift"]["findings"], taken["Night shift"]["grafana"]) == ([], "put")
    (finding,) = taken["Old numbers"]["findings"]
    assert "panel 'By hour': ClickHouse does not accept its query" in finding
    assert "userid" in finding
    own, _ = own_grafana
    assert "FROM events WHERE" in own.dashboards["night"]["panels"][0]["targets"][0]["rawSql"]
    assert (
        own.folders[own.folder_of["night"]]
        if own.folder_of["night"] in own.folders
        else own.folder_of["night"]
    )
    # what was mended since, there or in the file, stays so
    mended = dashboard("old", "Old numbers", "SELECT count(user_id) FROM events")
    own._store(mended)
    file = Path(taken["Old numbers"]["file"])
    file.write_text(json.dumps(mended))
    code, output = run(*arguments)
    assert code == 0, output
    again = {each["title"]: each for each in json.loads(output.splitlines()[-1])["dashboards"]}
    assert (again["Old numbers"]["findings"], again["Old numbers"]["grafana"]) == ([], "there already")
    assert json.loads(file.read_text()) == mended
    assert own.messages == ["cvat-analytics adopt apply"] * 2
    assert set(own.dashboards) == {"night", "old"}


@pytest.mark.usefixtures("switched")
def test_a_stack_without_grafana_keeps_the_dashboards_as_files(
    run: Run, side: list[object], own_grafana: tuple[StandIn, Any], tmp_path: Path
) -> None:
    own_grafana[0].version = "1-viewer"
    code, output = run("adopt", "apply", *side, "--yes", "--quiet", 0, "--files", tmp_path / "files")
    assert code == 0, output
    assert sorted(file.name for file in (tmp_path / "files" / "dashboards").iterdir()) == [
        "night-shift.json",
        "old-numbers.json",
    ]
    assert "this stack runs the viewer" in output
