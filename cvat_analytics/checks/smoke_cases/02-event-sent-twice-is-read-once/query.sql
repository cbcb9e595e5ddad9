SELECT count() FROM events WHERE toYYYYMM(timestamp) = 207502 AND user_email = {marker:String}
