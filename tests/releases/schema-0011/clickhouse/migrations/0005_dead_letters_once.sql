-- A dead letter is known by its content, not by when it came: a producer that does not get its answer sends the request
-- again, and what could not be an event comes twice. Readers see one (FINAL is on for them), with the time of the last.
-- From a run that was interrupted, `events_dead_letter_other` may be there and hold letters; the first statements bring
-- them home, so that the script can be repeated from any point.
CREATE TABLE IF NOT EXISTS events_dead_letter_other AS events_dead_letter;
INSERT INTO events_dead_letter SELECT received_at, reason, message, original FROM events_dead_letter_other;
DROP TABLE events_dead_letter_other SYNC;

-- No partitions: FINAL would not look for the same letter in two of them.
CREATE TABLE events_dead_letter_other
(
    received_at DateTime64(3, 'Etc/UTC') CODEC(Delta, ZSTD(1)),
    reason LowCardinality(String),
    message String CODEC(ZSTD(3)),
    original String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
PRIMARY KEY reason
ORDER BY (reason, message, original)
SETTINGS non_replicated_deduplication_window = 1000;

-- Vector goes on inserting: what comes after the first copy is in the second.
INSERT INTO events_dead_letter_other SELECT received_at, reason, message, original FROM events_dead_letter;
EXCHANGE TABLES events_dead_letter AND events_dead_letter_other;
INSERT INTO events_dead_letter SELECT received_at, reason, message, original FROM events_dead_letter_other;
DROP TABLE events_dead_letter_other SYNC;
