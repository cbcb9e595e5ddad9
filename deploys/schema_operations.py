"""The operation that brings the database to the SQL scripts below `clickhouse/` and to the settings."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from pyinfra import host, logger
from pyinfra.api import OperationError, StringCommand, operation

from cvat_analytics.base.errors import CvatAnalyticsError, InputError
from cvat_analytics.config.settings import Settings
from cvat_analytics.store import migrations, rebuild
from cvat_analytics.store.migrations import Script
from deploys import losses
from deploys.facts import Answer, Schema, SchemaState
from deploys.operations import Commands


@operation()
def schema(scripts: Sequence[Script], settings: Settings, client: str, losses_are_known: bool) -> Commands:
    """Bring the database to the SQL scripts and to the retention in the settings.

    + scripts: everything below `clickhouse/`, in order
    + settings: name of the database, retention
    + client: the command that runs SQL from its standard input as administrator
    + losses_are_known: whether it was known before the first change what a shorter retention takes away
    """
    database = settings.database
    state = host.get_fact(Schema, client=client, database=database)
    if state is None and host.state.is_executing:
        # No answer is not an empty database: nothing may be made anew in one that is only away
        yield _failure(
            "ClickHouse does not answer: what its schema lacks is not known. See its log, then run the deploy again"
        )
        return
    state = state or SchemaState({}, {}, {})
    try:
        migrations.refuse_stock_table(database, state.applied, state.engines)
        pending = migrations.pending(list(scripts), state.applied)
    except InputError as error:
        raise OperationError(error.told) from None
    if not losses_are_known and (unasked := losses.shorter(settings, state.engines)):
        names = ", ".join(each.setting for each in unasked)
        yield _failure(
            f"ClickHouse did not answer when this run began, so that nobody could be asked about a shorter {names}. Now it does: run it again"
        )
        return
    changes = schema_changes(state, settings, scripts)
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
        yield _sql(f"{client} --database={database} --multiquery", script.text(database))
        yield _sql(client, migrations.record(script, database))
    if pending:
        # What a script has just made gets its settings in the same run
        fresh = host.get_fact(Schema, client=client, database=database)
        changes = schema_changes(fresh or state, settings, scripts)
    for statement in changes:
        yield _sql(f"{client} --database={database}", statement)


@operation()
def rebuilt(scripts: Sequence[Script], settings: Settings, client: str) -> Commands:
    """Rebuild the event table where an earlier version has made it with a column that is too narrow.

    This may take long, and whatever is written to the table before it is done must be what the former version writes.

    + scripts: everything below `clickhouse/`, in order
    + settings: name of the database
    + client: the command that runs SQL from its standard input as administrator
    """
    database = settings.database
    state = host.get_fact(Schema, client=client, database=database)
    if state is None or not rebuild.pending(list(scripts), state.applied):
        host.noop(f"database {database} has no table to rebuild")
        return

    def ask(question: str) -> list[list[str]]:
        rows = host.get_fact(Answer, client=client, question=question)
        if rows is None:
            raise OperationError(f"ClickHouse did not answer: {question}")
        return rows

    for statement in _refusing(
        rebuild.steps(list(scripts), database, ask, lambda text: host.log(text, logger.info))
    ):
        yield _sql(client, statement)


def _refusing(steps: Iterator[str]) -> Iterator[str]:
    """Yield `steps`; what stops them is pyinfra's own kind of error, which it prints as a message."""
    try:
        yield from steps
    except CvatAnalyticsError as error:
        raise OperationError(error.told) from None


def schema_changes(state: SchemaState, settings: Settings, scripts: Sequence[Script]) -> list[str]:
    """Return the statements that bring the ways in, columns, retention and the rule of working time to the settings."""
    return [
        *migrations.ways_in_anew(settings.database, state.applied, state.engines, list(scripts)),
        *migrations.new_columns(settings, state.engines),
        *migrations.retention(settings, state.engines),
        *migrations.working_time(settings, state.working_time, list(scripts)),
    ]


def _failure(text: str) -> str:
    """Return a command that does nothing but to fail with `text`."""
    return f"echo {shlex.quote(text)} >&2; exit 1"


def _sql(client: str, statement: str) -> StringCommand:
    return StringCommand(client, _stdin=statement.splitlines())
