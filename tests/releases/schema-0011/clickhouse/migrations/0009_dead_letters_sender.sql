-- From which address a letter came, as Vector saw it: that of the sender, of a proxy between, or of the events API. Not part
-- of what a letter is: the same one that comes again, from another address too, is read once.
ALTER TABLE events_dead_letter ADD COLUMN IF NOT EXISTS sender LowCardinality(String);
