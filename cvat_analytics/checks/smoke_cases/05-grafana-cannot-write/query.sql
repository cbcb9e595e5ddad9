INSERT INTO events (scope, source, timestamp) VALUES ('debug:info', 'smoke', now())
