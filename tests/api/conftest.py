"""One engine with events of several people, and two services on it: one beside a CVAT, one with a users file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.api import pythons
from tests.api.data import EVENTS
from tests.api.fake_cvat import FakeCvat
from tests.api.harness import Api, FakeVector, Program, running_api
from tests.clickhouse import Store
from tests.serving import served


@pytest.fixture(scope="session")
def store(shared_engine: Store) -> Iterator[Store]:
    """Return an engine with the events, each of them inserted twice, as after a retry."""
    with shared_engine.another() as engine:
        engine.insert(EVENTS)
        engine.insert(EVENTS[::-1])
        yield engine


@pytest.fixture(scope="session")
def vector() -> Iterator[FakeVector]:
    """Return a Vector that only listens."""
    with served(FakeVector()) as server:
        yield server


@pytest.fixture(scope="session")
def cvat() -> Iterator[FakeCvat]:
    """Return a CVAT that knows who somebody is."""
    with served(FakeCvat()) as server:
        yield server


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Return what a host with the oldest Python runs, where this machine has that Python; else what is in this checkout.

    test_pythons.py says when it is missing.
    """
    python = pythons.find(pythons.OLDEST)
    directory = tmp_path_factory.mktemp("program")
    return pythons.program(python, pythons.OLDEST, directory) if python else Program()


@pytest.fixture(scope="session")
def api(
    tmp_path_factory: pytest.TempPathFactory,
    store: Store,
    vector: FakeVector,
    cvat: FakeCvat,
    program: Program,
) -> Iterator[Api]:
    """Return a service beside a CVAT."""
    directory = tmp_path_factory.mktemp("api")
    with running_api(directory, store, vector.url, cvat.url, program=program) as service:
        yield service


@pytest.fixture(scope="session")
def local_api(
    tmp_path_factory: pytest.TempPathFactory, store: Store, vector: FakeVector, program: Program
) -> Iterator[Api]:
    """Return a service without a CVAT."""
    with running_api(tmp_path_factory.mktemp("local-api"), store, vector.url, program=program) as service:
        yield service


@pytest.fixture
def as_(api: Api) -> Iterator[Callable[..., httpx.Client]]:
    """Return a function that logs in to the service beside a CVAT."""
    clients: list[httpx.Client] = []

    def client(name: str = "", **options: Any) -> httpx.Client:
        clients.append(api.client(name, **options))
        return clients[-1]

    yield client
    for each in clients:
        each.close()
