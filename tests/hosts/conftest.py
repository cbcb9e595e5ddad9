"""Fixtures for tests on real hosts: `host_factory`, `inventory`, `mirror` and what they are made of.

Where hosts cannot be had, the tests say what is missing: as a failure in CI, as the reason of a skip elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from docker.errors import APIError

from tests import missing

from . import deployed, docker_engine
from . import inventory as inventories
from .deployed import DeployedImage
from .docker_engine import HostsUnavailable
from .host import Host
from .lab import Lab, lab
from .repository import Repository, RepositoryServer

HostFactory = Callable[..., Host]
_HOSTS = pytest.StashKey[list[Host]]()
_FAILURE_LINES = 40


@pytest.fixture(scope="session")
def host_lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Yield the lab of this test run: a Docker daemon, networks, keys."""
    outbound = request.config.getoption("--packages") == "vendor"
    try:
        with (
            docker_engine.engine() as client,
            lab(client, tmp_path_factory.mktemp("lab"), outbound=outbound) as running,
        ):
            yield running
    except HostsUnavailable as error:
        give_up(error)


@pytest.fixture
def host_factory(host_lab: Lab, request: pytest.FixtureRequest) -> Iterator[HostFactory]:
    """Yield a function that boots a host, with what `Lab.start` takes: `host_factory()`, `host_factory("trixie")`. Hosts end with the test."""
    hosts = request.node.stash.setdefault(_HOSTS, [])

    def start(system: str = "bookworm", **how: Any) -> Host:
        try:
            host = host_lab.start(system, **how)
        except HostsUnavailable as error:
            give_up(error)
        hosts.append(host)
        return host

    yield start
    for host in hosts:
        host_lab.destroy(host)


@pytest.fixture(scope="session")
def _untouched_host(host_lab: Lab) -> Iterator[Host]:
    try:
        host = host_lab.start()
    except HostsUnavailable as error:
        give_up(error)
    yield host
    host_lab.destroy(host)


@pytest.fixture
def untouched_host(_untouched_host: Host, request: pytest.FixtureRequest) -> Host:
    """Return a host for tests that leave it as it was: nothing has been deployed to it."""
    request.node.stash.setdefault(_HOSTS, []).append(_untouched_host)
    return _untouched_host


@pytest.fixture(scope="session")
def repository_server(host_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RepositoryServer]:
    """Yield the server of package sources, which only the hosts reach."""
    with RepositoryServer.running(
        tmp_path_factory.mktemp("repositories"), host_lab.packages.gateway
    ) as server:
        yield server


@pytest.fixture(scope="session")
def mirror(repository_server: RepositoryServer) -> Repository:
    """Return a package source with every stand-in, as mirror and as offline bundle. Tests must not change it."""
    return repository_server.complete()


@pytest.fixture(scope="session")
def deployed_image(
    host_lab: Lab, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DeployedImage]:
    """Yield what a first deploy with the defaults leaves of a host."""
    try:
        server: RepositoryServer = request.getfixturevalue("repository_server")
        with deployed.deployed_image(
            host_lab, tmp_path_factory.mktemp("deployed"), server.debian(), _package_source(request)
        ) as kept:
            yield kept
    except HostsUnavailable as error:
        give_up(error)


@pytest.fixture
def deployed_host(host_factory: HostFactory, deployed_image: DeployedImage, tmp_path: Path) -> Host:
    """Return a host that has had its first deploy with the defaults. The test's inventory has its passwords."""
    deployed_image.lend(tmp_path / "inventory")
    return host_factory(tag=deployed_image.tag)


def _package_source(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.config.getoption("--packages") == "vendor":
        return {}
    mirror: Repository = request.getfixturevalue("mirror")
    return mirror.settings()


@pytest.fixture
def inventory(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Path]:
    """Return a function that writes an inventory (see inventory.write), by default installing from the mirror.

    With `--packages vendor` the package source stays the vendors' own.
    """

    def write(hosts: object, **values: object) -> Path:
        if "package_source" not in values:
            values = {**_package_source(request), **values}
        return inventories.write(tmp_path, hosts, **values)  # type: ignore[arg-type]

    return write


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the last log lines of each of its hosts to the report of a failed test."""
    report = yield
    if report.failed:
        for host in item.stash.get(_HOSTS, []):
            try:
                log = host.run(f"journalctl --no-pager -n {_FAILURE_LINES}", check=False)
            except APIError as error:
                report.sections.append((f"journal of {host.name}", f"cannot be read: {error}"))
            else:
                report.sections.append((f"journal of {host.name}", log.output + log.error))
    return report


def give_up(error: HostsUnavailable) -> NoReturn:
    """End the test at hand because hosts cannot be had."""
    missing.give_up(f"test hosts: {error}")
