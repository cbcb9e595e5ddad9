-- The baseline: CVAT's event table as every reader knows it, and what stands beside it.
-- Statements run in the stack's own database; nothing here names it.

-- `SELECT *` shows CVAT's own columns in CVAT's own order, so that CVAT's export and existing queries work unchanged.
-- The whole row is the sort key: an event that arrives twice is the same row and is read once (FINAL is on for readers).
CREATE TABLE IF NOT EXISTS events
(
    scope LowCardinality(String),
    obj_name LowCardinality(Nullable(String)),
    obj_id Nullable(UInt64),
    obj_val Nullable(String),
    source LowCardinality(String),
    timestamp DateTime64(3, 'Etc/UTC') CODEC(DoubleDelta, ZSTD(1)),
    count Nullable(UInt16),
    duration UInt32 DEFAULT 0,
    project_id Nullable(UInt64),
    task_id Nullable(UInt64),
    job_id Nullable(UInt64),
    user_id Nullable(UInt64),
    user_name LowCardinality(Nullable(String)),
    user_email LowCardinality(Nullable(String)),
    org_id Nullable(UInt64),
    org_slug LowCardinality(Nullable(String)),
    payload Nullable(String) CODEC(ZSTD(3)),
    access_token_id Nullable(UInt64),

    received_at DateTime64(3, 'Etc/UTC') MATERIALIZED now64(3),
    -- the id of the API request that caused the event, in its newer and its older place
    request_id String MATERIALIZED coalesce(nullIf(JSONExtractString(ifNull(payload, ''), 'request', 'id'), ''), JSONExtractString(ifNull(payload, ''), 'request_id')) CODEC(ZSTD(1)),
    INDEX request_id request_id TYPE bloom_filter GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(timestamp)
PRIMARY KEY (toStartOfHour(timestamp), user_id)
ORDER BY (toStartOfHour(timestamp), user_id, timestamp, scope, source, job_id, task_id, project_id, org_id, obj_name, obj_id, obj_val, count, duration, user_name, user_email, org_slug, payload, access_token_id)
SETTINGS allow_nullable_key = 1, non_replicated_deduplication_window = 1000, ttl_only_drop_parts = 1;

-- What could not be an event, with the reason and the original, so that nothing is lost.
CREATE TABLE IF NOT EXISTS events_dead_letter
(
    received_at DateTime64(3, 'Etc/UTC'),
    reason LowCardinality(String),
    message String CODEC(ZSTD(3)),
    original String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(received_at)
ORDER BY (received_at, reason, message, original)
SETTINGS non_replicated_deduplication_window = 1000, ttl_only_drop_parts = 1;
