"""What fails for another reason than that somebody may not is no "may not" of the access matrix."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.access.tables import Outcome, Store
from tests.clickhouse import Store as Engine


@pytest.fixture
def store(shared_engine: Engine) -> Iterator[Store]:
    passwords = {
        name.removeprefix("clickhouse_"): value for name, value in shared_engine.context.secrets.items()
    }
    url = f"http://127.0.0.1:{shared_engine.http_port}/"
    with httpx.Client(timeout=300, trust_env=False) as client:
        yield Store(url, shared_engine.database, passwords, client)


def test_refused_is_what_no_right_allows(store: Store) -> None:
    assert store.outcome("admin", "SELECT 1 FROM {database}.events") == Outcome.DONE
    assert store.outcome("grafana", "DROP TABLE {database}.events") == Outcome.REFUSED
    assert store.outcome("grafana", "SELECT 1 SETTINGS max_memory_usage = 0") == Outcome.REFUSED


@pytest.mark.parametrize(
    "statement",
    ["SELECT no_such_column FROM {database}.events", "SELEC 1", "SELECT 1 FROM {database}.no_such_table"],
)
def test_a_statement_that_fails_says_nothing_of_rights(store: Store, statement: str) -> None:
    with pytest.raises(AssertionError, match="neither done nor refused"):
        store.outcome("admin", statement)


def test_what_nobody_can_do_with_a_view_is_no_refusal(store: Store) -> None:
    changed = "ALTER TABLE {database}.user_names ADD COLUMN intruder UInt8"
    assert store.outcome("admin", changed, of_view=True) == Outcome.IMPOSSIBLE
    assert store.outcome("grafana", changed, of_view=True) == Outcome.REFUSED
    with pytest.raises(AssertionError, match="neither done nor refused"):
        store.outcome("admin", changed)
