-- When which job was completed, and by whom: an event in a thousand or fewer, which would have to be looked for among all.
-- Kept by a materialized view in the same insert; a repeated event is the same row. When this file changes, the view is made
-- anew and fed with all events. What retention drops from `events` stays here.
CREATE TABLE IF NOT EXISTS completed_jobs
(
    timestamp DateTime64(3, 'Etc/UTC') CODEC(Delta, ZSTD(1)),
    user_id Nullable(UInt64),
    org_id Nullable(UInt64),
    project_id Nullable(UInt64),
    task_id Nullable(UInt64),
    job_id UInt64
)
ENGINE = ReplacingMergeTree
ORDER BY (timestamp, job_id, user_id, task_id, project_id, org_id)
SETTINGS allow_nullable_key = 1;

{% set completed %}
SELECT timestamp, user_id, org_id, project_id, task_id, assumeNotNull(events.job_id) AS job_id
FROM events
WHERE scope = 'update:job' AND obj_name = 'state' AND obj_val = 'completed' AND events.job_id IS NOT NULL
{%- endset %}

DROP VIEW IF EXISTS completed_jobs_from_events;

CREATE MATERIALIZED VIEW completed_jobs_from_events TO completed_jobs
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
{{ completed }};

INSERT INTO completed_jobs
{{ completed }};
