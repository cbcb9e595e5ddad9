SELECT scope, source, user_name, payload, timestamp > now() - INTERVAL 10 MINUTE AS is_fresh
FROM events
WHERE user_email = {marker:String}
