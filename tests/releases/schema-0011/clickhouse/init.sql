-- The baseline: CVAT's event table as every reader knows it, and what stands beside it.
-- Statements run in the stack's own database; nothing here names it.

-- `SELECT *` shows CVAT's own columns in CVAT's own order, so that CVAT's export and existing queries work unchanged.
-- The whole row is the sort key: an event that arrives twice is the same row and is read once (FINAL is on for readers).
-- Key, codecs and indexes are chosen by measurement: docs/store.md. A day's exceptions and browser starts lie before
-- everything else of that day, so that the few panels that read only those do not read the rest.
CREATE TABLE IF NOT EXISTS events
(
    scope LowCardinality(String) CODEC(ZSTD(1)),
    obj_name LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    obj_id Nullable(UInt64) CODEC(Delta, ZSTD(1)),
    obj_val Nullable(String) CODEC(ZSTD(1)),
    source LowCardinality(String) CODEC(ZSTD(1)),
    timestamp DateTime64(3, 'Etc/UTC') CODEC(Delta, ZSTD(1)),
    count Nullable(UInt32) CODEC(ZSTD(1)),
    duration UInt32 DEFAULT 0 CODEC(ZSTD(1)),
    project_id Nullable(UInt64) CODEC(Delta, ZSTD(1)),
    task_id Nullable(UInt64) CODEC(Delta, ZSTD(1)),
    job_id Nullable(UInt64) CODEC(Delta, ZSTD(1)),
    user_id Nullable(UInt64) CODEC(Delta, ZSTD(1)),
    user_name LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    user_email LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    org_id Nullable(UInt64) CODEC(Delta, ZSTD(1)),
    org_slug LowCardinality(Nullable(String)) CODEC(ZSTD(1)),
    payload Nullable(String) CODEC(ZSTD(3)),
    access_token_id Nullable(UInt64) CODEC(Delta, ZSTD(1)),

    -- whole seconds: milliseconds would cost a tenth of the table
    received_at DateTime('Etc/UTC') MATERIALIZED now() CODEC(Delta, ZSTD(1)),
    -- the id of the API request that caused the event, in its newer and its older place
    request_id String MATERIALIZED coalesce(nullIf(JSONExtractString(ifNull(payload, ''), 'request', 'id'), ''), JSONExtractString(ifNull(payload, ''), 'request_id')) CODEC(ZSTD(1)),
    INDEX request_id request_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX job_id job_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX task_id task_id TYPE bloom_filter(0.001) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(timestamp)
PRIMARY KEY (toDate(timestamp), scope NOT IN ('load:cvat', 'send:exception'), user_id)
ORDER BY (toDate(timestamp), scope NOT IN ('load:cvat', 'send:exception'), user_id, timestamp, scope, source, job_id, task_id, project_id, org_id, obj_name, obj_id, obj_val, count, duration, user_name, user_email, org_slug, payload, access_token_id)
SETTINGS
    allow_nullable_key = 1,
    non_replicated_deduplication_window = 1000,
    ttl_only_drop_parts = 1,
    -- a month that nothing is added to any more becomes one part, which FINAL reads as fast as any table
    min_age_to_force_merge_seconds = 86400,
    min_age_to_force_merge_on_partition_only = 1;

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
