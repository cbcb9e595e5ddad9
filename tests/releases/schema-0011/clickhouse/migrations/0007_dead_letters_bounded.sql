-- Of a large original the table keeps the beginning, so that a row can never be refused for its size; the whole is in a file
-- beside the journal, known by its SHA-256 (empty where the row has all of it). Two large originals that begin alike are two.
ALTER TABLE events_dead_letter
    ADD COLUMN IF NOT EXISTS original_size UInt64 DEFAULT length(original) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS original_sha256 String,
    ADD COLUMN IF NOT EXISTS original_file LowCardinality(String),
    MODIFY ORDER BY (reason, message, original, original_sha256);
