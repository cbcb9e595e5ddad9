-- What the Pipeline dashboard shows of the server itself. The views have their definer's rights: whoever may read this
-- database sees these few facts of it, and needs no right on the system tables.

-- One row per table and month of its own, with what it holds on disk.
CREATE OR REPLACE VIEW storage_parts
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT table, partition, count() AS parts, sum(rows) AS rows, sum(bytes_on_disk) AS bytes
FROM system.parts
WHERE database = currentDatabase() AND active
GROUP BY table, partition;

-- One row per table. retention_seconds is NULL where everything is kept: only a table with a TTL drops anything.
CREATE OR REPLACE VIEW storage_tables
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT
    table, rows, bytes,
    if(ttl[1] = '', NULL, toUInt64(ttl[2]) * transform(ttl[1], ['Second', 'Hour', 'Day', 'Month'], [1, 3600, 86400, 2592000], 0)) AS retention_seconds
FROM
(
    SELECT
        name AS table, ifNull(total_rows, 0) AS rows, ifNull(total_bytes, 0) AS bytes,
        extractGroups(engine_full, ' TTL .*?toInterval([A-Z][a-z]+)\\((\\d+)\\)') AS ttl
    FROM system.tables
    WHERE database = currentDatabase() AND engine LIKE '%MergeTree'
);

-- The disks that this database's tables are on.
CREATE OR REPLACE VIEW storage_disks
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT name AS disk, path, total_space AS total_bytes, unreserved_space AS free_bytes
FROM system.disks
WHERE name IN (SELECT disk_name FROM system.parts WHERE database = currentDatabase() AND active) OR name = 'default';

-- In how many days ClickHouse's disk is full if events keep coming as between two moments, NULL where it does not fill. Of
-- whoever asks, these are the last seven days: the dashboard's whole ones, and those that end when an alert is evaluated.
CREATE OR REPLACE VIEW storage_forecast
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
WITH
    (SELECT sum(bytes) FROM storage_tables) AS held,
    (SELECT greatest(sum(rows), 1) FROM storage_tables WHERE table = 'events') AS held_events,
    (SELECT max(retention_seconds) / 86400 FROM storage_tables WHERE table = 'events') AS kept_days,
    (SELECT sum(events) FROM event_counts WHERE hour >= {since:DateTime} AND hour < {until:DateTime}) AS arrived,
    -- what an event takes, all tables together, times the events of a day
    arrived / (dateDiff('hour', {since:DateTime}, {until:DateTime}) / 24) * held / held_events AS bytes_per_day,
    -- with a retention the store stops growing when it is as old as that
    ifNull(kept_days * bytes_per_day - held, inf) AS still_to_come
SELECT disk, path, if(bytes_per_day <= 0 OR still_to_come <= free_bytes, NULL, free_bytes / bytes_per_day) AS days
FROM storage_disks
WHERE disk = 'default';

-- What is installed here, and since when.
CREATE OR REPLACE VIEW server_versions
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT 'ClickHouse' AS part, version() AS version, toDateTime(now() - uptime(), 'UTC') AS since
UNION ALL
SELECT 'Database schema', maxIf(name, kind = 'once'), toDateTime(max(applied_at), 'UTC')
FROM schema_migrations;
