-- What the Pipeline dashboard shows of the server itself. The views have their definer's rights: whoever may read this
-- database sees these few facts of it, and needs no right on the system tables.

-- One row per table and month of its own, with what it holds on disk.
CREATE OR REPLACE VIEW storage_parts
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT table, partition, count() AS parts, sum(rows) AS rows, sum(bytes_on_disk) AS bytes
FROM system.parts
WHERE database = currentDatabase() AND active
GROUP BY table, partition;

-- One row per table. retention_seconds is NULL where everything is kept: only a table with a TTL drops anything.
CREATE OR REPLACE VIEW storage_tables
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT
    table, rows, bytes,
    if(ttl[1] = '', NULL, toUInt64(ttl[2]) * transform(ttl[1], ['Second', 'Hour', 'Day', 'Month'], [1, 3600, 86400, 2592000], 0)) AS retention_seconds
FROM
(
    SELECT
        name AS table, ifNull(total_rows, 0) AS rows, ifNull(total_bytes, 0) AS bytes,
        extractGroups(engine_full, ' TTL .*?toInterval([A-Z][a-z]+)\\((\\d+)\\)') AS ttl
    FROM system.tables
    WHERE database = currentDatabase() AND engine LIKE '%MergeTree'
);

-- The disks that this database's tables are on.
CREATE OR REPLACE VIEW storage_disks
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT name AS disk, path, total_space AS total_bytes, unreserved_space AS free_bytes
FROM system.disks
WHERE name IN (SELECT disk_name FROM system.parts WHERE database = currentDatabase() AND active) OR name = 'default';

-- In how many days ClickHouse's disk is full if events keep coming as between two moments, NULL where it does not fill. Of
-- whoever asks, these are the last seven days: the dashboard's whole ones, and those that end when an alert is evaluated.
CREATE OR REPLACE VIEW storage_forecast
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
WITH
    (SELECT sum(bytes) FROM storage_tables) AS held,
    (SELECT greatest(sum(rows), 1) FROM storage_tables WHERE table = 'events') AS held_events,
    (SELECT max(retention_seconds) / 86400 FROM storage_tables WHERE table = 'events') AS kept_days,
    (SELECT sum(events) FROM event_counts WHERE hour >= {since:DateTime} AND hour < {until:DateTime}) AS arrived,
    -- what an event takes, all tables together, times the events of a day
    arrived / (dateDiff('hour', {since:DateTime}, {until:DateTime}) / 24) * held / held_events AS bytes_per_day,
    -- with a retention the store stops growing when it is as old as that
    ifNull(kept_days * bytes_per_day - held, inf) AS still_to_come
SELECT disk, path, if(bytes_per_day <= 0 OR still_to_come <= free_bytes, NULL, free_bytes / bytes_per_day) AS days
FROM storage_disks
WHERE disk = 'default';

-- What is installed here, and since when.
CREATE OR REPLACE VIEW server_versions
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT 'ClickHouse' AS part, version() AS version, toDateTime(now() - uptime(), 'UTC') AS since
UNION ALL
SELECT 'Database schema', maxIf(name, kind = 'once'), toDateTime(max(applied_at), 'UTC')
FROM schema_migrations;

-- ClickHouse's own words to what Vector inserts, of the last two days (`insert_errors`): its query log, and, where there is none (yet), the
-- last error of each kind since the server's start, which also has the logins that were refused. Messages quote what was
-- inserted at their end, which is left out; control characters are blanks.
CREATE OR REPLACE VIEW query_log_form AS
SELECT
    toDate(0) AS event_date, toDateTime(0) AS event_time, '' AS user, '' AS query, toInt32(0) AS exception_code, '' AS exception,
    CAST(1, 'Enum8(\'QueryStart\' = 1, \'QueryFinish\' = 2, \'ExceptionBeforeStart\' = 3, \'ExceptionWhileProcessing\' = 4)') AS type
WHERE 0;

CREATE OR REPLACE VIEW insert_errors
DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
WITH
    text -> substringUTF8(replaceRegexpAll(replaceRegexpAll(replaceRegexpAll(
        text, '^Code: [0-9]+\\. DB::[A-Za-z]*Exception: |(?s)(: )?While executing .*$|(?s) \\(version .*$', ''),
        '(?s)(:|\\.)? (before|Column values): .*$', ''), '[[:cntrl:]]+', ' '), 1, 300) AS plain
SELECT at, table, code, trimRight(plain(message), ' .:,') AS words, times, from_log
FROM
(
    SELECT
        event_time AS at, extract(query, '(?i)INSERT INTO (?:`?\\w+`?\\.)?`?(\\w+)') AS table, exception_code AS code, exception AS message, toUInt64(1) AS times, true AS from_log
    -- one of the two is always there
    FROM merge(REGEXP('.'), '^(query_log|query_log_form)$')
    WHERE event_date >= today() - 2 AND type IN ('ExceptionBeforeStart', 'ExceptionWhileProcessing') AND user = 'vector'
    UNION ALL
    SELECT last_error_time, '', code, last_error_message, value, false
    FROM system.errors
    -- what somebody asked is nobody else's affair; and one error ClickHouse raises and catches by itself with every other query
    WHERE NOT remote AND last_error_time >= today() - 2 AND NOT match(last_error_message, '(?i)\\bselect\\b|\\bin scope\\b|syntax error')
        AND NOT startsWith(last_error_message, 'Type mismatch in IN or VALUES section')
        -- nor is it an answer where nobody was there to hear one: SOCKET_TIMEOUT, NETWORK_ERROR, ABORTED (what was being written)
        -- and QUERY_WAS_CANCELLED, of a client that went away
        AND code NOT IN (209, 210, 236, 394)
);

-- Which sink's batch ClickHouse refuses at a moment: since when, how often, and with which words. Vector says every 15 s
-- what it was answered. A single refusal that the next attempt mends is none: the next reading tells. Where all is refused,
-- Vector's readings too, only ClickHouse's words are left (sink `everything`).
CREATE OR REPLACE VIEW refused_sinks AS
WITH
    readings AS
    (
        SELECT
            host, component AS sink, name, tags['status'] AS status, time,
            lagInFrame(value, 1, 0.) OVER (PARTITION BY host, component, name, toString(tags) ORDER BY time) AS before,
            -- a counter begins anew with each life of Vector
            if(value >= before, value - before, value) AS grown
        FROM pipeline_metrics
        WHERE time > {at:DateTime} - INTERVAL 7 DAY AND time <= {at:DateTime}
          AND name IN ('http_client_responses_total', 'http_client_errors_total') AND component IN ('events', 'dead_letters')
    ),
    lives AS
    (
        SELECT host, max(time) AS measured_at, measured_at - toUInt32(argMax(value, time)) AS began
        FROM pipeline_metrics
        WHERE time > {at:DateTime} - INTERVAL 5 MINUTE AND time <= {at:DateTime} AND name = 'uptime_seconds'
        GROUP BY host
    ),
    delivered AS
    (
        SELECT host, sink, maxIf(time, startsWith(status, '2') AND grown > 0) AS at
        FROM readings
        GROUP BY host, sink
    ),
    troubles AS
    (
        SELECT
            host, sink,
            minIf(time, name = 'http_client_responses_total') AS since,
            toUInt64(sumIf(grown, name = 'http_client_responses_total')) AS refusals,
            toUInt64(sumIf(grown, name = 'http_client_errors_total')) AS unanswered,
            arrayStringConcat(arraySort(groupUniqArrayIf(status, name = 'http_client_responses_total')), ', ') AS statuses,
            maxIf(time, name = 'http_client_responses_total') AS last_at,
            any(delivered.at) AS delivered_at
        FROM readings
        INNER JOIN delivered USING (host, sink)
        INNER JOIN lives USING (host)
        -- the counters of one reading may have times a second apart
        WHERE grown > 0 AND NOT startsWith(status, '2') AND time > delivered.at + 5
        GROUP BY host, sink
        -- a batch comes again within a minute and a half; and soon after a start of Vector, unless it was taken away meanwhile
        HAVING refusals > 0 AND since <= {at:DateTime} - 25 AND last_at + 150 > any(lives.measured_at)
            AND (last_at >= any(lives.began) OR any(lives.began) + 10 > any(lives.measured_at))
    ),
    errors AS
    (
        -- which HTTP status ClickHouse gives to which error (src/Server/HTTP/exceptionCodeToHTTPStatus.cpp)
        SELECT
            *,
            multiIf(
                code IN (192, 193, 497, 516), '403', code = 194, '401', code = 159, '408', code = 48, '501',
                code IN (46, 47, 50, 56, 60, 63, 73, 78, 81, 115), '404',
                code IN (6, 25, 26, 27, 38, 41, 53, 62, 69, 72, 117, 168, 223, 321, 376), '400', '500') AS status
        FROM insert_errors
        WHERE at <= {at:DateTime} AND words != ''
    )
SELECT
    troubles.host AS host, troubles.sink AS sink, troubles.since AS since, troubles.refusals AS refusals,
    troubles.unanswered AS unanswered, troubles.statuses AS statuses, troubles.delivered_at AS delivered_at,
    argMaxIf(errors.words, (errors.from_log, errors.at),
        errors.at > troubles.since - 60 AND (NOT errors.from_log AND position(troubles.statuses, errors.status) > 0 OR errors.from_log AND errors.table = transform(troubles.sink, ['dead_letters'], ['incoming_dead_letters'], 'incoming_events'))) AS words
FROM troubles
LEFT JOIN errors ON 1
GROUP BY ALL
UNION ALL
SELECT '' AS host, 'everything' AS sink, last_reading AS since, refused_times AS refusals, 0 AS unanswered, '403' AS statuses, last_reading AS delivered_at, last_words AS words
FROM
(
    SELECT max(time) AS last_reading FROM pipeline_metrics WHERE time > {at:DateTime} - INTERVAL 7 DAY AND time <= {at:DateTime} AND name = 'uptime_seconds'
) AS readings
CROSS JOIN
(
    SELECT argMax(errors.words, errors.at) AS last_words, sum(errors.times) AS refused_times
    FROM errors
    WHERE startsWith(words, 'vector: ') AND status = '403' AND at > {at:DateTime} - 120
) AS refused
WHERE last_reading > toDateTime(0) AND last_reading <= {at:DateTime} - 60 AND refused_times > 0;

-- People who change annotations with a browser, and what their browsers send, at a moment: CVAT's server tells of the changes
-- itself, and passes on what the browser sends. Servers before `user_agent` do not say what the change came from.
CREATE OR REPLACE VIEW event_sources AS
WITH
    recent AS
    (
        SELECT
            source, user_id, received_at,
            source = 'server' AND match(scope, '^(create|update|delete):(shapes|tracks|tags)$')
                AND (startsWith(JSONExtractString(payload, 'request', 'user_agent'), 'Mozilla/') OR NOT JSONHas(payload, 'request', 'user_agent')) AS at_work
        FROM events
        WHERE timestamp > {at:DateTime} - INTERVAL 1 DAY AND timestamp <= {at:DateTime} + INTERVAL 1 HOUR
          AND received_at > {at:DateTime} - INTERVAL 1 DAY AND received_at <= {at:DateTime}
    ),
    people AS
    (
        SELECT user_id, countIf(at_work) AS changes, countIf(source = 'client') AS clicks
        FROM recent
        WHERE user_id IS NOT NULL
        GROUP BY user_id
        HAVING changes >= 10
    )
SELECT
    (SELECT count() FROM people) AS people,
    (SELECT countIf(clicks = 0) FROM people) AS people_without,
    countIf(at_work AND received_at > {at:DateTime} - INTERVAL 1 HOUR) AS changes,
    -- somebody has been at it for a while, and nothing of any browser has come
    changes >= 10 AND countIf(source = 'client' AND received_at > {at:DateTime} - INTERVAL 1 HOUR) = 0
        AND dateDiff('minute', minIf(received_at, at_work AND received_at > {at:DateTime} - INTERVAL 1 HOUR), {at:DateTime}) >= 15 AS client_silent
FROM recent;
