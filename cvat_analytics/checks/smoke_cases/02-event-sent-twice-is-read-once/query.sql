SELECT count() FROM events WHERE user_email = {marker:String}
