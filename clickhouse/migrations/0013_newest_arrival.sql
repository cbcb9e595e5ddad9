-- When the newest event of each day arrived, so that nobody has to read events to know when the last one came. Days of before are noted by
-- views/event_counts.sql.
ALTER TABLE event_days ADD COLUMN IF NOT EXISTS received_at SimpleAggregateFunction(max, DateTime('Etc/UTC'));
