"""A deploy notes on the host what it is about to make, whatever that is, and the uninstall knows whose each file is."""

from __future__ import annotations

import re
import shlex
from fnmatch import fnmatchcase

import pytest

from cvat_analytics.config.settings import COMPONENTS
from cvat_analytics.rendering import made
from tests.deploys.conftest import Deploy, Run

SETTINGS = {
    "address": "10.0.0.5",
    "grafana_root_url": "https://a.example.org/",
    "cvat_url": "https://cvat.example.org/",
    "firewall": True,
    "clickhouse_tls": True,
    "vector_tls": True,
    "vector_username": "cvat",
}


@pytest.fixture
def run(run_deploy: Deploy) -> Run:
    return run_deploy(groups={name: ["@fake/a"] for name in COMPONENTS}, settings=SETTINGS)


def noted(command: str) -> list[str]:
    """Return what a command notes of what it is told: `path PATH`, `tree PATH`."""
    words = re.search(r"for thing in (.*?); do\n", command)
    return shlex.split(words[1]) if words and "cvat-analytics/made" in command else []


def written(command: str) -> list[str]:
    """Return the files that a command puts onto the host's disk."""
    names = re.search(r"base64 -d \| tar -xzpm --no-overwrite-dir -C / && for file in (.*?); do ", command)
    return [name for name in shlex.split(names[1]) if not name.startswith("/run/")] if names else []


def test_every_file_is_noted_before_it_is_written(run: Run) -> None:
    known: set[str] = set()
    files = 0
    for command in run.commands["@fake/a"]:
        known |= {thing.partition(" ")[2] for thing in noted(command)}
        for file in written(command):
            assert file in known, file
            files += 1
    assert files > 40
    begun = run.position("echo earlier")
    assert begun < run.position("apt-get -s ")
    assert begun < run.position("for thing in ")


def test_every_install_and_mask_and_archive_is_noted_before_it_is_done(run: Run) -> None:
    installs = run.matching("noninteractive apt-get .* install ")
    assert len(installs) >= 4
    for install in installs:
        wanted = install.partition(" install ")[2]
        noted_at = run.position(rf"apt-get -s .* install {re.escape(wanted)} ")
        assert noted_at < run.commands["@fake/a"].index(install)
    assert run.position(re.escape("'path /etc/systemd/system/nginx.service'")) < run.position(
        "systemctl mask"
    )
    plugin = "'tree /var/lib/grafana/plugins/grafana-clickhouse-datasource'"
    assert run.position(re.escape(plugin)) < run.position("rm -rf /var/lib/grafana/plugins/grafana-")


def test_the_uninstall_knows_whose_each_file_is(run: Run) -> None:
    """By the list goes what a part takes along that leaves, and what goes from a host that has no record yet."""
    places = {path for command in run.commands["@fake/a"] for path in written(command)}
    places = {path for path in places if not path.startswith(f"{made.STATE}/")}
    everybody_s = {
        path
        for path in places
        if not any(fnmatchcase(path, each) or fnmatchcase(path, f"{each}/*") for part in made.PARTS.values() for each in part.files)
    }  # fmt: skip
    assert everybody_s == {
        "/etc/cvat-analytics/ca.pem",
        "/etc/cvat-analytics/gateway/firewall.nft",
        "/etc/systemd/system/cvat-analytics-firewall.service",
    }
    named = {path for path in places if "cvat-analytics" in path}
    assert [
        path for path in named if not any(fnmatchcase(path, each) or fnmatchcase(path, f"{each}/*") for each in made.NAMED)
    ] == []  # fmt: skip
