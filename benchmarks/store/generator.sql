-- CVAT histories: the work sessions {first} <= session < {last}, about 1000 events each, always the same ones.
-- 200 annotators, of whom 77 work on a workday, each once for some hours. Every number is a hash of (session, position).
-- Six workdays a week, the first of 2018 being the first: 200 M events are in the past, as events of the future are in a state of their own.
-- One run of 26 events ends with a save: the client's `save:job`, then what the server says about that request.
WITH
    ['change:frame', 'change:frame', 'change:frame', 'change:frame', 'change:frame', 'change:frame', 'change:frame',
     'change:frame', 'zoom:image', 'zoom:image', 'zoom:image', 'draw:object', 'draw:object', 'draw:object', 'drag:object',
     'drag:object', 'resize:object', 'resize:object', 'click:element'] AS frequent,
    ['fit:image', 'delete:object', 'copy:object', 'paste:object', 'action:undo', 'action:redo', 'propagate:object',
     'rotate:image', 'change:label', 'change:attribute', 'lock:object', 'merge:objects', 'group:objects'] AS infrequent,
    ['rectangle', 'rectangle', 'rectangle', 'polygon', 'polygon', 'mask', 'points', 'polyline'] AS shapes,
    ['Cannot read properties of undefined (reading ''clientID'')', 'Network Error', 'Request failed with status code 500',
     'timeout of 10000ms exceeded', 'The job is not available anymore', 'Failed to decode the chunk',
     'Maximum call stack size exceeded', 'Interpolation has failed', 'Shape must have at least 3 points',
     'Could not save annotations: 409 Conflict'] AS errors,
    ['new', 'in progress', 'completed', 'rejected'] AS states,
    sessions AS
    (
        SELECT
            number AS session,
            intDiv(number, 77) AS workday,
            (number % 77 * 97 + workday * 31) % 200 + 1 AS annotator,
            toUnixTimestamp64Milli(toDateTime64('2018-01-01 06:00:00', 3, 'Etc/UTC'))
                + (workday + intDiv(workday, 6)) * 86400000 + cityHash64(number, 'start') % 43200000 AS start_ms,
            arrayMap(
                i -> (
                    cityHash64(session, i, 'gap') AS h,
                    multiIf(
                        i % 26 BETWEEN 1 AND 4, h % 40, -- the server's answers to a save
                        h % 1000 < 5, 120000 + intDiv(h, 1000) % 2280000, -- a break
                        h % 1000 < 50, 20000 + intDiv(h, 1000) % 100000, -- a thought
                        toUInt64(150 - 4000 * log((intDiv(h, 1000) % 100000 + 1) / 100001)))).2,
                range(600 + cityHash64(number, 'length') % 801)) AS gaps
        FROM numbers({first}, {last} - {first})
    ),
    positions AS
    (
        SELECT
            session, workday, annotator, i,
            fromUnixTimestamp64Milli(toInt64(start_ms + passed), 'Etc/UTC') AS moment,
            i % 26 AS step,
            cityHash64(session, i, 'event') AS h,
            intDiv(h, 10000) AS h2,
            1000 + workday * 600 + annotator * 3 + intDiv(i, 390) AS job,
            intDiv(job, 20) AS task,
            cityHash64(task, 'project') % 40 + 1 AS project
        FROM sessions
        ARRAY JOIN arrayCumSum(gaps) AS passed, arrayEnumerate(gaps) AS i
    ),
    scoped AS
    (
        SELECT
            *,
            multiIf(
                i = 1, 'load:cvat',
                i % 390 = 5, 'load:job',
                step = 0, 'save:job',
                step = 1, 'create:shapes',
                step = 2, if(h % 2 = 0, 'update:shapes', 'create:tags'),
                step = 3 AND h % 4 = 0, 'delete:shapes',
                step = 3, 'update:shapes',
                step = 4, 'send:working_time',
                step = 5 AND h % 12 = 0, 'update:job',
                h % 10000 < 12, 'send:exception',
                h % 10000 < 1500, infrequent[h2 % length(infrequent) + 1],
                frequent[h2 % length(frequent) + 1]) AS kind,
            i % 390 != 5 AND i != 1 AND (step BETWEEN 1 AND 4 OR kind = 'update:job' OR kind = 'send:exception' AND h2 % 4 = 0) AS by_server,
            UUIDNumToString(MD5(concat(toString(session), '-', toString(intDiv(i, 26)), if(step = 4, 'w', ''), if(step > 4, toString(i), '')))) AS request,
            toString(100000 + cityHash64(session, 'client') % 900000) AS client,
            concat('annotator', leftPad(toString(annotator), 3, '0')) AS name
        FROM positions
    )
SELECT
    kind AS scope,
    multiIf(endsWith(kind, ':shapes'), shapes[h2 % length(shapes) + 1], kind = 'create:tags', 'tag', kind = 'update:job', 'state', NULL) AS obj_name,
    if(kind = 'update:job', toUInt64(job), NULL) AS obj_id,
    if(kind = 'update:job', states[h2 % 4 + 1], NULL) AS obj_val,
    if(by_server, 'server', 'client') AS source,
    moment AS timestamp,
    multiIf(
        endsWith(kind, ':shapes') OR kind = 'create:tags', toUInt32(1 + h2 % 20),
        match(kind, '^(draw|delete|copy|paste|propagate|merge|group|lock):'), toUInt32(1 + h2 % 2), NULL) AS count,
    toUInt32(multiIf(
        kind = 'change:frame', 20 + h2 % 400,
        kind = 'draw:object', 400 + h2 % 15000,
        kind IN ('drag:object', 'resize:object'), 100 + h2 % 2500,
        kind IN ('load:job', 'save:job', 'load:cvat'), 150 + h2 % 6000,
        kind = 'send:working_time', 15000 + h2 % 200000,
        kind = 'zoom:image', h2 % 900,
        0)) AS duration,
    if(kind = 'load:cvat', NULL, toUInt64(project)) AS project_id,
    if(kind = 'load:cvat', NULL, toUInt64(task)) AS task_id,
    if(kind = 'load:cvat', NULL, toUInt64(job)) AS job_id,
    toUInt64(annotator) AS user_id,
    name AS user_name,
    concat(name, '@example.org') AS user_email,
    if(project % 4 = 0, NULL, toUInt64(project % 4)) AS org_id,
    if(project % 4 = 0, NULL, concat('organization-', toString(project % 4))) AS org_slug,
    multiIf(
        kind = 'load:cvat',
            concat('{"platform": {"name": "', ['Chrome', 'Firefox', 'Edge'][annotator % 3 + 1], '", "version": "', toString(120 + intDiv(workday, 30)), '.0.0", "os": "',
                ['Windows 10', 'Linux', 'macOS'][intDiv(annotator, 3) % 3 + 1], '"}, "client_id": "', client, '", "is_active": true, "username": "', name, '"}'),
        kind = 'send:exception',
            concat('{"message": "', errors[h2 % length(errors) + 1], '", "stack": "Error: ', errors[h2 % length(errors) + 1],
                arrayStringConcat(arrayMap(n -> concat('\\n    at ', lower(hex(cityHash64(h2 % 300, n) % 65536)), '.render (https://cvat.example.org/assets/cvat-ui.', lower(hex(intDiv(workday, 20) * 7919)), '.min.js:2:', toString(cityHash64(h2 % 300, n) % 900000), ')'), range(6 + h2 % 6))),
                if(by_server, concat('", "status_code": 500, "basename": "jobs", "action": "annotations", "request": {"id": "', request, '"}}'), concat('", "client_id": "', client, '", "username": "', name, '"}'))),
        kind = 'send:working_time', concat('{"working_time": ', toString(duration), ', "request": {"id": "', request, '"}}'),
        kind = 'update:job', concat('{"old_value": "', states[(h2 + 3) % 4 + 1], '", "request": {"id": "', request, '"}}'),
        by_server AND session % 50 = 0, concat('{"request_id": "', request, '"}'),
        by_server, concat('{"request": {"id": "', request, '"}}'),
        concat('{"client_id": "', client, '", "is_active": true, "working_time": 0, "username": "', name, '"}')) AS payload,
    if(annotator % 50 = 0 AND by_server, 7, NULL)::Nullable(UInt64) AS access_token_id
FROM scoped
ARRAY JOIN range(if(cityHash64(session, intDiv(i, 10), 'retry') % 200 = 0, 2, 1)) AS copy -- ten events that were sent again
