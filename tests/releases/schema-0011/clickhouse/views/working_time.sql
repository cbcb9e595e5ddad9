-- Working time by the rule that CVAT itself uses (docs/why/working-time.md).
-- A person's client events in order of time: a pause of less than the threshold after the furthest end so far counts,
-- so does what an event adds beyond that end. Only some scopes have a duration of their own. The time that an event adds
-- belongs to the job, task and project of the event before it.

-- 1. Every insert notes which days of which users it has touched, and what later days must know of them.

DROP VIEW IF EXISTS working_time_touched;

CREATE MATERIALIZED VIEW working_time_touched TO working_time_days
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS

WITH
    (SELECT argMax(duration_scopes, changed_at) FROM working_time_settings) AS duration_scopes,
    -- when the last event with these ids begins, and how long it lasts, as one number: argMax over every single event is slow
    intDiv(last, 4294967296)::Int64 AS begin_ms,
    begin_ms + (last % 4294967296)::Int64 AS end_ms
SELECT
    user_id,
    day,
    max(furthest) AS furthest_ms,
    -- the last one in the order of the rule: time, end, then ids with NULL last
    argMaxStateIf(
        (org_id, project_id, task_id, job_id),
        (begin_ms, end_ms, isNull(job_id), ifNull(job_id, 0), isNull(task_id), ifNull(task_id, 0), isNull(project_id), ifNull(project_id, 0), isNull(org_id), ifNull(org_id, 0)),
        events > 0) AS last_event,
    sum(events) AS client_events,
    nowInBlock64(3) AS touched_at
FROM
(
    WITH
        source = 'client' AS is_client,
        toUnixTimestamp64Milli(timestamp) AS begin,
        if(has(duration_scopes, scope), duration, 0) AS lasts
    SELECT
        user_id, toDate(timestamp, 'UTC') AS day, org_id, project_id, task_id, job_id,
        maxIf(begin + lasts, is_client) AS furthest,
        maxIf(toUInt128(begin) * 4294967296 + lasts, is_client) AS last,
        countIf(is_client) AS events
    FROM events
    -- the month of the smoke tests' events: nobody has worked in it
    WHERE (is_client OR scope = 'send:working_time' AND source = 'server') AND toYYYYMM(timestamp) != 207502
    GROUP BY user_id, day, org_id, project_id, task_id, job_id
)
GROUP BY user_id, day;

-- What was inserted before there was this view, or while it was made anew. Noting a day twice is harmless.
INSERT INTO working_time_days

WITH
    (SELECT argMax(duration_scopes, changed_at) FROM working_time_settings) AS duration_scopes,
    -- when the last event with these ids begins, and how long it lasts, as one number: argMax over every single event is slow
    intDiv(last, 4294967296)::Int64 AS begin_ms,
    begin_ms + (last % 4294967296)::Int64 AS end_ms
SELECT
    user_id,
    day,
    max(furthest) AS furthest_ms,
    -- the last one in the order of the rule: time, end, then ids with NULL last
    argMaxStateIf(
        (org_id, project_id, task_id, job_id),
        (begin_ms, end_ms, isNull(job_id), ifNull(job_id, 0), isNull(task_id), ifNull(task_id, 0), isNull(project_id), ifNull(project_id, 0), isNull(org_id), ifNull(org_id, 0)),
        events > 0) AS last_event,
    sum(events) AS client_events,
    nowInBlock64(3) AS touched_at
FROM
(
    WITH
        source = 'client' AS is_client,
        toUnixTimestamp64Milli(timestamp) AS begin,
        if(has(duration_scopes, scope), duration, 0) AS lasts
    SELECT
        user_id, toDate(timestamp, 'UTC') AS day, org_id, project_id, task_id, job_id,
        maxIf(begin + lasts, is_client) AS furthest,
        maxIf(toUInt128(begin) * 4294967296 + lasts, is_client) AS last,
        countIf(is_client) AS events
    FROM events
    -- the month of the smoke tests' events: nobody has worked in it
    WHERE (is_client OR scope = 'send:working_time' AND source = 'server') AND toYYYYMM(timestamp) != 207502
    GROUP BY user_id, day, org_id, project_id, task_id, job_id
)
GROUP BY user_id, day;

-- What readers see: a row per user, UTC day, organization, project, task and job, made from the results as they are written, so that a question for
-- some days reads those days. What was computed for one UTC day of a user (`source_day`) may lie in others too, since a span
-- can reach over midnight. It is replaced as a whole: what is no longer there comes back with nothing in it, and
-- `source_rows` is how many rows there must be, so that one that got lost in a crash is known (there is always at least one).
-- `slots` has the same numbers per quarter of an hour of the day, counted from 0, for ranges of time that cut the day.
CREATE TABLE IF NOT EXISTS working_time_by_day
(
    day Date,
    user_id Nullable(UInt64),
    source_day Date,
    local_day Date,
    org_id Nullable(UInt64),
    project_id Nullable(UInt64),
    task_id Nullable(UInt64),
    job_id Nullable(UInt64),
    computed_ms UInt64,
    reported_ms UInt64,
    events UInt64,
    slots Array(Tuple(slot UInt8, computed_ms UInt64, reported_ms UInt64, events UInt64)),
    source_rows UInt64,
    computed_at DateTime64(3, 'Etc/UTC'),
    INDEX local_day local_day TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(computed_at)
ORDER BY (day, user_id, source_day, local_day, org_id, project_id, task_id, job_id)
SETTINGS
    allow_nullable_key = 1,
    index_granularity = 1024,
    min_age_to_force_merge_seconds = 600,
    min_age_to_force_merge_on_partition_only = 1;

DROP VIEW IF EXISTS working_time_results_by_day;

-- tables that were made before there was this column
ALTER TABLE working_time_by_day ADD COLUMN IF NOT EXISTS slots Array(Tuple(slot UInt8, computed_ms UInt64, reported_ms UInt64, events UInt64)) AFTER events;

CREATE MATERIALIZED VIEW working_time_results_by_day TO working_time_by_day
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS

WITH (SELECT argMax(time_zone, changed_at) FROM working_time_settings) AS time_zone
SELECT
    day, user_id, source_day, local_day, org_id, project_id, task_id, job_id,
    sum(computed_ms) AS computed_ms,
    sum(reported_ms) AS reported_ms,
    sum(events) AS events,
    arraySort(groupArrayArray(slots)) AS slots,
    count() OVER (PARTITION BY user_id, source_day) AS source_rows,
    max(max(at)) OVER (PARTITION BY user_id, source_day) AS computed_at
FROM
(
    SELECT
        toDate(toDateTime(row.slot * 900, 'UTC'), 'UTC') AS day,
        user_id,
        results.day AS source_day,
        toDate(toTimeZone(toDateTime(row.slot * 900, 'UTC'), time_zone)) AS local_day,
        row.org_id AS org_id, row.project_id AS project_id, row.task_id AS task_id, row.job_id AS job_id,
        row.computed_ms AS computed_ms, row.reported_ms AS reported_ms, row.events AS events,
        [(toUInt8(row.slot % 96), row.computed_ms, row.reported_ms, row.events)] AS slots,
        results.computed_at AS at
    FROM working_time_results AS results
    ARRAY JOIN by_slot AS row

    UNION ALL

    SELECT day, user_id, day, day, NULL, NULL, NULL, NULL, 0, 0, 0, [], computed_at
    FROM working_time_results

    UNION ALL

    SELECT day, user_id, source_day, local_day, org_id, project_id, task_id, job_id, 0, 0, 0, [], toDateTime64(0, 3)
    FROM working_time_by_day
    WHERE (ifNull(user_id, 0), isNull(user_id), source_day) IN (SELECT ifNull(user_id, 0), isNull(user_id), day FROM working_time_results)
)
GROUP BY day, user_id, source_day, local_day, org_id, project_id, task_id, job_id;

-- What was computed before there was this table, or its column `slots`: a moment later than it was computed, so that it takes
-- the place of what is there.
INSERT INTO working_time_by_day

WITH (SELECT argMax(time_zone, changed_at) FROM working_time_settings) AS time_zone
SELECT
    day, user_id, source_day, local_day, org_id, project_id, task_id, job_id,
    sum(computed_ms) AS computed_ms,
    sum(reported_ms) AS reported_ms,
    sum(events) AS events,
    arraySort(groupArrayArray(slots)) AS slots,
    count() OVER (PARTITION BY user_id, source_day) AS source_rows,
    max(max(at)) OVER (PARTITION BY user_id, source_day) AS computed_at
FROM
(
    SELECT
        toDate(toDateTime(row.slot * 900, 'UTC'), 'UTC') AS day,
        user_id,
        results.day AS source_day,
        toDate(toTimeZone(toDateTime(row.slot * 900, 'UTC'), time_zone)) AS local_day,
        row.org_id AS org_id, row.project_id AS project_id, row.task_id AS task_id, row.job_id AS job_id,
        row.computed_ms AS computed_ms, row.reported_ms AS reported_ms, row.events AS events,
        [(toUInt8(row.slot % 96), row.computed_ms, row.reported_ms, row.events)] AS slots,
        results.computed_at AS at
    FROM (
    SELECT user_id, day, computed_at + toIntervalMillisecond(1) AS computed_at, by_slot
    FROM working_time_results AS made FINAL
    LEFT JOIN
    (
        SELECT user_id, source_day, max(computed_at) AS known_at, countIf(empty(slots) AND (computed_ms > 0 OR reported_ms > 0 OR events > 0)) AS incomplete
        FROM working_time_by_day FINAL
        GROUP BY user_id, source_day
    ) AS known ON made.user_id <=> known.user_id AND made.day = known.source_day
    WHERE known_at < computed_at OR incomplete > 0
) AS results
    ARRAY JOIN by_slot AS row

    UNION ALL

    SELECT day, user_id, day, day, NULL, NULL, NULL, NULL, 0, 0, 0, [], computed_at
    FROM (
    SELECT user_id, day, computed_at + toIntervalMillisecond(1) AS computed_at, by_slot
    FROM working_time_results AS made FINAL
    LEFT JOIN
    (
        SELECT user_id, source_day, max(computed_at) AS known_at, countIf(empty(slots) AND (computed_ms > 0 OR reported_ms > 0 OR events > 0)) AS incomplete
        FROM working_time_by_day FINAL
        GROUP BY user_id, source_day
    ) AS known ON made.user_id <=> known.user_id AND made.day = known.source_day
    WHERE known_at < computed_at OR incomplete > 0
)

    UNION ALL

    SELECT day, user_id, source_day, local_day, org_id, project_id, task_id, job_id, 0, 0, 0, [], toDateTime64(0, 3)
    FROM working_time_by_day
    WHERE (ifNull(user_id, 0), isNull(user_id), source_day) IN (SELECT ifNull(user_id, 0), isNull(user_id), day FROM (
    SELECT user_id, day, computed_at + toIntervalMillisecond(1) AS computed_at, by_slot
    FROM working_time_results AS made FINAL
    LEFT JOIN
    (
        SELECT user_id, source_day, max(computed_at) AS known_at, countIf(empty(slots) AND (computed_ms > 0 OR reported_ms > 0 OR events > 0)) AS incomplete
        FROM working_time_by_day FINAL
        GROUP BY user_id, source_day
    ) AS known ON made.user_id <=> known.user_id AND made.day = known.source_day
    WHERE known_at < computed_at OR incomplete > 0
))
)
GROUP BY day, user_id, source_day, local_day, org_id, project_id, task_id, job_id;

-- Days of before there was CVAT have no events (those are dead letters), and would keep what was computed, as days do that retention has dropped.
ALTER TABLE working_time_results DELETE WHERE day < '2018-01-01' SETTINGS mutations_sync = 1;
ALTER TABLE working_time_by_day DELETE WHERE source_day < '2018-01-01' SETTINGS mutations_sync = 1;

-- 2. Which days are not what the events say, or may not be yet. A touched day can change later ones: the next one with
-- events (whose first event has a new one before it), and all days that its events reach into.
-- `work_before` says in which order they are computed: how many events are to be read before. Whoever computes all days below any number
-- of it forgets none: a day that only another one makes stale goes with that one, which afterwards no longer tells of it.
CREATE OR REPLACE VIEW working_time_stale AS
WITH
    settings AS
    (
        SELECT
            argMax(threshold_ms, changed_at) AS threshold_ms,
            argMax(duration_scopes, changed_at) AS duration_scopes,
            argMax(retention_seconds, changed_at) AS retention_seconds,
            argMax(settle_seconds, changed_at) AS settle_seconds,
            max(changed_at) AS changed
        FROM working_time_settings
    ),
    (SELECT toInt64(threshold_ms) FROM settings) AS threshold,
    toUInt64(-1) AS never,
    -- what retention has dropped, or is about to drop, keeps what was computed from it
    kept AS
    (
        SELECT greatest(
            toDate(min(timestamp), 'UTC'),
            if((SELECT retention_seconds FROM settings) = 0, toDate(0), toDate(now() - (SELECT retention_seconds FROM settings)))) AS first_day
        FROM events
    ),
    -- of when a day is, with all of its rows
    computed AS
    (
        SELECT user_id, day, min(at) AS computed_at
        FROM
        (
            SELECT user_id, day, max(computed_at) AS at FROM working_time_results GROUP BY user_id, day
            UNION ALL
            SELECT user_id, source_day, max(if(is_whole, computed_at, toDateTime64(0, 3)))
            FROM
            (
                SELECT user_id, source_day, computed_at, count() = max(source_rows) AS is_whole
                FROM working_time_by_day
                GROUP BY user_id, source_day, computed_at
            )
            GROUP BY user_id, source_day
        )
        GROUP BY user_id, day
        HAVING count() = 2
    ),
    days AS
    (
        SELECT
            user_id, day,
            max(furthest_ms) AS furthest,
            sum(client_events) AS events,
            max(touched_at) AS touched
        FROM working_time_days
        GROUP BY user_id, day
    ),
    noted AS
    (
        SELECT
            *,
            -- first what waits, then what is only computed once more because an insert may still have been running; the oldest first:
            -- what is done at once lies together in `events`, and the days that follow it are mostly still touched themselves
            if(is_touched, sum(if(is_touched AND day >= (SELECT first_day FROM kept), events + 1, 0))
                OVER (ORDER BY is_pending DESC, day, user_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), never) AS turn
        FROM
        (
            SELECT
                days.user_id AS user_id, days.day AS day, furthest, events,
                -- an insert that is still running has noted its days already: a day is computed again until that cannot be
                touched > computed.computed_at - toIntervalSecond((SELECT settle_seconds FROM settings)) OR computed.computed_at <= (SELECT changed FROM settings) AS is_touched,
                touched > computed.computed_at OR computed.computed_at <= (SELECT changed FROM settings) AS is_pending
            FROM days LEFT JOIN computed ON days.user_id <=> computed.user_id AND days.day = computed.day
        )
    ),
    -- days without client events neither pass anything on nor receive it: they are in partitions of their own
    carried AS
    (
        SELECT
            user_id, day, events > 0 AS has_events, is_touched, is_pending, turn,
            max(furthest) OVER before AS furthest_before,
            lagInFrame(day, 1, toDate(0)) OVER up_to_now AS previous_day,
            row_number() OVER up_to_now > 1 AS has_previous,
            lagInFrame(turn, 1, never) OVER up_to_now AS turn_before,
            min(turn) OVER before AS first_turn,
            max(if(is_touched, toDate(fromUnixTimestamp64Milli(reach + threshold, 'UTC')), toDate(0))) OVER before AS touched_until
        FROM
        (
            SELECT *, max(furthest) OVER (PARTITION BY user_id, events > 0 ORDER BY day ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS reach
            FROM noted
        )
        WINDOW
            before AS (PARTITION BY user_id, events > 0 ORDER BY day ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING),
            up_to_now AS (PARTITION BY user_id, events > 0 ORDER BY day ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
    )
SELECT
    user_id, day,
    has_events AND has_previous AS has_carried,
    previous_day AS carried_from,
    furthest_before AS carried_end,
    is_pending,
    -- of a day that is not touched itself: when what it follows, or is reached by, is computed
    multiIf(is_touched, turn, has_events, least(turn_before, if(touched_until >= day, first_turn, never)), never) AS work_before
FROM carried
WHERE work_before < never
    AND day >= (SELECT first_day FROM kept);

-- 3. Every so often these days are computed anew from the raw events.
DROP VIEW IF EXISTS working_time_refresh;

CREATE MATERIALIZED VIEW working_time_refresh
REFRESH EVERY 20 SECOND APPEND TO working_time_results
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
WITH
    (SELECT toInt64(argMax(threshold_ms, changed_at)) FROM working_time_settings) AS threshold,
    (SELECT argMax(duration_scopes, changed_at) FROM working_time_settings) AS scopes,
    -- No more at once than fits into memory. Asked for once, and kept as a constant: ClickHouse would ask again for every mention.
    (
        SELECT groupArray((user_id, day, has_carried, carried_from, carried_end))
        FROM working_time_stale
        WHERE work_before < 2000000
    ) AS stale_days,
    stale AS
    (
        SELECT row.1 AS user_id, row.2 AS day, row.3 AS has_carried, row.4 AS carried_from, row.5 AS carried_end
        FROM (SELECT arrayJoin(stale_days) AS row)
    ),
    -- the days before, as one event that lies before all others
    carried AS
    (
        SELECT stale.user_id AS user_id, stale.day AS day, carried_end, last_ids
        FROM stale
        INNER JOIN
        (
            SELECT user_id, day, argMaxMerge(last_event) AS last_ids
            FROM working_time_days
            WHERE (ifNull(user_id, 0), isNull(user_id), day) IN (SELECT ifNull(user_id, 0), isNull(user_id), carried_from FROM stale WHERE has_carried)
            GROUP BY user_id, day
        ) AS days ON stale.user_id <=> days.user_id AND stale.carried_from = days.day
        WHERE has_carried
    ),
    raw AS
    (
        SELECT
            user_id, scope, source, duration, org_id, project_id, task_id, job_id, payload, timestamp,
            toDate(timestamp, 'UTC') AS day,
            toUnixTimestamp64Milli(timestamp) AS begin_ms,
            begin_ms + if(has(scopes, scope), duration, 0) AS end_ms
        FROM events FINAL
        WHERE (source = 'client' OR scope = 'send:working_time' AND source = 'server')
            AND timestamp >= (SELECT toDateTime64(min(day), 3, 'UTC') FROM stale)
            AND timestamp < (SELECT toDateTime64(max(day) + 1, 3, 'UTC') FROM stale)
            -- the key of `events`; what follows is none
            AND toDate(timestamp) IN (SELECT day FROM stale)
            AND (ifNull(user_id, 0), isNull(user_id), toDate(timestamp, 'UTC')) IN (SELECT ifNull(user_id, 0), isNull(user_id), day FROM stale)
    ),
    in_order AS
    (
        SELECT
            user_id, day, is_carried, begin_ms, end_ms, org_id, project_id, task_id, job_id,
            row_number() OVER up_to_now > 1 AS has_previous,
            max(end_ms) OVER before AS furthest,
            lagInFrame((org_id, project_id, task_id, job_id), 1, (org_id, project_id, task_id, job_id)) OVER up_to_now AS previous_ids
        FROM
        (
            SELECT user_id, day, 0 AS is_carried, begin_ms, end_ms, org_id, project_id, task_id, job_id
            FROM raw WHERE source = 'client'
            UNION ALL
            SELECT user_id, day, 1, toInt64(0), carried_end, last_ids.1, last_ids.2, last_ids.3, last_ids.4
            FROM carried
        )
        WINDOW
            before AS (PARTITION BY user_id, day ORDER BY is_carried DESC, begin_ms, end_ms, job_id, task_id, project_id, org_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING),
            up_to_now AS (PARTITION BY user_id, day ORDER BY is_carried DESC, begin_ms, end_ms, job_id, task_id, project_id, org_id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
    ),
    -- the time that each event adds is one span; it is cut at every quarter of an hour
    slots AS
    (
        SELECT
            user_id, day,
            previous_ids.1 AS org_id, previous_ids.2 AS project_id, previous_ids.3 AS task_id, previous_ids.4 AS job_id,
            arrayJoin(range(intDiv(from_ms, 900000), intDiv(end_ms - 1, 900000) + 1)) AS slot,
            toUInt64(least(end_ms, toInt64(slot + 1) * 900000) - greatest(from_ms, toInt64(slot) * 900000)) AS computed_ms,
            0 AS reported_ms,
            0 AS events
        FROM
        (
            SELECT *, if(has_previous AND begin_ms - furthest < threshold, furthest, begin_ms) AS from_ms
            FROM in_order WHERE NOT is_carried
        )
        WHERE end_ms > from_ms

        UNION ALL

        -- what the server said, and the events themselves. It says so in an event of its own. Before CVAT 2.14.1 of 2024-06-05 it wrote
        -- it into each event of the client's; since then that field is only what somebody claims who posts events.
        SELECT
            user_id, day, org_id, project_id, task_id, job_id,
            intDiv(begin_ms, 900000) AS slot,
            0 AS computed_ms,
            multiIf(
                source != 'client', duration,
                timestamp < toDateTime64('2024-06-05 00:00:00', 3, 'UTC'), JSONExtractUInt(ifNull(payload, ''), 'working_time'),
                0) AS reported_ms,
            source = 'client' AS events
        FROM raw
    ),
    per_slot AS
    (
        SELECT
            user_id, day, org_id, project_id, task_id, job_id, slot,
            sum(computed_ms) AS computed_ms, sum(reported_ms) AS reported_ms, sum(events) AS events
        FROM slots
        GROUP BY user_id, day, org_id, project_id, task_id, job_id, slot
    ),
    slot_rows AS
    (
        SELECT user_id, day, groupArray((org_id, project_id, task_id, job_id, toUInt32(slot), computed_ms, reported_ms, events)) AS by_slot
        FROM per_slot
        GROUP BY user_id, day
    )
SELECT
    stale.user_id AS user_id,
    stale.day AS day,
    now64(3) AS computed_at,
    slot_rows.by_slot AS by_slot
FROM stale
LEFT JOIN slot_rows ON stale.user_id <=> slot_rows.user_id AND stale.day = slot_rows.day;

-- 4. What readers see.
CREATE OR REPLACE VIEW working_time AS
SELECT
    user_id, org_id, project_id, task_id, job_id, day,
    sum(working_time_by_day.computed_ms) AS computed_ms,
    sum(working_time_by_day.reported_ms) AS reported_ms,
    sum(working_time_by_day.events) AS events
FROM working_time_by_day FINAL
WHERE working_time_by_day.computed_ms > 0 OR working_time_by_day.reported_ms > 0 OR working_time_by_day.events > 0
GROUP BY user_id, org_id, project_id, task_id, job_id, day;

-- Days as people count them where they are: in the time zone of the settings.
CREATE OR REPLACE VIEW working_time_local AS
SELECT
    user_id, org_id, project_id, task_id, job_id, local_day AS day,
    sum(working_time_by_day.computed_ms) AS computed_ms,
    sum(working_time_by_day.reported_ms) AS reported_ms,
    sum(working_time_by_day.events) AS events
FROM working_time_by_day FINAL
WHERE working_time_by_day.computed_ms > 0 OR working_time_by_day.reported_ms > 0 OR working_time_by_day.events > 0
GROUP BY user_id, org_id, project_id, task_id, job_id, local_day;

-- Any range of time: the quarters of an hour that begin in it, `since` included and `until` not. Ranges that follow one another
-- add up to the whole, in whichever time zone somebody has chosen them. Whole days (UTC) are read as such; only of the days
-- that the range cuts are the quarters asked for.
CREATE OR REPLACE VIEW working_time_in_range AS
WITH
    intDiv(toUnixTimestamp64Milli({since:DateTime64(3)}) + 899999, 900000) AS first_slot,
    intDiv(toUnixTimestamp64Milli({until:DateTime64(3)}) + 899999, 900000) AS end_slot,
    toDate(0) + intDiv(first_slot + 95, 96) AS first_whole,
    toDate(0) + intDiv(end_slot, 96) AS end_whole
SELECT user_id, org_id, project_id, task_id, job_id, local_day, computed_ms, reported_ms, events
FROM working_time_by_day FINAL
WHERE day >= first_whole AND day < end_whole

UNION ALL

SELECT
    user_id, org_id, project_id, task_id, job_id, local_day,
    arraySum(chosen.computed_ms) AS computed_ms, arraySum(chosen.reported_ms) AS reported_ms, arraySum(chosen.events) AS events
FROM
(
    WITH
        intDiv(toUnixTimestamp64Milli({since:DateTime64(3)}) + 899999, 900000) AS first_slot,
        intDiv(toUnixTimestamp64Milli({until:DateTime64(3)}) + 899999, 900000) AS end_slot,
        toDate(0) + intDiv(first_slot + 95, 96) AS first_whole,
        toDate(0) + intDiv(end_slot, 96) AS end_whole
    SELECT
        user_id, org_id, project_id, task_id, job_id, local_day,
        arrayFilter(each -> toUInt32(day) * 96 + each.slot >= first_slot AND toUInt32(day) * 96 + each.slot < end_slot, slots) AS chosen
    FROM working_time_by_day FINAL
    WHERE day >= toDate(0) + intDiv(first_slot, 96) AND day <= toDate(0) + intDiv(end_slot - 1, 96)
        AND NOT (day >= first_whole AND day < end_whole)
);

-- The same per quarter of an hour, for hours and for days in any time zone.
CREATE OR REPLACE VIEW working_time_slots AS
SELECT
    user_id,
    row.org_id AS org_id,
    row.project_id AS project_id,
    row.task_id AS task_id,
    row.job_id AS job_id,
    toDateTime(row.slot * 900, 'UTC') AS slot,
    sum(row.computed_ms) AS computed_ms,
    sum(row.reported_ms) AS reported_ms,
    sum(row.events) AS events
FROM (SELECT user_id, by_slot FROM working_time_results FINAL)
ARRAY JOIN by_slot AS row
GROUP BY user_id, org_id, project_id, task_id, job_id, slot;
