-- What was sent in a letter's place (`dead-letters edit`): the original stays as it came, and is not sent again.
ALTER TABLE events_dead_letter ADD COLUMN IF NOT EXISTS corrected String CODEC(ZSTD(3));
