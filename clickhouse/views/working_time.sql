-- Working time by the rule that CVAT itself uses (docs/working-time.md).
-- A person's client events in order of time: a pause of less than the threshold after the furthest end so far counts,
-- so does what an event adds beyond that end. Only some scopes have a duration of their own. The time that an event adds
-- belongs to the job, task and project of the event before it.

-- 1. Every insert notes which days of which users it has touched, and what later days must know of them.
{% set touches %}
WITH
    (SELECT argMax(duration_scopes, changed_at) FROM working_time_settings) AS duration_scopes,
    toUnixTimestamp64Milli(timestamp) AS begin_ms,
    begin_ms + if(has(duration_scopes, scope), duration, 0) AS end_ms,
    source = 'client' AS is_client
SELECT
    user_id,
    toDate(timestamp, 'UTC') AS day,
    maxIf(end_ms, is_client) AS furthest_ms,
    -- the last one in the order of the rule: time, end, then ids with NULL last
    argMaxStateIf(
        (org_id, project_id, task_id, job_id),
        (begin_ms, end_ms, isNull(job_id), ifNull(job_id, 0), isNull(task_id), ifNull(task_id, 0), isNull(project_id), ifNull(project_id, 0), isNull(org_id), ifNull(org_id, 0)),
        is_client) AS last_event,
    countIf(is_client) AS client_events,
    now64(3) AS touched_at
FROM events
WHERE is_client OR scope = 'send:working_time'
GROUP BY user_id, day
{%- endset %}

DROP VIEW IF EXISTS working_time_touched;

CREATE MATERIALIZED VIEW working_time_touched TO working_time_days
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
{{ touches }};

-- What was inserted before there was this view, or while it was made anew. Noting a day twice is harmless.
INSERT INTO working_time_days
{{ touches }};

-- 2. Which days are not what the events say, or may not be yet. A touched day can change later ones: the next one with
-- events (whose first event has a new one before it), and all days that its events reach into.
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
    -- what retention has dropped, or is about to drop, keeps what was computed from it
    kept AS
    (
        SELECT greatest(
            toDate(min(timestamp), 'UTC'),
            if((SELECT retention_seconds FROM settings) = 0, toDate(0), toDate(now() - (SELECT retention_seconds FROM settings)))) AS first_day
        FROM events
    ),
    computed AS
    (
        SELECT user_id, day, max(computed_at) AS computed_at FROM working_time_results GROUP BY user_id, day
    ),
    days AS
    (
        SELECT
            user_id, day,
            max(furthest_ms) AS furthest,
            argMaxMerge(last_event) AS last_ids,
            sum(client_events) AS events,
            max(touched_at) AS touched
        FROM working_time_days
        GROUP BY user_id, day
    ),
    noted AS
    (
        SELECT
            days.user_id AS user_id, days.day AS day, furthest, last_ids, events,
            -- an insert that is still running has noted its days already: a day is computed again until that cannot be
            touched > computed.computed_at - toIntervalSecond((SELECT settle_seconds FROM settings)) OR computed.computed_at <= (SELECT changed FROM settings) AS is_touched,
            touched > computed.computed_at OR computed.computed_at <= (SELECT changed FROM settings) AS is_pending
        FROM days LEFT JOIN computed ON days.user_id <=> computed.user_id AND days.day = computed.day
    ),
    -- days without client events neither pass anything on nor receive it
    carried AS
    (
        SELECT
            user_id, day, events, is_touched, is_pending,
            max(furthest) OVER before AS carried_end,
            lagInFrame(last_ids, 1, (NULL, NULL, NULL, NULL)) OVER up_to_now AS carried_ids,
            row_number() OVER up_to_now > 1 AS has_carried,
            lagInFrame(is_touched, 1, 0) OVER up_to_now AS after_touched,
            max(if(is_touched, toDate(fromUnixTimestamp64Milli(reach + threshold, 'UTC')), toDate(0))) OVER before AS touched_until
        FROM
        (
            SELECT *, max(furthest) OVER (PARTITION BY user_id ORDER BY day ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS reach
            FROM noted WHERE events > 0
        )
        WINDOW
            before AS (PARTITION BY user_id ORDER BY day ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING),
            up_to_now AS (PARTITION BY user_id ORDER BY day ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
    )
SELECT user_id, day, events + 1 AS work, carried_end, carried_ids, has_carried, is_pending
FROM carried
WHERE (is_touched OR after_touched OR touched_until >= day)
    AND day >= (SELECT first_day FROM kept)

UNION ALL

SELECT user_id, day, 1 AS work, toInt64(0) AS carried_end, last_ids AS carried_ids, 0 AS has_carried, is_pending
FROM noted
WHERE events = 0 AND is_touched
    AND day >= (SELECT first_day FROM kept);

-- 3. Every so often these days are computed anew from the raw events.
DROP VIEW IF EXISTS working_time_refresh;

CREATE MATERIALIZED VIEW working_time_refresh
REFRESH EVERY 20 SECOND APPEND TO working_time_results
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
WITH
    (SELECT toInt64(argMax(threshold_ms, changed_at)) FROM working_time_settings) AS threshold,
    (SELECT argMax(duration_scopes, changed_at) FROM working_time_settings) AS scopes,
    all_stale AS
    (
        SELECT * FROM working_time_stale
    ),
    -- no more at once than fits into memory, but all days of a person together: they depend on each other
    chosen AS
    (
        SELECT user_id FROM
        (
            -- first who waits, then who is only computed once more because an insert may still have been running
            SELECT user_id, sum(user_work) OVER (ORDER BY waits DESC, user_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS work_before
            FROM (SELECT user_id, sum(work) AS user_work, max(is_pending) AS waits FROM all_stale GROUP BY user_id)
        )
        WHERE work_before < 2000000
    ),
    stale AS
    (
        SELECT user_id, day, carried_end, carried_ids, has_carried
        FROM all_stale
        WHERE (ifNull(user_id, 0), isNull(user_id)) IN (SELECT ifNull(user_id, 0), isNull(user_id) FROM chosen)
    ),
    raw AS
    (
        SELECT
            user_id, scope, source, duration, org_id, project_id, task_id, job_id, payload,
            toDate(timestamp, 'UTC') AS day,
            toUnixTimestamp64Milli(timestamp) AS begin_ms,
            begin_ms + if(has(scopes, scope), duration, 0) AS end_ms
        FROM events FINAL
        WHERE (source = 'client' OR scope = 'send:working_time')
            AND timestamp >= (SELECT toDateTime64(min(day), 3, 'UTC') FROM stale)
            AND timestamp < (SELECT toDateTime64(max(day) + 1, 3, 'UTC') FROM stale)
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
            -- the days before, as one event that lies before all others
            SELECT user_id, day, 1, toInt64(0), carried_end, carried_ids.1, carried_ids.2, carried_ids.3, carried_ids.4
            FROM stale WHERE has_carried
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

        -- what the server said: an event of its own today, a field of the client's events before mid-2024; and the events themselves
        SELECT
            user_id, day, org_id, project_id, task_id, job_id,
            intDiv(begin_ms, 900000) AS slot,
            0 AS computed_ms,
            if(scope = 'send:working_time', duration, JSONExtractUInt(ifNull(payload, ''), 'working_time')) AS reported_ms,
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
    ),
    day_rows AS
    (
        SELECT user_id, day, groupArray((org_id, project_id, task_id, job_id, worked_day, computed_ms, reported_ms, events)) AS by_day
        FROM
        (
            SELECT
                user_id, day, org_id, project_id, task_id, job_id,
                toDate(toDateTime(slot * 900, 'UTC'), 'UTC') AS worked_day,
                sum(per_slot.computed_ms) AS computed_ms, sum(per_slot.reported_ms) AS reported_ms, sum(per_slot.events) AS events
            FROM per_slot
            GROUP BY user_id, day, org_id, project_id, task_id, job_id, worked_day
        )
        GROUP BY user_id, day
    )
SELECT
    stale.user_id AS user_id,
    stale.day AS day,
    now64(3) AS computed_at,
    day_rows.by_day AS by_day,
    slot_rows.by_slot AS by_slot
FROM stale
LEFT JOIN day_rows ON stale.user_id <=> day_rows.user_id AND stale.day = day_rows.day
LEFT JOIN slot_rows ON stale.user_id <=> slot_rows.user_id AND stale.day = slot_rows.day;

-- 4. What readers see.
CREATE OR REPLACE VIEW working_time AS
SELECT
    user_id,
    row.org_id AS org_id,
    row.project_id AS project_id,
    row.task_id AS task_id,
    row.job_id AS job_id,
    row.day AS day,
    sum(row.computed_ms) AS computed_ms,
    sum(row.reported_ms) AS reported_ms,
    sum(row.events) AS events
FROM (SELECT user_id, by_day FROM working_time_results FINAL)
ARRAY JOIN by_day AS row
GROUP BY user_id, org_id, project_id, task_id, job_id, day;

-- The same per quarter of an hour, for days in other time zones and for hours.
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

-- Days as people count them where they are: in the time zone of the settings.
CREATE OR REPLACE VIEW working_time_local AS
WITH (SELECT argMax(time_zone, changed_at) FROM working_time_settings) AS time_zone
SELECT
    user_id, org_id, project_id, task_id, job_id,
    toDate(toTimeZone(slot, time_zone)) AS day,
    sum(computed_ms) AS computed_ms,
    sum(reported_ms) AS reported_ms,
    sum(events) AS events
FROM (SELECT user_id, org_id, project_id, task_id, job_id, slot, computed_ms, reported_ms, events FROM working_time_slots)
GROUP BY user_id, org_id, project_id, task_id, job_id, day;
