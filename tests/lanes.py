"""Two lanes of tests: the fast one, of a few minutes, and the long ones, which boot hosts, start whole stacks or browsers.

`pytest --fast` leaves the long ones out, `pytest --long` runs nothing else, and without either there is no lane.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

HOSTS = "tests/hosts/"
LONG = (
    HOSTS,
    "tests/faults/",
    # whole stacks
    "tests/access/",
    "tests/embedded/test_full_disk.py",
    "tests/embedded/test_stack.py",
    "tests/embedded/test_wheel.py",
    "tests/embedded/test_rebuild_of_old_data.py",
    "tests/pipeline/test_buffers.py",
    "tests/pipeline/test_bundle_of_a_stack.py",
    "tests/pipeline/test_dead_letters.py",
    "tests/pipeline/test_dead_letters_edit.py",
    "tests/pipeline/test_deployments.py",
    "tests/pipeline/test_every_way_in.py",
    "tests/pipeline/test_person_answer.py",
    "tests/pipeline/test_person_erase.py",
    "tests/pipeline/test_refused_rows.py",
    "tests/pipeline/test_replay.py",
    "tests/pipeline/test_rotation.py",
    "tests/pipeline/test_status.py",
    "tests/pipeline/test_status_of_hosts.py",
    "tests/scripts/test_proxy_of_the_environment.py",
    "tests/vector/test_fuzz.py",
    # browsers
    "tests/embedded/viewer/test_browser.py",
    "tests/embedded/viewer/test_panels.py",
    "tests/embedded/viewer/test_many_viewers.py",
    "tests/api/test_schema.py::test_the_documentation_is_shown_and_asks_nobody_else",
    # every state of every query, kills, much data, environments that are installed
    "tests/api/test_many_people.py",
    "tests/api/test_pythons.py",
    "tests/api/test_robustness.py",
    "tests/api/test_wheels.py",
    "tests/checks/test_two_cvats.py::test_nothing_that_one_cvat_does_is_called_two",
    "tests/checks/test_two_cvats.py::test_two_cvats_are_told",
    "tests/dashboards/test_counted_beforehand.py",
    "tests/dashboards/test_long_payloads.py",
    "tests/dashboards/test_plugin_driver.py",
    "tests/dashboards/test_queries.py",
    "tests/dashboards/test_alert_queries.py",
    "tests/gateway/test_access_right.py",
    "tests/gateway/test_behind_cvats_traefik.py",
    "tests/gateway/test_health.py",
    "tests/importing/",
    "tests/operate/test_backup.py",
    "tests/operate/test_backup_of_several_hosts.py",
    "tests/operate/test_backup_targets.py",
    "tests/store/test_completed_jobs.py::test_the_stage_is_known_in_any_order_and_after_repetition",
    "tests/store/test_counts_upgrade.py",
    "tests/store/test_event_counts.py",
    "tests/store/test_erasing.py",
    "tests/store/test_rebuild.py",
    "tests/store/test_room_for_ingest.py",
    "tests/store/test_working_time_report.py",
    "tests/store/working_time/test_sql.py",
    "tests/vector/test_any_json.py",
    "tests/vector/test_behaviour.py",
    "tests/vector/test_cases.py::test_a_large_event_takes_no_neighbour_along",
    "tests/vector/test_cases.py::test_as_many_events_as_are_allowed_are_taken",
    "tests/vector/test_cases.py::test_garbage_is_one_dead_letter_and_takes_little_memory",
    "tests/vector/test_large_requests.py",
    "tests/vector/test_not_utf8.py::test_any_bytes_are_stored_as_they_came_or_kept_as_they_came",
    "tests/vector/test_not_utf8.py::test_of_more_than_4_mib_the_whole_is_one_letter",
    "tests/vector/test_not_utf8.py::test_the_programs_do_it_too",
    "tests/vector/test_service.py",
    "tests/vector/test_substitute.py",
)
"""Where the tests of the long lane are: folders, files, single tests. Everything else is in the fast one."""


def is_long(test: str) -> bool:
    """Return whether a test, named as pytest names it, is in the long lane."""
    return test.startswith(LONG)


def in_order(tests: Sequence[str], workers: int) -> list[int]:
    """Return the places of `tests` in the order in which `workers` are through soonest.

    Each begins with an equal share of them (pytest-xdist's worksteal) and takes over from another's end when it is through: hosts
    come first in one share, the other long ones in the others, and what is short is at the end of each.
    """
    hosts = [place for place, test in enumerate(tests) if test.startswith(HOSTS)]
    others = [place for place, test in enumerate(tests) if is_long(test) and not test.startswith(HOSTS)]
    short = [place for place, test in enumerate(tests) if not is_long(test)]
    parts = max(1, workers - 1)
    long = [
        hosts,
        *(others[len(others) * part // parts : len(others) * (part + 1) // parts] for part in range(parts)),
    ]
    order: list[int] = []
    for number, first in enumerate(long, 1):
        order += first
        end = len(tests) * number // len(long)
        fill, short = short[: max(0, end - len(order))], short[max(0, end - len(order)) :]
        order += fill
    return order + short


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the lanes."""
    lanes = parser.getgroup("lanes")
    lanes.addoption(
        "--fast", action="store_true", help="leave out the long tests: hosts, whole stacks, browsers"
    )
    lanes.addoption("--long", action="store_true", help="run the long tests only")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is in the other lane, and put the rest in order."""
    tests = [item.nodeid for item in items]
    chosen = {long for long, option in ((False, "--long"), (True, "--fast")) if not config.getoption(option)}
    left_out = [item for item in items if is_long(item.nodeid) not in chosen]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    places = in_order(tests, workers) if workers > 1 else range(len(items))
    items[:] = [items[place] for place in places if is_long(tests[place]) in chosen]
