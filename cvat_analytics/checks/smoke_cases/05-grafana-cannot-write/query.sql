INSERT INTO events (scope, source, timestamp, user_email) VALUES ('debug:info', 'smoke', '2075-02-01', {marker:String})
