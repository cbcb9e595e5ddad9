-- What ClickHouse does by itself for this database and fails at, at a moment: for `status`, the Pipeline dashboard and an alert. The view has
-- its definer's rights: whoever may read this database sees these few facts of the server, and needs no right on its system tables.

-- Where ClickHouse keeps no log of its merges (yet), this stands in for it: a table of that form is always there.
CREATE OR REPLACE VIEW part_log_form AS
SELECT
    toDate(0) AS event_date, toDateTime(0) AS event_time, '' AS database, '' AS table, [''] AS merged_from, toUInt16(0) AS error, '' AS exception
WHERE 0;

-- state: a view that refreshes itself is `stopped`, or fails (`failing`), or does nothing (`idle`); a `mutation` or the `merges` of a table
-- fail, retention's among them. since: when it last did its work, NULL where it has not since the server's start; of a mutation when it was
-- asked for. early: soon after the server's start, when a first refresh may come before all databases are there. What the next attempt may
-- mend is not told yet. A mutation's own words are not shown: they may name a person.
CREATE OR REPLACE VIEW background_failures
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
WITH
    text -> trimRight(substringUTF8(replaceRegexpAll(replaceRegexpAll(
        text, '^Code: [0-9]+\\. DB::[A-Za-z]*Exception: |(?s),? Stack trace .*$|(?s) \\(version .*$|(?s)(: )?[Ww]hile executing .*$', ''),
        '[[:cntrl:]]+', ' '), 1, 300), ' .:,') AS plain,
    uptime() + dateDiff('second', now(), {at:DateTime}) AS alive
SELECT state, work, since, why, early
FROM
(
    SELECT
        multiIf(
            status = 'Disabled', 'stopped',
            exception != '' AND (idle_for IS NULL OR idle_for > 60), 'failing',
            status != 'Running' AND least(ifNull(idle_for, alive), alive) > 600, 'idle',
            '') AS state,
        view AS work,
        last_success_time AS since,
        multiIf(state = 'stopped', 'it was stopped', state = 'idle', 'it does nothing', plain(exception)) AS why,
        state = 'failing' AND idle_for IS NULL AND alive <= 90 AS early,
        dateDiff('second', last_success_time, {at:DateTime}) AS idle_for
    FROM system.view_refreshes
    WHERE database = currentDatabase() AND state != ''

    UNION ALL

    SELECT 'mutation', table, create_time, plain(latest_fail_reason), 0, NULL
    FROM system.mutations
    WHERE database = currentDatabase() AND NOT is_done AND latest_fail_reason != '' AND create_time < {at:DateTime} - 60

    UNION ALL

    SELECT 'merges', table, if(any(done) = toDateTime(0), NULL, any(done)), plain(argMax(exception, event_time)), 0, NULL
    FROM
    (
        SELECT table, event_time, error, exception, max(if(error = 0, event_time, toDateTime(0))) OVER (PARTITION BY table) AS done
        -- one of the two is always there; 236: the server was stopped meanwhile
        FROM merge(REGEXP('.'), '^(part_log|part_log_form)$')
        WHERE event_date >= toDate({at:DateTime}) - 1 AND event_time <= {at:DateTime}
            AND database = currentDatabase() AND notEmpty(merged_from) AND error != 236
    )
    WHERE error != 0 AND event_time > done
    GROUP BY table
    HAVING min(event_time) < {at:DateTime} - 60 AND max(event_time) > {at:DateTime} - 900
);
