-- What working time is computed from and into (docs/working-time.md). Nothing here is more than a cache of `events`.

-- One row: the rule's numbers, and when they were changed, so that everything older is computed anew.
CREATE TABLE IF NOT EXISTS working_time_settings
(
    threshold_ms UInt32,
    duration_scopes Array(String),
    -- days before this are left as they are: their events are being dropped (0: never)
    retention_seconds UInt64,
    -- how long an insert may run: its days are noted when it begins, its events are readable when it ends
    settle_seconds UInt32 DEFAULT 60,
    time_zone String DEFAULT 'UTC',
    changed_at DateTime64(3, 'Etc/UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(changed_at)
ORDER BY tuple();

INSERT INTO working_time_settings (threshold_ms, duration_scopes, retention_seconds, changed_at)
SELECT 100000, ['change:frame'], 0, toDateTime64(0, 3) WHERE (SELECT count() FROM working_time_settings) = 0;

-- Per user and UTC day, what later days need to know of it, and when it was last written to. Kept by a materialized
-- view in the same insert; repeated events change nothing.
CREATE TABLE IF NOT EXISTS working_time_days
(
    user_id Nullable(UInt64),
    day Date,
    furthest_ms SimpleAggregateFunction(max, Int64),
    last_event AggregateFunction(argMax, Tuple(Nullable(UInt64), Nullable(UInt64), Nullable(UInt64), Nullable(UInt64)), Tuple(Int64, Int64, UInt8, UInt64, UInt8, UInt64, UInt8, UInt64, UInt8, UInt64)),
    client_events SimpleAggregateFunction(sum, UInt64),
    touched_at SimpleAggregateFunction(max, DateTime64(3, 'Etc/UTC'))
)
ENGINE = AggregatingMergeTree
ORDER BY (user_id, day)
SETTINGS allow_nullable_key = 1, non_replicated_deduplication_window = 1000;

-- The result, one row per user and UTC day: replaced as a whole, so that nothing of an older computation can stay.
-- `by_day`: sums per organization, project, task, job and UTC day (a span that begins on one day may end on another).
-- `by_slot`: the same per quarter of an hour since 1970, from which the days of any time zone follow.
CREATE TABLE IF NOT EXISTS working_time_results
(
    user_id Nullable(UInt64),
    day Date,
    computed_at DateTime64(3, 'Etc/UTC'),
    by_day Array(Tuple(org_id Nullable(UInt64), project_id Nullable(UInt64), task_id Nullable(UInt64), job_id Nullable(UInt64), day Date, computed_ms UInt64, reported_ms UInt64, events UInt64)),
    by_slot Array(Tuple(org_id Nullable(UInt64), project_id Nullable(UInt64), task_id Nullable(UInt64), job_id Nullable(UInt64), slot UInt32, computed_ms UInt64, reported_ms UInt64, events UInt64))
)
ENGINE = ReplacingMergeTree(computed_at)
ORDER BY (user_id, day)
SETTINGS allow_nullable_key = 1;
