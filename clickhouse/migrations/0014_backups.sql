-- One row per backup, as whoever made it, tried it or took it away has said last: `status` and the alert read it. Where ClickHouse is down, the file of
-- the last run beside the backup's own settings says the same.
CREATE TABLE IF NOT EXISTS backups
(
    -- when it began, as in 2026-11-30T02-30-00Z
    name String,
    -- where it lies, in the word of the setting `backup_target`
    target String,
    started DateTime64(3, 'Etc/UTC'),
    finished Nullable(DateTime64(3, 'Etc/UTC')),
    -- running, complete, failed; gone: taken away since
    state LowCardinality(String),
    -- of the tables, before they are packed
    bytes UInt64,
    -- when it was last restored beside the live tables and found to be what its manifest says; none: unproven
    verified Nullable(DateTime64(3, 'Etc/UTC')),
    -- what went wrong, or what of it is old
    message String,
    noted DateTime64(3, 'Etc/UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(noted)
ORDER BY (target, name);
