-- Events of before there was CVAT, or of more than a day after they arrived, become dead letters, as those are that arrive from now on: reports
-- counted them for a time in which nobody worked, and retention dropped them at once or never. Safe to repeat: the same event is the same letter.
-- The month of the smoke tests' events stays.

-- What their days and people are then is computed anew (days that no event has are left out of that: see views/working_time.sql).
ALTER TABLE working_time_days DELETE
WHERE (ifNull(user_id, 0), isNull(user_id), day) IN
(
    SELECT ifNull(user_id, 0), isNull(user_id), toDate(timestamp, 'UTC')
    FROM events
    WHERE timestamp < '2018-01-01 00:00:00.000' OR timestamp > received_at + INTERVAL 1 DAY AND toYYYYMM(timestamp) != 207502
)
SETTINGS mutations_sync = 1, allow_nondeterministic_mutations = 1;

INSERT INTO working_time_days (user_id, day, touched_at)
SELECT DISTINCT user_id, toDate(timestamp, 'UTC'), now64(3)
FROM events
WHERE timestamp < '2018-01-01 00:00:00.000' OR timestamp > received_at + INTERVAL 1 DAY AND toYYYYMM(timestamp) != 207502;

INSERT INTO events_dead_letter (received_at, reason, message, original)
SELECT
    now64(3), 'implausible date',
    if(timestamp < '2018-01-01 00:00:00.000', 'before 2018, when there was no CVAT', 'more than a day after it arrived'),
    formatRowNoNewline('JSONEachRow', scope, obj_name, obj_id, obj_val, source, timestamp, count, duration, project_id, task_id, job_id, user_id, user_name, user_email, org_id, org_slug, payload, access_token_id)
FROM events
WHERE timestamp < '2018-01-01 00:00:00.000' OR timestamp > received_at + INTERVAL 1 DAY AND toYYYYMM(timestamp) != 207502;

ALTER TABLE events DELETE
WHERE timestamp < '2018-01-01 00:00:00.000' OR timestamp > received_at + INTERVAL 1 DAY AND toYYYYMM(timestamp) != 207502
SETTINGS mutations_sync = 1;
