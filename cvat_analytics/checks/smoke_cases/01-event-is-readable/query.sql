SELECT scope, source, user_name, payload, received_at > now() - INTERVAL 10 MINUTE AS is_fresh
FROM events
WHERE toYYYYMM(timestamp) = 207502
  AND user_email = {marker:String}
