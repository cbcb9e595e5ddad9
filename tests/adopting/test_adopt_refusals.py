"""What `adopt apply` does not take for granted: that a container is stopped, that all is here, that nothing else is in the stock Grafana."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cvat_analytics.base.codes import Code
from cvat_analytics.base.errors import CvatAnalyticsError
from cvat_analytics.operate.adopt import carrying, hand_made
from scripts import adopt
from tests.adopting.stock_compose import STOCK, StockCompose
from tests.clickhouse import Store, free_ports
from tests.dashboards.grafana_stand_in import StandIn

Run = Callable[..., tuple[int, str]]
pytestmark = pytest.mark.usefixtures("switched")


@pytest.fixture
def apply(side: list[object], tmp_path: Path) -> list[object]:
    """Return an `adopt apply` that waits for nothing and asks nobody."""
    return ["adopt", "apply", *side, "--quiet", 0, "--wait", 0, "--files", tmp_path / "files", "--yes"]


@pytest.fixture
def gone(apply: list[object]) -> list[object]:
    """Return the same where the stock ClickHouse does not answer."""
    return [f"http://127.0.0.1:{free_ports(1)[0]}" if apply[at - 1] == "--from" else word for at, word in enumerate(apply)]  # fmt: skip


def _noted(store: Store) -> int:
    """Return how often it is noted that both sides were compared."""
    query = "SELECT sum(total_rows) FROM system.tables WHERE database = currentDatabase() AND name = 'imported_days' FORMAT TSV"
    if store.post(query).strip() in ("\\N", "0"):
        return 0
    return int(store.post("SELECT count() FROM imported_days WHERE startsWith(source, 'adopted') FORMAT TSV"))


def _afterwards(patch: pytest.MonkeyPatch, owner: Any, name: str, what: Callable[[], None]) -> None:
    """Let `what` happen when `name` of `owner` has done its work."""
    original = getattr(owner, name)

    def followed(*arguments: Any, **options: Any) -> Any:
        result = original(*arguments, **options)
        what()
        return result

    patch.setattr(owner, name, followed)


@pytest.mark.parametrize(
    ("owner", "step"),
    [(carrying.Adoption, "bring"), (carrying.Adoption, "wait_for_cvat"), (adopt, "_ask")],
    ids=["from the copy on", "when it would ask", "when it would stop"],
)
def test_a_docker_that_gives_no_answer_any_more_is_no_consent(
    run: Run, apply: list[object], compose: StockCompose, store: Store, owner: Any, step: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        _afterwards(patch, owner, step, compose.be_busy)
        code, output = run(*apply)
    compose.be_busy(busy=False)
    assert (code, "Cannot connect to the Docker daemon" in output) == (1, True), output
    assert (compose.running(), _noted(store)) == (list(STOCK), 0)
    if step != "bring":
        assert output.splitlines()[-1] == "docker compose -p cvat stop -t 60 cvat_vector"


def test_clickhouse_is_not_stopped_while_the_stock_vector_runs_again(
    run: Run, apply: list[object], gone: list[object], compose: StockCompose
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        _afterwards(patch, carrying.Adoption, "finish", lambda: compose.put("cvat_vector", runs=True))
        code, output = run(*apply)
    assert (code, "cvat_vector: is not seen to be stopped (it runs)" in output) == (1, True), output
    assert compose.running() == list(STOCK)
    # somebody stops the wrong one, then both
    compose.put("cvat_clickhouse", runs=False)
    code, output = run(*gone)
    assert (code, output.splitlines()[-1]) == (2, "docker compose -p cvat start cvat_clickhouse"), output
    compose.put("cvat_vector", runs=False)
    assert run(*gone)[0] == 2, "what it has taken meanwhile was not compared"


def test_without_docker_somebody_has_to_say_that_the_stock_vector_is_stopped(
    run: Run, apply: list[object], store: Store
) -> None:
    apply += ["--project", "labels"]
    code, output = run(*apply)
    assert (code, "without --yes, and say that it is" in output) == (1, True), output
    assert output.splitlines()[-1] == "docker compose -p labels stop -t 60 cvat_vector"
    assert "All events" not in output
    apply.remove("--yes")
    code, output = run(*apply, answer="y\n")
    assert (code, "Stop the old containers where CVAT's docker is" in output) == (0, True), output
    assert _noted(store) == 0, "of which containers it is true nobody knows"


def test_what_is_noted_is_of_these_containers_as_they_were_started_then(
    run: Run, apply: list[object], gone: list[object], compose: StockCompose
) -> None:
    assert run(*apply)[0] == 0
    assert (run(*gone)[0], compose.running()) == (0, [])
    # gone back for a week, and stopped again
    for runs in (True, False):
        compose.put("cvat_vector", runs=runs)
    code, output = run(*gone)
    assert (code, "not compared since the old containers were started last" in output) == (2, True), output
    assert run(*apply)[0] == 0, "as soon as it answers"
    assert run(*gone)[0] == 0
    compose.be_anothers()
    code, output = run(*gone)
    assert (code, output.splitlines()[-1]) == (2, "docker compose -p cvat start cvat_clickhouse"), output


def test_what_runs_still_is_said_when_clickhouse_is_stopped_already(
    run: Run, apply: list[object], gone: list[object], compose: StockCompose
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(carrying.Adoption, "stop_the_rest", lambda adoption: ())
        assert run(*apply)[0] == 0
    compose.put("cvat_clickhouse", runs=False)
    code, output = run(*gone, "--json")
    assert (code, json.loads(output)["to_stop"]) == (0, ["cvat_grafana"]), output


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_a_stock_grafana_that_is_stopped_has_to_be_started_or_done_without(
    run: Run, apply: list[object], side: list[object], compose: StockCompose, tmp_path: Path, command: str
) -> None:
    compose.put("cvat_grafana", runs=False)
    words = [*apply] if command == "apply" else ["adopt", "plan", *side]
    words[words.index("--grafana") + 1] = f"http://127.0.0.1:{free_ports(1)[0]}"
    code, output = run(*words)
    assert (code, output.splitlines()[-1]) == (3, "docker compose -p cvat start cvat_grafana"), output
    assert not (tmp_path / "files").exists()
    code, output = run(*words, "--no-grafana")
    assert code == 0, output


def test_a_dashboard_that_is_not_taken_keeps_the_stock_grafana(
    run: Run, apply: list[object], compose: StockCompose, store: Store, stock_grafana: tuple[StandIn, str], tmp_path: Path
) -> None:  # fmt: skip
    stock_grafana[0].lists["/api/v1/provisioning/alert-rules"] = [{}]
    original = hand_made.take

    def take(found: Any, *arguments: Any) -> hand_made.Taken:
        if found.title == "Old numbers":
            raise CvatAnalyticsError(Code.DASHBOARD_UNKNOWN, "it cannot be read")
        return original(found, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hand_made, "take", take)
        code, output = run(*apply)
    assert (code, "dashboard Old numbers: is not taken (it cannot be read)" in output) == (1, True), output
    assert "Cannot be taken: 1 alert rules of the stock Grafana" in output
    assert (compose.running(), _noted(store)) == (["cvat_clickhouse", "cvat_grafana"], 0)
    services = yaml.safe_load((tmp_path / "files" / "docker-compose.analytics.yml").read_text())["services"]
    assert services.keys().isdisjoint(STOCK)
    assert (run(*apply)[0], compose.running()) == (0, [])
