-- No codecs but the payload's.
CREATE TABLE {table}
(
    scope LowCardinality(String),
    obj_name LowCardinality(Nullable(String)),
    obj_id Nullable(UInt64),
    obj_val Nullable(String),
    source LowCardinality(String),
    timestamp DateTime64(3, 'Etc/UTC'),
    count Nullable(UInt32),
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
    received_at DateTime('Etc/UTC') MATERIALIZED now(),
    request_id String MATERIALIZED coalesce(nullIf(JSONExtractString(ifNull(payload, ''), 'request', 'id'), ''), JSONExtractString(ifNull(payload, ''), 'request_id')),
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
    min_age_to_force_merge_seconds = 86400,
    min_age_to_force_merge_on_partition_only = 1
