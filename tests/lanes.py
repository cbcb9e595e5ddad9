"""Two lanes of tests: the fast one, of a few minutes, and the long ones, which boot hosts, start whole stacks or browsers.

`pytest --fast` leaves the long ones out, `pytest --long` runs nothing else, and without either there is no lane.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Container, Iterable, Sequence

import pytest

HOSTS = "tests/hosts/"
LONG = {
    HOSTS: 40,
    "tests/hosts/test_backup.py": 120,
    "tests/hosts/test_broken_by_hand.py": 85,
    "tests/hosts/test_buffer.py": 80,
    "tests/hosts/test_debian_13.py": 73,
    "tests/hosts/test_deploy.py": 180,
    "tests/hosts/test_front_door.py": 150,
    "tests/hosts/test_harness.py": 30,
    "tests/hosts/test_operations.py": 104,
    "tests/hosts/test_rebuild.py": 48,
    "tests/hosts/test_refusals.py": 30,
    "tests/hosts/test_reload.py": 70,
    "tests/hosts/test_tls.py": 98,
    "tests/hosts/test_uninstall.py": 200,
    "tests/hosts/test_upgrade.py": 270,
    "tests/hosts/test_vector_reload.py": 100,
    "tests/faults/": 200,
    # whole stacks
    "tests/access/": 25,
    "tests/embedded/test_full_disk.py": 22,
    "tests/embedded/test_stack.py": 130,
    "tests/embedded/test_wheel.py": 40,
    "tests/embedded/test_rebuild_of_old_data.py": 12,
    "tests/pipeline/test_buffers.py": 50,
    "tests/pipeline/test_bundle_of_a_stack.py": 40,
    "tests/pipeline/test_dead_letters.py": 5,
    "tests/pipeline/test_dead_letters_edit.py": 18,
    "tests/pipeline/test_deployments.py": 17,
    "tests/pipeline/test_every_way_in.py": 8,
    "tests/pipeline/test_killed.py": 50,
    "tests/pipeline/test_person_answer.py": 7,
    "tests/pipeline/test_person_erase.py": 23,
    "tests/pipeline/test_refused_rows.py": 45,
    "tests/pipeline/test_replay.py": 45,
    "tests/pipeline/test_rotation.py": 37,
    "tests/pipeline/test_status.py": 12,
    "tests/pipeline/test_status_of_hosts.py": 22,
    "tests/pipeline/test_parts_at_work.py": 12,
    "tests/pipeline/test_units.py": 9,
    "tests/scripts/test_proxy_of_the_environment.py": 33,
    "tests/vector/test_fuzz.py": 65,
    # browsers
    "tests/embedded/viewer/test_browser.py": 45,
    "tests/embedded/viewer/test_panels.py": 12,
    "tests/embedded/viewer/test_many_viewers.py": 12,
    "tests/api/test_schema.py::test_the_documentation_is_shown_and_asks_nobody_else": 10,
    # every state of every query, kills, much data, environments that are installed
    "tests/api/test_many_people.py": 40,
    "tests/api/test_pythons.py": 28,
    "tests/api/test_robustness.py": 55,
    "tests/api/test_wheels.py": 22,
    "tests/api/test_cvats_file.py": 22,
    "tests/api/test_idempotency.py": 18,
    "tests/api/test_logged.py": 13,
    "tests/api/test_rules.py": 13,
    "tests/checks/test_two_cvats.py::test_nothing_that_one_cvat_does_is_called_two": 10,
    "tests/checks/test_two_cvats.py::test_two_cvats_are_told": 10,
    "tests/dashboards/test_counted_beforehand.py": 50,
    "tests/dashboards/test_long_payloads.py": 12,
    "tests/dashboards/test_plugin_driver.py": 25,
    "tests/dashboards/test_queries.py": 25,
    "tests/dashboards/test_alert_queries.py": 10,
    "tests/gateway/test_access_right.py": 10,
    "tests/gateway/test_behind_cvats_traefik.py": 10,
    "tests/gateway/test_health.py": 10,
    "tests/gateway/test_cvats_traefik_behind_a_proxy.py": 8,
    "tests/deploys/test_deploy_of_backups.py": 20,
    "tests/deploys/test_taken_up.py": 9,
    "tests/benchmarks/": 20,
    "tests/importing/": 165,
    "tests/operate/test_backup.py": 80,
    "tests/operate/test_backup_killed.py": 60,
    "tests/operate/test_backup_of_several_hosts.py": 30,
    "tests/operate/test_backup_targets.py": 50,
    "tests/operate/test_move.py": 60,
    "tests/store/test_completed_jobs.py::test_the_stage_is_known_in_any_order_and_after_repetition": 10,
    "tests/store/test_counts_upgrade.py": 20,
    "tests/store/test_event_counts.py": 40,
    "tests/store/test_erasing.py": 40,
    "tests/store/test_rebuild.py": 60,
    "tests/store/test_room_for_ingest.py": 20,
    "tests/store/test_working_time_report.py": 10,
    "tests/store/working_time/test_sql.py": 30,
    "tests/store/test_cvats_own_user.py": 18,
    "tests/store/test_migrations.py": 9,
    "tests/store/test_users_made_by_sql.py": 10,
    "tests/vector/test_any_json.py": 20,
    "tests/vector/test_behaviour.py": 60,
    "tests/vector/test_cases.py::test_a_large_event_takes_no_neighbour_along": 10,
    "tests/vector/test_cases.py::test_as_many_events_as_are_allowed_are_taken": 10,
    "tests/vector/test_cases.py::test_garbage_is_one_dead_letter_and_takes_little_memory": 10,
    "tests/vector/test_large_requests.py": 50,
    "tests/vector/test_not_utf8.py::test_any_bytes_are_stored_as_they_came_or_kept_as_they_came": 10,
    "tests/vector/test_not_utf8.py::test_of_more_than_4_mib_the_whole_is_one_letter": 10,
    "tests/vector/test_not_utf8.py::test_the_programs_do_it_too": 10,
    "tests/vector/test_service.py": 30,
    "tests/vector/test_substitute.py": 30,
    "tests/vector/test_buffer.py": 10,
}
"""Where the tests of the long lane are: folders, files, single tests; and about how many seconds of processor time each takes, by which
they are shared out (`--costs` counts them). Everything else is in the fast one. Of hosts: what a file takes that has no line of its own."""
_LONG = tuple(sorted(LONG, key=len, reverse=True))


def is_long(test: str) -> bool:
    """Return whether a test, named as pytest names it, is in the long lane."""
    return test.startswith(_LONG)


def seconds(tests: Iterable[str]) -> int:
    """Return about how many seconds the long ones of `tests` take together."""
    entries = {(next(filter(test.startswith, _LONG)), test.split("::")[0]) for test in tests if is_long(test)}
    # one that is a folder or a file counts once, that of hosts for each file
    return sum(LONG[entry] for entry, _ in {(each, file if each == HOSTS else "") for each, file in entries})


def in_order(tests: Sequence[str], workers: int, deployed: Container[str] = ()) -> list[int]:
    """Return the places of `tests` in the order in which `workers` are through soonest.

    Each begins with an equal number of them (pytest-xdist's worksteal) and takes over from another's end when it is through: so the long
    ones are shared out by what they take and come first, the longest at once, and what is short is at the end of each. Tests of one
    folder stay together, with what they share, unless they take more than a worker's share; of hosts those that are `deployed`
    beforehand do, and the others.
    """

    def folder(place: int) -> str:
        return tests[place].split("::")[0].split("/")[1]

    def cost(places: Iterable[int]) -> int:
        return seconds(tests[place] for place in places)

    groups, short = defaultdict[str, list[int]](list), defaultdict[str, list[int]](list)
    for place, test in enumerate(tests):
        if is_long(test):
            groups[f"{folder(place)}{' that are deployed' * (test in deployed)}"].append(place)
        else:
            short[folder(place)].append(place)
    share = sum(map(cost, groups.values())) / workers
    parts = [(cost(part), part) for places in groups.values() for part in _parts(tests, places, share)]
    heads: list[list[tuple[int, list[int]]]] = [[] for _ in range(workers)]
    for part in sorted(parts, reverse=True):
        min(heads, key=lambda head: sum(taken for taken, _ in head)).append(part)
    order: list[int] = []
    for number, head in enumerate(heads, 1):
        order += [place for _, places in head for place in places]
        # first the short ones of the same folders
        same = {folder(places[0]) for _, places in head}
        for name in sorted(short, key=lambda name: (name not in same, name)):
            room = max(0, len(tests) * number // workers - len(order))
            order += short[name][:room]
            short[name] = short[name][room:]
    return order + [place for places in short.values() for place in places]


def _parts(tests: Sequence[str], places: Sequence[int], share: float) -> list[list[int]]:
    """Return a folder's tests in as many parts, of whole files, as it takes more than a worker's share."""
    files = defaultdict[str, list[int]](list)
    for place in places:
        files[tests[place].split("::")[0]].append(place)
    cost = {name: seconds(tests[place] for place in file) for name, file in files.items()}
    together = seconds(tests[place] for place in places)
    parts: list[list[str]] = [[] for _ in range(1 + int(together // (share or 1)))]
    for name in sorted(files, key=lambda name: (-cost[name], name)):
        min(parts, key=lambda part: sum(cost[each] for each in part)).append(name)
    return [[place for name in sorted(part) for place in files[name]] for part in parts if part]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the lanes."""
    lanes = parser.getgroup("lanes")
    lanes.addoption(
        "--fast", action="store_true", help="leave out the long tests: hosts, whole stacks, browsers"
    )
    lanes.addoption("--long", action="store_true", help="run the long tests only")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is in the other lane, and put the rest in order."""
    chosen = {long for long, option in ((False, "--long"), (True, "--fast")) if not config.getoption(option)}
    left_out = [item for item in items if is_long(item.nodeid) not in chosen]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
    kept = [item for item in items if is_long(item.nodeid) in chosen]
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers > 1:
        deployed = {item.nodeid for item in kept if "deployed_host" in item.fixturenames}  # type: ignore[attr-defined]
        kept = [kept[place] for place in in_order([item.nodeid for item in kept], workers, deployed)]
    items[:] = kept
