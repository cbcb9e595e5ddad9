"""While a part is on its way to another host nobody deploys what would undo it, and the old one stays until that is finished."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pyinfra.api.exceptions import PyinfraError

from cvat_analytics.config import moves
from cvat_analytics.config.moves import Move
from deploys import moving
from deploys.report import LEAVING
from tests.deploys.conftest import Deploy
from tests.deploys.test_departed import answers

A, B = "@fake/a", "@fake/b"
BEFORE = {"clickhouse": [A], "vector": [A], "grafana": [B]}
AFTER = {"clickhouse": [B], "vector": [A], "grafana": [B]}
ADDRESSES = {A: {"address": "10.0.0.1"}, B: {"address": "10.0.0.2"}}
THERE = ["record package clickhouse-server", "package clickhouse-server\t26.8.19.9\tinstalled\t, \t",
         "file /var/lib/cvat-analytics/made", "directory /var/lib/clickhouse", "unit clickhouse-server.service active enabled"]  # fmt: skip
MOVE = Move("clickhouse", A, B, since="2026-11-30 12:00 UTC")


def noted(move: Move) -> dict[str, Any]:
    return {f"cat {moves.NOTE}": [move.text()], **answers("clickhouse", "vector", there=THERE)}


@pytest.mark.parametrize(
    ("step", "groups", "words"),
    [
        (moves.BEGUN, BEFORE, f"clickhouse is on its way from {A} to {B} since 2026-11-30 12:00 UTC: first complete that by `cvat-analytics move clickhouse --to {B}`"),
        (moves.SWITCHED, AFTER, "first complete that"),
        (moves.MOVED, BEFORE, f"the inventory says otherwise: put {B} in the place of {A} in the group 'clickhouse'"),
    ],
    ids=["on its way", "on its way, and the inventory ahead", "moved, and the inventory behind"],
)  # fmt: skip
def test_each_other_deploy_refuses(
    run_deploy: Deploy, step: str, groups: dict[str, list[str]], words: str
) -> None:
    with pytest.raises(PyinfraError) as refused:
        run_deploy(groups=groups, host_settings=ADDRESSES, answers=noted(replace(MOVE, step=step)))
    assert words in str(refused.value)
    assert f"`sudo rm {moves.NOTE}` on each other host" in str(refused.value)


def test_a_vector_that_still_delivers_keeps_its_rights_until_it_is_taken_away(run_deploy: Deploy) -> None:
    move = Move("vector", A, B, step=moves.MOVED, since="today")
    groups = {"clickhouse": [A], "vector": [B], "grafana": [A]}
    with pytest.raises(
        PyinfraError,
        match=rf"the old Vector on {A} is still at work.*`cvat-analytics move vector --to {B} --finish`",
    ):
        run_deploy(groups=groups, host_settings=ADDRESSES, answers=noted(move))


def test_when_it_has_moved_and_the_inventory_agrees_deploys_go_on_and_leave_the_old_one(
    run_deploy: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_deploy(groups=AFTER, host_settings=ADDRESSES, answers=noted(replace(MOVE, step=moves.MOVED)))
    assert run.matching("systemctl restart vector")
    assert run.matching("clickhouse-server.*disable|disable.*clickhouse-server") == []
    # one that nobody has moved is taken away
    monkeypatch.setenv("CVAT_ANALYTICS_DEPLOY_AGREED", "yes")
    run = run_deploy(
        groups=AFTER, host_settings=ADDRESSES, answers=answers("clickhouse", "vector", there=THERE)
    )
    assert run.matching("disable -q --now clickhouse-server")


def test_a_deploy_of_the_move_has_its_groups(run_deploy: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in moving.told(MOVE, moves.AFTER).items():
        monkeypatch.setenv(name, value)
    run = run_deploy(groups=BEFORE, host_settings=ADDRESSES, answers=noted(MOVE))
    assert run.matching("systemctl restart clickhouse-server", B)
    assert run.matching("clickhouse-server.*disable|disable.*clickhouse-server") == []
    files = "\n".join(run.commands[A])
    assert run.matching("systemctl restart vector")
    # what copies is on both
    assert all(run.matching("restic", host) for host in (A, B)), files


def test_before_the_switch_nobody_but_the_new_clickhouse_is_touched(
    run_deploy: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in moving.told(MOVE, moves.AFTER).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(LEAVING, "vector,grafana,events_api,gateway")
    run = run_deploy(groups=BEFORE, host_settings=ADDRESSES, answers=noted(MOVE), limit=[B])
    assert run.matching("systemctl restart clickhouse-server", B)
    assert run.matching("systemctl (restart|enable|start) .*grafana-server", B) == []
    assert run.commands[A] == []
