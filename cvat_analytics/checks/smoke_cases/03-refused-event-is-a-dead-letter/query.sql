SELECT count(), any(reason) != '' FROM events_dead_letter WHERE position(original, {marker:String}) > 0
