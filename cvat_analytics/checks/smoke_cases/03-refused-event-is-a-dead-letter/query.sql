SELECT count(), any(reason) != '', toString(max(received_at)) != {before:String} AS is_new
FROM events_dead_letter
WHERE original = 'cvat-analytics smoke test'
