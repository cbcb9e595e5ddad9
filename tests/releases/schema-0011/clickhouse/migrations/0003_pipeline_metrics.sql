-- What Vector says of itself every 15 seconds, and how full its disks are: for `status` and the Pipeline dashboard. A sample
-- that is missing (ClickHouse was away) is missing; the pipeline of events never waits for this one.
CREATE TABLE IF NOT EXISTS pipeline_metrics
(
    time DateTime('Etc/UTC') CODEC(Delta, ZSTD(1)),
    host LowCardinality(String) CODEC(ZSTD(1)),
    -- as Vector calls it, without the prefix of its source (`vector_`, `host_`) that Prometheus shows
    name LowCardinality(String) CODEC(ZSTD(1)),
    -- Vector's component_id; the sources are `cvat` (vector_port) and `cvat_PORT` (vector_extra_ports)
    component LowCardinality(String) CODEC(ZSTD(1)),
    tags Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    -- a counter's is the sum since Vector's start (`uptime_seconds` says when that was), a gauge's is as it is
    value Float64 CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toMonday(time)
ORDER BY (name, component, host, time)
TTL time + INTERVAL 30 DAY
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 100;
