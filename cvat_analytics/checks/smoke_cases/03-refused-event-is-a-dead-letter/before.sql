SELECT toString(max(received_at)) FROM events_dead_letter WHERE original = 'cvat-analytics smoke test'
