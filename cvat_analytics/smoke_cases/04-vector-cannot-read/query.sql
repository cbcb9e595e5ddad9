SELECT count() FROM events
