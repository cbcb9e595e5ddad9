-- Working time by the rule that CVAT itself uses (docs/working-time.md), one row per user, day and job.
-- A person's client events in order of time: a pause of less than 100 seconds after the furthest end so far counts,
-- so does what an event adds beyond that end. Only change:frame has a duration of its own. The time that an event adds
-- belongs to the job, task and project of the event before it.
CREATE OR REPLACE VIEW working_time AS
WITH
    client_events AS
    (
        SELECT
            user_id, org_id, project_id, task_id, job_id, timestamp,
            toUnixTimestamp64Milli(timestamp) AS begin_ms,
            begin_ms + if(scope = 'change:frame', duration, 0) AS end_ms
        FROM events FINAL
        WHERE source = 'client'
    ),
    in_order AS
    (
        SELECT
            user_id, timestamp, begin_ms, end_ms,
            max(end_ms) OVER before AS furthest_ms,
            lagInFrame(org_id, 1, org_id) OVER up_to_now AS previous_org_id,
            lagInFrame(project_id, 1, project_id) OVER up_to_now AS previous_project_id,
            lagInFrame(task_id, 1, task_id) OVER up_to_now AS previous_task_id,
            lagInFrame(job_id, 1, job_id) OVER up_to_now AS previous_job_id
        FROM client_events
        WINDOW
            before AS (PARTITION BY user_id ORDER BY begin_ms, end_ms, job_id, task_id, project_id, org_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING),
            up_to_now AS (PARTITION BY user_id ORDER BY begin_ms, end_ms, job_id, task_id, project_id, org_id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
    )
SELECT
    user_id, org_id, project_id, task_id, job_id, day,
    toUInt64(sum(computed)) AS computed_ms,
    toUInt64(sum(reported)) AS reported_ms,
    sum(counted) AS events
FROM
(
    SELECT
        user_id,
        previous_org_id AS org_id,
        previous_project_id AS project_id,
        previous_task_id AS task_id,
        previous_job_id AS job_id,
        toDate(timestamp, 'UTC') AS day,
        if(begin_ms > furthest_ms AND begin_ms - furthest_ms < 100000, begin_ms - furthest_ms, 0)
            + if(end_ms > furthest_ms, end_ms - greatest(begin_ms, furthest_ms), 0) AS computed,
        0 AS reported,
        1 AS counted
    FROM in_order

    UNION ALL

    -- What the server said: an event of its own today, a field of the client's events before mid-2024
    SELECT
        user_id, org_id, project_id, task_id, job_id,
        toDate(timestamp, 'UTC') AS day,
        0 AS computed,
        if(scope = 'send:working_time', duration, JSONExtractUInt(ifNull(payload, ''), 'working_time')) AS reported,
        0 AS counted
    FROM events FINAL
    WHERE reported > 0 AND (scope = 'send:working_time' OR source = 'client')
)
GROUP BY user_id, org_id, project_id, task_id, job_id, day;
