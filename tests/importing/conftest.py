"""A store to import into, and beside it databases with CVAT's stock table to import from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from click.testing import CliRunner

from cvat_analytics.connect.access import Access
from scripts.cli import main
from tests.clickhouse import Store, way_to


@pytest.fixture(scope="session")
def engine(shared_engine: Store) -> Iterator[Store]:
    with shared_engine.another() as store:
        yield store


@pytest.fixture
def store(engine: Store) -> Store:
    """Return the store with no events, and without the databases that the last test made."""
    engine.post("DROP DATABASE IF EXISTS old SYNC")
    engine.post("DROP TABLE IF EXISTS imported_days SYNC")
    engine.post("TRUNCATE TABLE events")
    engine.post("TRUNCATE TABLE events_dead_letter")
    return engine


@pytest.fixture
def access(store: Store) -> Access:
    return way_to(store.context)


@pytest.fixture
def run(access: Access, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Return what runs a command on the store and returns its exit code and all it printed."""

    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr("scripts.target.Target.reach", lambda target, **how: nullcontext(access))
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.output

    return run


@pytest.fixture
def login(store: Store, tmp_path: Path) -> list[object]:
    """Return the options that lead an import to the database `old`."""
    password = tmp_path / "password"
    password.write_text(store.context.secrets["clickhouse_admin"] + "\n")
    url = f"http://127.0.0.1:{store.http_port}"
    return ["--from", url, "--user", "admin", "--password-file", password, "--database", "old"]
