"""The operation that brings the database to the SQL scripts below `clickhouse/` and to the settings."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra import host, logger
from pyinfra.api import OperationError, StringCommand, operation

from cvat_analytics import migrations
from cvat_analytics.errors import InputError
from cvat_analytics.migrations import Script
from cvat_analytics.settings import Settings
from deploys.facts import Schema, SchemaState
from deploys.operations import Commands


@operation()
def schema(scripts: Sequence[Script], settings: Settings, client: str) -> Commands:
    """Bring the database to the SQL scripts and to the retention in the settings.

    + scripts: everything below `clickhouse/`, in order
    + settings: name of the database, retention
    + client: the command that runs SQL from its standard input as administrator
    """
    database = settings.database
    state = host.get_fact(Schema, client=client, database=database)
    if state is None and host.state.is_executing:
        # No answer is not an empty database: nothing may be made anew in one that is only away
        yield "echo 'ClickHouse does not answer: what its schema lacks is not known. See its log, then run the deploy again' >&2; exit 1"
        return
    state = state or SchemaState({}, {}, {})
    try:
        migrations.refuse_stock_table(database, state.applied, state.engines)
        pending = migrations.pending(list(scripts), state.applied)
    except InputError as error:
        raise OperationError(str(error)) from None
    changes = _changes(state, settings, scripts)
    if not pending and not changes:
        host.noop(f"database {database} has all {len(scripts)} scripts")
        return
    for script in pending:
        host.log(f"apply clickhouse/{script.name}", logger.info)
    for statement in changes:
        host.log(" ".join(statement.split())[:160], logger.info)
    if not state.applied:
        for statement in migrations.bootstrap(database):
            yield _sql(client, statement)
    for script in pending:
        yield _sql(f"{client} --database={database} --multiquery", script.sql)
        yield _sql(client, migrations.record(script, database))
    if pending:
        # What a script has just made gets its settings in the same run
        fresh = host.get_fact(Schema, client=client, database=database)
        changes = _changes(fresh or state, settings, scripts)
    for statement in changes:
        yield _sql(f"{client} --database={database}", statement)


def _changes(state: SchemaState, settings: Settings, scripts: Sequence[Script]) -> list[str]:
    """Return the statements that bring retention and the rule of working time to the settings."""
    return migrations.retention(settings, state.engines) + migrations.working_time(
        settings, state.working_time, list(scripts)
    )


def _sql(client: str, statement: str) -> StringCommand:
    return StringCommand(client, _stdin=statement.splitlines())
