-- When which job was completed, by whom, and in which stage: events of which there is one in a thousand or fewer, which would have to be
-- looked for among all. `job_changes` has them, kept by a materialized view in the same insert; a repeated event is the same row. Which
-- stage it was is found when it is asked for, so that late and shuffled events change nothing. When this file changes, the view is made
-- anew and fed with all events. What retention drops from `events` stays here.

-- change: 'state' (only `completed` is kept) or 'stage', whose first value comes with the job (create:job); before: the value until then
CREATE TABLE IF NOT EXISTS job_changes
(
    timestamp DateTime64(3, 'Etc/UTC') CODEC(Delta, ZSTD(1)),
    job_id UInt64,
    change LowCardinality(String),
    value LowCardinality(String),
    before LowCardinality(String),
    request_id String CODEC(ZSTD(1)),
    user_id Nullable(UInt64),
    org_id Nullable(UInt64),
    project_id Nullable(UInt64),
    task_id Nullable(UInt64)
)
ENGINE = ReplacingMergeTree
PRIMARY KEY (change, timestamp)
ORDER BY (change, timestamp, job_id, value, before, request_id, user_id, task_id, project_id, org_id)
SETTINGS allow_nullable_key = 1;

DROP VIEW IF EXISTS completed_jobs_from_events;

CREATE MATERIALIZED VIEW completed_jobs_from_events TO job_changes
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS

SELECT
    timestamp,
    assumeNotNull(if(scope = 'create:job', ifNull(events.job_id, obj_id), events.job_id)) AS job_id,
    if(scope = 'create:job', 'stage', toString(assumeNotNull(obj_name))) AS change,
    if(scope = 'create:job', ifNull(nullIf(JSONExtractString(ifNull(payload, ''), 'stage'), ''), 'annotation'), ifNull(obj_val, '')) AS value,
    JSONExtractString(ifNull(payload, ''), 'old_value') AS before,
    request_id, user_id, org_id, project_id, task_id
FROM events
WHERE (scope = 'create:job' OR scope = 'update:job' AND (obj_name = 'stage' OR obj_name = 'state' AND obj_val = 'completed'))
    AND (events.job_id IS NOT NULL OR scope = 'create:job' AND obj_id IS NOT NULL);

-- first, as what stored events have in common with them comes again
ALTER TABLE job_changes DELETE WHERE (toString(timestamp), job_id, toString(change)) IN
(
    SELECT JSONExtractString(original, 'timestamp'), ifNull(JSONExtract(original, 'job_id', 'Nullable(UInt64)'), JSONExtractUInt(original, 'obj_id')), if(JSONExtractString(original, 'scope') = 'create:job', 'stage', JSONExtractString(original, 'obj_name'))
    FROM events_dead_letter
    WHERE reason = 'implausible date' AND JSONExtractString(original, 'scope') IN ('create:job', 'update:job')
)
SETTINGS mutations_sync = 1, allow_nondeterministic_mutations = 1;

INSERT INTO job_changes

SELECT
    timestamp,
    assumeNotNull(if(scope = 'create:job', ifNull(events.job_id, obj_id), events.job_id)) AS job_id,
    if(scope = 'create:job', 'stage', toString(assumeNotNull(obj_name))) AS change,
    if(scope = 'create:job', ifNull(nullIf(JSONExtractString(ifNull(payload, ''), 'stage'), ''), 'annotation'), ifNull(obj_val, '')) AS value,
    JSONExtractString(ifNull(payload, ''), 'old_value') AS before,
    request_id, user_id, org_id, project_id, task_id
FROM events
WHERE (scope = 'create:job' OR scope = 'update:job' AND (obj_name = 'stage' OR obj_name = 'state' AND obj_val = 'completed'))
    AND (events.job_id IS NOT NULL OR scope = 'create:job' AND obj_id IS NOT NULL);

-- Earlier versions kept completed jobs in a table of this name, without the stage. What only that knows, because the events are gone,
-- is taken over; nothing is when this is done again.
CREATE TABLE IF NOT EXISTS completed_jobs
(
    timestamp DateTime64(3, 'Etc/UTC'),
    user_id Nullable(UInt64),
    org_id Nullable(UInt64),
    project_id Nullable(UInt64),
    task_id Nullable(UInt64),
    job_id UInt64
)
ENGINE = ReplacingMergeTree
ORDER BY (timestamp, job_id, user_id, task_id, project_id, org_id)
SETTINGS allow_nullable_key = 1;

INSERT INTO job_changes (timestamp, job_id, change, value, user_id, org_id, project_id, task_id)
SELECT timestamp, job_id, 'state', 'completed', user_id, org_id, project_id, task_id
FROM completed_jobs
WHERE (timestamp, job_id) NOT IN (SELECT timestamp, job_id FROM job_changes WHERE change = 'state')
    AND (toString(timestamp), job_id, 'state') NOT IN
(
    SELECT JSONExtractString(original, 'timestamp'), ifNull(JSONExtract(original, 'job_id', 'Nullable(UInt64)'), JSONExtractUInt(original, 'obj_id')), if(JSONExtractString(original, 'scope') = 'create:job', 'stage', JSONExtractString(original, 'obj_name'))
    FROM events_dead_letter
    WHERE reason = 'implausible date' AND JSONExtractString(original, 'scope') IN ('create:job', 'update:job')
);

-- dates of wrong clocks, of events that nobody has any more
ALTER TABLE job_changes DELETE WHERE timestamp < '2018-01-01 00:00:00.000' OR timestamp > now64(3) + INTERVAL 1 DAY SETTINGS mutations_sync = 1;

-- A job that goes through three stages is completed in each of them, and so three times. The stage is the one that the same request has
-- set (whoever sets stage and state at once has completed the new stage), else the last one set before, else what the next one says that
-- it was until then; jobs that are older than the stored events may have none of these.
CREATE OR REPLACE VIEW completed_jobs AS
WITH
    arrayLast(each -> each.4 = completions.request_id AND each.4 != '', stages).2 AS set_with_it,
    arrayLast(each -> each.1 <= completions.timestamp, stages).2 AS set_before,
    arrayFirst(each -> each.1 > completions.timestamp, stages).3 AS ended_later
SELECT
    completions.timestamp AS timestamp, user_id, org_id, project_id, task_id, completions.job_id AS job_id,
    multiIf(set_with_it != '', set_with_it, set_before != '', set_before, ended_later != '', ended_later, 'unknown') AS stage
FROM
(
    SELECT timestamp, job_id, request_id, user_id, org_id, project_id, task_id
    FROM job_changes
    WHERE change = 'state'
) AS completions
LEFT JOIN
(
    SELECT job_id, arraySort(groupArray((timestamp, toString(value), toString(before), request_id))) AS stages
    FROM job_changes
    WHERE change = 'stage'
    GROUP BY job_id
) AS histories ON histories.job_id = completions.job_id;
