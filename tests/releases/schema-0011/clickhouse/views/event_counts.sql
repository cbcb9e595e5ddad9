-- How many events of which kind, of whom and in what, per hour: exact at any instant, and made beforehand for all days but
-- a few (docs/store.md). A day that has been left alone for a while is counted once and read from there; today, and
-- days to which something has just been added, are counted from the events while they are asked for.

-- 1. Every insert notes which days it has touched.

DROP VIEW IF EXISTS event_days_touched;

CREATE MATERIALIZED VIEW event_days_touched TO event_days
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS

SELECT toDate(timestamp) AS day, count() AS inserted, nowInBlock64(3) AS touched_at
FROM events
-- the month of the smoke tests' events, which are in no count
WHERE toYYYYMM(timestamp) != 207502
GROUP BY day;

-- What was inserted before there was this view, or while it was made anew; and what is not there any more.
INSERT INTO event_days (day, inserted, touched_at)

SELECT toDate(timestamp) AS day, count() AS inserted, nowInBlock64(3) AS touched_at
FROM events
-- the month of the smoke tests' events, which are in no count
WHERE toYYYYMM(timestamp) != 207502
GROUP BY day;
INSERT INTO event_days (day, touched_at) SELECT DISTINCT day, now64(3) FROM event_days;

-- 2. Which months of events there still are. Retention, or an operator, drops whole parts, and nothing tells of it. Readers have
-- no right to ask the system themselves.
CREATE OR REPLACE VIEW event_months
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT toUInt32(partition) AS month, toDate(min(min_time), 'UTC') AS first_day, count() AS parts
FROM system.parts
WHERE active AND database = currentDatabase() AND table = 'events'
GROUP BY month;

-- 3. Which days are settled. An insert that is still running has noted its days already, so that counts are good only when
-- they were made a while after that. Events that retention is about to drop may go part by part, so that of their days
-- nothing can be said beforehand while their month has more parts than one.
CREATE OR REPLACE VIEW event_days_state AS
WITH
    (SELECT toIntervalSecond(argMax(settle_seconds, changed_at)) FROM working_time_settings) AS settling,
    (SELECT toIntervalSecond(argMax(retention_seconds, changed_at)) FROM working_time_settings) AS retention,
    if(retention = toIntervalSecond(0), toDate(0), toDate(now('UTC') - retention)) AS first_kept
SELECT
    day,
    days.inserted AS inserted,
    counted,
    counted > touched + settling AND (day >= first_kept OR parts = 1) AS is_settled,
    -- worth counting now
    NOT is_settled AND touched + settling < now64(3) AND day != toDate(now('UTC')) AND day >= first_kept AS is_due
FROM
(
    SELECT day, sum(event_days.inserted) AS inserted, max(touched_at) AS touched, max(counted_at) AS counted
    FROM event_days
    GROUP BY day
) AS days
INNER JOIN event_months ON event_months.month = toYYYYMM(day)
WHERE day >= first_day;

-- 4. Every so often, days that are due are counted: the newest first, and no more at once than fits into memory.
DROP VIEW IF EXISTS event_counts_refresh;

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
            WHERE is_due
        )
    ) AS chosen
SELECT
    hour, scope, source, user_id, org_id, project_id, task_id, job_id,
    sum(events) AS events,
    sum(duration_ms) AS duration_ms,
    arraySort(groupArrayArray(durations)) AS durations,
    groupBitOr(quarters) AS quarters,
    count() OVER (PARTITION BY toDate(hour)) AS day_rows,
    now64(3) AS counted_at
FROM
(
    SELECT
        toStartOfHour(timestamp) AS hour, scope, source, user_id, org_id, project_id, task_id, job_id,
        count() AS events,
        sum(duration) AS duration_ms,
        groupArrayIf(duration, duration > 0) AS durations,
        groupBitOr(toUInt8(bitShiftLeft(1, intDiv(toMinute(timestamp), 15)))) AS quarters
    FROM events FINAL
    WHERE toDate(timestamp) IN (SELECT arrayJoin(chosen))
    GROUP BY hour, scope, source, user_id, org_id, project_id, task_id, job_id

    UNION ALL

    SELECT hour, scope, source, user_id, org_id, project_id, task_id, job_id, 0, 0, [], 0
    FROM event_counts_settled FINAL
    WHERE toDate(hour) IN (SELECT arrayJoin(chosen))

    -- a day without any events is counted as well
    UNION ALL

    SELECT toDateTime(arrayJoin(chosen), 'UTC'), '', '', NULL, NULL, NULL, NULL, NULL, 0, 0, [], 0
)
GROUP BY hour, scope, source, user_id, org_id, project_id, task_id, job_id
-- a round may count days of many months; refusing them would stop all counting for good
SETTINGS max_partitions_per_insert_block = 0;

-- 5. A day is settled when all of its rows are there.
DROP VIEW IF EXISTS event_days_refresh;

CREATE MATERIALIZED VIEW event_days_refresh
REFRESH EVERY 20 SECOND DEPENDS ON event_counts_refresh APPEND TO event_days
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT toDate(hour) AS day, 0 AS inserted, toDateTime64(0, 3) AS touched_at, counted_at
FROM event_counts_settled
WHERE toDate(hour) IN (SELECT day FROM event_days_state WHERE is_due)
GROUP BY day, counted_at
HAVING count() = max(day_rows);

-- 6. What readers see. Which days come from where is asked once, so that no day can come from both or from neither.
CREATE OR REPLACE VIEW event_counts AS
WITH (SELECT (groupArrayIf(day, is_settled), groupArrayIf(day, NOT is_settled)) FROM event_days_state) AS days
SELECT
    hour, scope, source, user_id, org_id, project_id, task_id, job_id, events, duration_ms, durations, quarters
FROM event_counts_settled FINAL
WHERE toDate(hour) IN (SELECT arrayJoin(days.1)) AND events > 0

UNION ALL

SELECT
    toStartOfHour(timestamp) AS hour, scope, source, user_id, org_id, project_id, task_id, job_id,
    count() AS events,
    sum(duration) AS duration_ms,
    arraySort(groupArrayIf(duration, duration > 0)) AS durations,
    groupBitOr(toUInt8(bitShiftLeft(1, intDiv(toMinute(timestamp), 15)))) AS quarters
FROM events FINAL
WHERE toDate(timestamp) IN (SELECT arrayJoin(days.2))
GROUP BY hour, scope, source, user_id, org_id, project_id, task_id, job_id;
