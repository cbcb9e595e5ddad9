SELECT count() FROM events SETTINGS max_memory_usage = 0
