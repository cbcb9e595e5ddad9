-- Counts of events per hour, for whatever is asked of a long time (docs/store.md). Nothing here is more than a cache of `events`.

-- Per UTC day: how many events have been inserted into it and when the last time was, and of when its counts are. Kept by
-- a materialized view in the same insert, and by the one that finds a day's counts complete.
CREATE TABLE IF NOT EXISTS event_days
(
    day Date,
    inserted SimpleAggregateFunction(sum, UInt64),
    touched_at SimpleAggregateFunction(max, DateTime64(3, 'Etc/UTC')),
    counted_at SimpleAggregateFunction(max, DateTime64(3, 'Etc/UTC'))
)
ENGINE = AggregatingMergeTree
ORDER BY day
SETTINGS non_replicated_deduplication_window = 1000;

-- The counts of days that are at rest. A day is counted as a whole, all of its rows at one time (`counted_at`); `day_rows` is how many
-- these are, so that a day of which only a part has been written is known. Rows that a day no longer has come back with no events.
CREATE TABLE IF NOT EXISTS event_counts_settled
(
    hour DateTime('Etc/UTC') CODEC(Delta, ZSTD(1)),
    scope LowCardinality(String) CODEC(ZSTD(1)),
    source LowCardinality(String) CODEC(ZSTD(1)),
    user_id Nullable(UInt64) CODEC(Delta, ZSTD(1)),
    org_id Nullable(UInt64) CODEC(ZSTD(1)),
    project_id Nullable(UInt64) CODEC(ZSTD(1)),
    task_id Nullable(UInt64) CODEC(Delta, ZSTD(1)),
    job_id Nullable(UInt64) CODEC(Delta, ZSTD(1)),
    events UInt64 CODEC(T64, ZSTD(1)),
    duration_ms UInt64 CODEC(T64, ZSTD(1)),
    durations Array(UInt32) CODEC(ZSTD(1)),
    quarters UInt8 CODEC(ZSTD(1)),
    day_rows UInt64 CODEC(ZSTD(1)),
    counted_at DateTime64(3, 'Etc/UTC') CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(counted_at)
PARTITION BY toYYYYMM(hour)
PRIMARY KEY (toDate(hour), scope, source, user_id)
ORDER BY (toDate(hour), scope, source, user_id, hour, org_id, project_id, task_id, job_id)
SETTINGS
    allow_nullable_key = 1,
    ttl_only_drop_parts = 1,
    -- a month that has been left alone becomes one part, which FINAL reads as fast as any table
    min_age_to_force_merge_seconds = 600,
    min_age_to_force_merge_on_partition_only = 1;
