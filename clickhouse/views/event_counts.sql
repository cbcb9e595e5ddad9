-- How many events of which kind, of whom and in what, per hour: exact at any instant, and made beforehand for all days but
-- a few (docs/store.md). A day that has been left alone for a while is counted once and read from there; today, and
-- days to which something has just been added, are counted from the events while they are asked for.

-- what an earlier version of this file counts counts no more
DROP VIEW IF EXISTS event_counts_refresh;
DROP VIEW IF EXISTS event_days_refresh;
DROP VIEW IF EXISTS event_days_touched;

-- 1. Every insert notes which days it has touched, and when the newest event of each arrived.
CREATE MATERIALIZED VIEW event_days_touched TO event_days
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT toDate(timestamp) AS day, count() AS inserted, nowInBlock64(3) AS touched_at, max(events.received_at) AS received_at
FROM events
-- the month of the smoke tests' events, which are in no count
WHERE toYYYYMM(timestamp) != 207502
GROUP BY day;

-- All days are touched by this: what was inserted before there was this view, or while it was made anew, and what is not there any more.
-- What is noted is the difference to what was noted before, so that the sum is what is stored, however often this is done: of a day with
-- too much it is a UInt64 that the sum goes round with.
INSERT INTO event_days (day, inserted, touched_at, received_at)
SELECT day, toUInt64(sum(stored) - sum(noted)) AS inserted, nowInBlock64(3) AS touched_at, max(arrived) AS received_at
FROM
(
    SELECT toDate(timestamp) AS day, count() AS stored, 0 AS noted, max(events.received_at) AS arrived
    FROM events
    WHERE toYYYYMM(timestamp) != 207502
    GROUP BY day

    UNION ALL

    SELECT day, 0 AS stored, sum(event_days.inserted) AS noted, toDateTime(0, 'UTC') AS arrived
    FROM event_days
    GROUP BY day
)
GROUP BY day;

-- 2. Which months of events there still are. Retention, or an operator, drops whole parts, and nothing tells of it. Readers have
-- no right to ask the system themselves.
CREATE OR REPLACE VIEW event_months
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT toUInt32(partition) AS month, toDate(min(min_time), 'UTC') AS first_day, count() AS parts
FROM system.parts
WHERE active AND database = currentDatabase() AND table = 'events'
GROUP BY month;

-- 3. Which days are settled. An insert that is still running may have noted its days before its events are there, so that counts are good
-- only when they were made a while after that. (One that a view behind `events` refuses may leave events without a note, until it is
-- repeated and goes through.) Events that retention is about to drop may go part by part, so that of their days
-- nothing can be said beforehand while their month has more parts than one.
CREATE OR REPLACE VIEW event_days_state AS
WITH
    (
        SELECT (toIntervalSecond(argMax(settle_seconds, changed_at)), argMax(retention_seconds, changed_at))
        FROM working_time_settings
    ) AS rule,
    (SELECT (groupArray(month), groupArray(first_day), groupArray(parts)) FROM event_months) AS months,
    if(rule.2 = 0, toDate(0), toDate(now('UTC') - toIntervalSecond(rule.2))) AS first_kept
SELECT
    day,
    sum(event_days.inserted) AS inserted,
    max(event_days.counted_at) AS counted,
    counted > settles_at AND (day >= first_kept OR months.3[month] = 1) AS is_settled,
    -- worth counting now
    NOT is_settled AND settles_at < now64(3) AND day != toDate(now('UTC')) AND day >= first_kept AS is_due,
    max(event_days.touched_at) + rule.1 AS settles_at
FROM event_days
GROUP BY day, indexOf(months.1, toYYYYMM(day)) AS month
HAVING month > 0 AND day >= months.2[month]
SETTINGS final = 0;

-- 4. The same as one value, for whoever adds up counts and events, so that no day can come from both or from neither: when the days since
-- the first one were counted, one after the other (0: it is not settled), and which ones are to be read from the events.
CREATE OR REPLACE VIEW counted_days
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT
    (min(day), groupArray(if(is_settled, counted, toDateTime64(0, 3, 'Etc/UTC'))), groupArrayIf(day, is_known AND NOT is_settled))
        ::Tuple(first_day Date, counted_at Array(DateTime64(3, 'Etc/UTC')), uncounted Array(Date)) AS days
FROM
(
    SELECT day, counted, is_settled, 1 AS is_known
    FROM event_days_state
    ORDER BY day WITH FILL STEP 1
);

-- 5. What readers see, before anything is counted anew: an earlier version of it does not know which count is current. FINAL is not needed
-- to find the rows that count, and would rule out projections. Of rows that a day no longer has, no newer count tells (of those of 0002 it
-- did, with no events): that they are of another count is enough.
CREATE OR REPLACE VIEW settled_counts AS
SELECT
    hour, scope, source, user_id, org_id, project_id, task_id, job_id, events, duration_ms, durations, quarters, browser, system, counted_at
FROM event_counts_settled
SETTINGS final = 0;

CREATE OR REPLACE VIEW event_counts AS
WITH (SELECT days FROM counted_days) AS days
SELECT
    hour, scope, source, user_id, org_id, project_id, task_id, job_id, events, duration_ms, durations, quarters
FROM settled_counts
-- there are rows of earlier counts of a day too: those count that were made when `counted_days` says
WHERE counted_at = days.counted_at[toUInt32(toDate(hour) - days.first_day) + 1] AND events > 0

UNION ALL

SELECT
    toStartOfHour(timestamp) AS hour, scope, source, user_id, org_id, project_id, task_id, job_id,
    count() AS events,
    sum(duration) AS duration_ms,
    arraySort(groupArrayIf(duration, duration > 0)) AS durations,
    groupBitOr(toUInt8(bitShiftLeft(1, intDiv(toMinute(timestamp), 15)))) AS quarters
FROM events FINAL
WHERE toDate(timestamp) IN (SELECT arrayJoin(days.uncounted))
GROUP BY hour, scope, source, user_id, org_id, project_id, task_id, job_id;

-- No day is settled now, so that no row counts any more: rows that no count will take the place of (of earlier versions, without a browser; of
-- months that somebody has dropped) go here. A month that is at rest is merged into one part, which keeps what has no newer row.
TRUNCATE TABLE event_counts_settled SETTINGS max_table_size_to_drop = 0;

-- A count of a day is complete when all of its rows are there: as many as each of them says.
{% macro complete_counts() %}
    SELECT toDate(hour) AS day, counted_at
    FROM event_counts_settled
    WHERE toDate(hour) IN (SELECT day FROM event_days_state WHERE is_due)
    GROUP BY day, counted_at
    HAVING count() = max(day_rows)
{%- endmacro %}

-- 6. Every so often, days that are due are counted: the newest first, and no more at once than fits into memory. What has been counted and is
-- only not noted as settled yet is not counted again: a merge throws away the rows of the first count for those of the second, and it
-- is the first that is noted.
CREATE MATERIALIZED VIEW event_counts_refresh
REFRESH EVERY 20 SECOND APPEND TO event_counts_settled
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
WITH
    (
        SELECT groupArrayIf(day, inserted_later < 2000000)
        FROM
        (
            SELECT day, sum(inserted) OVER (ORDER BY day DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS inserted_later
            FROM event_days_state
            LEFT JOIN (SELECT day, max(counted_at) AS last FROM ({{ complete_counts() }}) GROUP BY day) AS made USING (day)
            WHERE is_due AND last <= settles_at
        )
    ) AS chosen
{% macro counts(browser, system, condition) %}
    SELECT
        toStartOfHour(timestamp) AS hour, scope, source, user_id, org_id, project_id, task_id, job_id,
        count() AS events,
        sum(duration) AS duration_ms,
        arraySort(groupArrayIf(duration, duration > 0)) AS durations,
        groupBitOr(toUInt8(bitShiftLeft(1, intDiv(toMinute(timestamp), 15)))) AS quarters,
        {{ browser }} AS browser,
        {{ system }} AS system
    FROM events FINAL
    WHERE toDate(timestamp) IN (SELECT arrayJoin(chosen)) AND {{ condition }}
    GROUP BY hour, scope, source, user_id, org_id, project_id, task_id, job_id, browser, system
{%- endmacro %}
SELECT
    hour, scope, source, user_id, org_id, project_id, task_id, job_id, events, duration_ms, durations, quarters,
    count() OVER (PARTITION BY toDate(hour)) AS day_rows,
    now64(3) AS counted_at,
    browser, system
FROM
(
{{ counts("''", "''", "scope != 'load:cvat'") }}

    UNION ALL
{{ counts("JSONExtractString(ifNull(payload, ''), 'platform', 'name')", "JSONExtractString(ifNull(payload, ''), 'platform', 'os')", "scope = 'load:cvat'") }}

    -- a day without any events is counted as well
    UNION ALL

    SELECT toDateTime(day, 'UTC'), '', '', NULL, NULL, NULL, NULL, NULL, 0, 0, [], 0, '', ''
    FROM (SELECT arrayJoin(chosen) AS day)
    WHERE day NOT IN (SELECT toDate(timestamp) FROM events WHERE toDate(timestamp) IN (SELECT arrayJoin(chosen)))
)
-- a round may count days of many months; refusing them would stop all counting for good
SETTINGS max_partitions_per_insert_block = 0;

-- 7. A day is settled when all of its rows are there.
CREATE MATERIALIZED VIEW event_days_refresh
REFRESH EVERY 20 SECOND DEPENDS ON event_counts_refresh APPEND TO event_days
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT day, 0 AS inserted, toDateTime64(0, 3) AS touched_at, counted_at
FROM ({{ complete_counts() }});
