SELECT count() FROM events SETTINGS max_execution_time = 0
