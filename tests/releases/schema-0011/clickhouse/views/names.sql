-- Names for ids, as far as events reveal them: the latest one known of each. What dashboards join are the four views at
-- the end; `known_names` keeps one small state per id, which a materialized view brings up to date with every insert (one for all
-- kinds, because each costs every insert a part of its own), and another one with those that tell of others.
--
-- A state remembers a name with its time and gives way to a later one, so that repeated, late and shuffled events change
-- nothing. At equal times what people do themselves tells more than what is said of them (`own`), and then the greater name. An event
-- from a wrong clock's future counts as of its arrival (known to the second); else its name could never be replaced. When this file
-- changes, the views are made anew and fed with all events. They have their definer's rights: `vector` may insert into `events` and nothing else.

-- kind: user, email (of a user), organization, project or task; name: by (time, own, name); told_at: when an event has told it last, by
-- which people's names and addresses go when events do (the setting `names_retention`)
CREATE TABLE IF NOT EXISTS known_names
(
    kind LowCardinality(String),
    id UInt64,
    name AggregateFunction(argMax, String, Tuple(DateTime64(3, 'Etc/UTC'), UInt8, String)),
    told_at SimpleAggregateFunction(max, DateTime('Etc/UTC')) DEFAULT toDateTime(greatest(0, intDiv(reinterpretAsInt64(substring(unhex(hex(name)), 6 + reinterpretAsUInt32(substring(unhex(hex(name)), 1, 4)), 8)), 1000)), 'Etc/UTC')
)
ENGINE = AggregatingMergeTree
ORDER BY (kind, id);
-- tables that were made before there was this column: what is in the state says it of names whose events are gone
ALTER TABLE known_names ADD COLUMN IF NOT EXISTS told_at SimpleAggregateFunction(max, DateTime('Etc/UTC')) DEFAULT toDateTime(greatest(0, intDiv(reinterpretAsInt64(substring(unhex(hex(name)), 6 + reinterpretAsUInt32(substring(unhex(hex(name)), 1, 4)), 8)), 1000)), 'Etc/UTC');

-- A SELECT as long as that takes ClickHouse longer to read than thousands of events, and it is read with every insert that it is given anything
-- of: so the few events that it is about are picked out first, into a table that keeps nothing.
CREATE TABLE IF NOT EXISTS naming_events
(
    timestamp DateTime64(3, 'Etc/UTC'),
    received_at DateTime('Etc/UTC'),
    scope String,
    obj_id Nullable(UInt64),
    obj_name Nullable(String),
    obj_val Nullable(String),
    payload Nullable(String),
    project_id Nullable(UInt64),
    task_id Nullable(UInt64)
)
ENGINE = `Null`;

DROP VIEW IF EXISTS known_objects_from_events;
DROP VIEW IF EXISTS naming_events_from_events;
DROP VIEW IF EXISTS known_names_from_naming_events;
CREATE MATERIALIZED VIEW known_names_from_naming_events TO known_names
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT kind, id, name, told_at
FROM
(
-- people of whom others' events tell: who was registered or deleted, owns what was made, was invited, or was given a job, and who had
-- it before
SELECT 'user' AS kind, person.1 AS id, argMaxState(person.2, (moment, toUInt8(0), person.2)) AS name, toDateTime(greatest(max(moment), toDateTime64(0, 3, 'Etc/UTC')), 'Etc/UTC') AS told_at
FROM
(
    WITH
        extract(ifNull(obj_val, ''), '^(?:\\{|OrderedDict\\(\\[\\()(?:\\x27\\w+\\x27(?:: |, )(?:\\x27(?:[^\\x27\\\\]|\\\\.)*\\x27|\\x22(?:[^\\x22\\\\]|\\\\.)*\\x22|[^\\x27\\x22(){}\\[\\],]+)(?:, |\\), \\())*\\x27username\\x27(?:: |, )(\\x27(?:[^\\x27\\\\]|\\\\.)*\\x27|\\x22(?:[^\\x22\\\\]|\\\\.)*\\x22)') AS literal,
        multiIf(
            scope IN ('create:user', 'delete:user'),
            [(ifNull(obj_id, 0), toString(ifNull(obj_name, '')))],
            scope LIKE 'update:%',
            [
                (JSONExtractUInt(ifNull(payload, ''), 'old_value', 'id'), JSONExtractString(ifNull(payload, ''), 'old_value', 'username')),
                (toUInt64OrZero(extract(ifNull(obj_val, ''), '^(?:\\{|OrderedDict\\(\\[\\()(?:\\x27\\w+\\x27(?:: |, )(?:\\x27(?:[^\\x27\\\\]|\\\\.)*\\x27|\\x22(?:[^\\x22\\\\]|\\\\.)*\\x22|[^\\x27\\x22(){}\\[\\],]+)(?:, |\\), \\())*\\x27id\\x27(?:: |, )(\\d+)')), toValidUTF8(arrayStringConcat(arrayMap(
    (piece, code) -> multiIf(
        NOT startsWith(piece, '\\'), piece,
        substring(piece, 2, 1) NOT IN ('x', 'u', 'U'), transform(substring(piece, 2), ['n', 'r', 't'], ['\n', '\r', '\t'], substring(piece, 2)),
        code < 0x80, char(code),
        code < 0x800, char(0xC0 + bitShiftRight(code, 6), 0x80 + bitAnd(code, 63)),
        code < 0x10000, char(0xE0 + bitShiftRight(code, 12), 0x80 + bitAnd(bitShiftRight(code, 6), 63), 0x80 + bitAnd(code, 63)),
        char(0xF0 + bitShiftRight(code, 18), 0x80 + bitAnd(bitShiftRight(code, 12), 63), 0x80 + bitAnd(bitShiftRight(code, 6), 63), 0x80 + bitAnd(code, 63))),
    extractAll(substring(literal, 2, length(literal) - 2), '\\\\x..|\\\\u.{4}|\\\\U.{8}|\\\\.|[^\\\\]+') AS pieces,
    arrayMap(piece -> reinterpretAsUInt32(reverse(unhex(leftPad(substring(piece, 3, 8), 8, '0')))), pieces)))))
            ],
            arrayMap(
                role -> (JSONExtractUInt(ifNull(payload, ''), role, 'id'), JSONExtractString(ifNull(payload, ''), role, 'username')),
                ['owner', 'assignee', 'user'])) AS people
    SELECT least(timestamp, received_at + INTERVAL 1 SECOND) AS moment, arrayJoin(people) AS person
    FROM naming_events
    WHERE (scope IN (
            'create:user', 'delete:user', 'create:organization', 'create:membership', 'create:invitation', 'create:project', 'create:task',
            'create:job', 'create:issue', 'create:comment', 'create:cloudstorage', 'create:webhook')
        OR scope IN ('update:project', 'update:task', 'update:job', 'update:issue') AND obj_name IN ('assignee', 'owner'))
)
WHERE person.1 != 0 AND person.2 != ''
GROUP BY person.1

UNION ALL

-- CVAT's servers write the name of what they create or delete into obj_name and leave it out of the payload; an update
-- has the property in obj_name and its new value in obj_val. A name in the payload is taken where there is no other.
SELECT kind, assumeNotNull(known_id) AS id, argMaxState(known_name, (moment, toUInt8(0), known_name)) AS name, toDateTime(greatest(max(moment), toDateTime64(0, 3, 'Etc/UTC')), 'Etc/UTC') AS told_at
FROM
(
    WITH
        splitByChar(':', toString(scope)) AS parts,
        if(parts[2] = 'project', project_id, task_id) AS own_id,
        toString(ifNull(obj_name, '')) AS object_name
    SELECT
        least(timestamp, received_at + INTERVAL 1 SECOND) AS moment,
        parts[2] AS kind,
        if(own_id IS NULL AND parts[1] != 'update', obj_id, own_id) AS known_id,
        multiIf(
            parts[1] = 'update', if(object_name = 'name', ifNull(obj_val, ''), ''),
            object_name != '', object_name,
            JSONExtractString(ifNull(payload, ''), 'name')) AS known_name
    FROM naming_events
    WHERE (scope IN ('create:project', 'delete:project', 'create:task', 'delete:task') OR scope IN ('update:project', 'update:task') AND obj_name = 'name')
)
WHERE known_id IS NOT NULL AND known_name != ''
GROUP BY kind, id
);
CREATE MATERIALIZED VIEW naming_events_from_events TO naming_events
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT timestamp, received_at, scope, obj_id, obj_name, obj_val, payload, project_id, task_id
FROM events
WHERE (scope IN (
            'create:user', 'delete:user', 'create:organization', 'create:membership', 'create:invitation', 'create:project', 'create:task',
            'create:job', 'create:issue', 'create:comment', 'create:cloudstorage', 'create:webhook')
        OR scope IN ('update:project', 'update:task', 'update:job', 'update:issue') AND obj_name IN ('assignee', 'owner')) OR (scope IN ('create:project', 'delete:project', 'create:task', 'delete:task') OR scope IN ('update:project', 'update:task') AND obj_name = 'name');
CREATE MATERIALIZED VIEW known_objects_from_events TO known_names
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
SELECT kind, assumeNotNull(known_id) AS id, argMaxState(known_name, (moment, toUInt8(1), known_name)) AS name, toDateTime(greatest(max(moment), toDateTime64(0, 3, 'Etc/UTC')), 'Etc/UTC') AS told_at
FROM
(
    SELECT said.1 AS kind, said.2 AS known_id, said.3 AS known_name, moment
    FROM
    (
        SELECT
            arrayJoin([('user', user_id, toString(ifNull(user_name, ''))), ('email', user_id, toString(ifNull(user_email, ''))), ('organization', org_id, toString(ifNull(org_slug, '')))]) AS said,
            max(least(timestamp, received_at + INTERVAL 1 SECOND)) AS moment
        FROM events
        GROUP BY user_id, user_name, user_email, org_id, org_slug
    )
    WHERE known_id IS NOT NULL AND known_name != ''
)
GROUP BY kind, known_id;
INSERT INTO known_names (kind, id, name, told_at)

SELECT kind, assumeNotNull(known_id) AS id, argMaxState(known_name, (moment, toUInt8(1), known_name)) AS name, toDateTime(greatest(max(moment), toDateTime64(0, 3, 'Etc/UTC')), 'Etc/UTC') AS told_at
FROM
(
    SELECT said.1 AS kind, said.2 AS known_id, said.3 AS known_name, moment
    FROM
    (
        SELECT
            arrayJoin([('user', user_id, toString(ifNull(user_name, ''))), ('email', user_id, toString(ifNull(user_email, ''))), ('organization', org_id, toString(ifNull(org_slug, '')))]) AS said,
            max(least(timestamp, received_at + INTERVAL 1 SECOND)) AS moment
        FROM events
        GROUP BY user_id, user_name, user_email, org_id, org_slug
    )
    WHERE known_id IS NOT NULL AND known_name != ''
)
GROUP BY kind, known_id;
INSERT INTO known_names (kind, id, name, told_at)

SELECT kind, id, name, told_at
FROM
(
-- people of whom others' events tell: who was registered or deleted, owns what was made, was invited, or was given a job, and who had
-- it before
SELECT 'user' AS kind, person.1 AS id, argMaxState(person.2, (moment, toUInt8(0), person.2)) AS name, toDateTime(greatest(max(moment), toDateTime64(0, 3, 'Etc/UTC')), 'Etc/UTC') AS told_at
FROM
(
    WITH
        extract(ifNull(obj_val, ''), '^(?:\\{|OrderedDict\\(\\[\\()(?:\\x27\\w+\\x27(?:: |, )(?:\\x27(?:[^\\x27\\\\]|\\\\.)*\\x27|\\x22(?:[^\\x22\\\\]|\\\\.)*\\x22|[^\\x27\\x22(){}\\[\\],]+)(?:, |\\), \\())*\\x27username\\x27(?:: |, )(\\x27(?:[^\\x27\\\\]|\\\\.)*\\x27|\\x22(?:[^\\x22\\\\]|\\\\.)*\\x22)') AS literal,
        multiIf(
            scope IN ('create:user', 'delete:user'),
            [(ifNull(obj_id, 0), toString(ifNull(obj_name, '')))],
            scope LIKE 'update:%',
            [
                (JSONExtractUInt(ifNull(payload, ''), 'old_value', 'id'), JSONExtractString(ifNull(payload, ''), 'old_value', 'username')),
                (toUInt64OrZero(extract(ifNull(obj_val, ''), '^(?:\\{|OrderedDict\\(\\[\\()(?:\\x27\\w+\\x27(?:: |, )(?:\\x27(?:[^\\x27\\\\]|\\\\.)*\\x27|\\x22(?:[^\\x22\\\\]|\\\\.)*\\x22|[^\\x27\\x22(){}\\[\\],]+)(?:, |\\), \\())*\\x27id\\x27(?:: |, )(\\d+)')), toValidUTF8(arrayStringConcat(arrayMap(
    (piece, code) -> multiIf(
        NOT startsWith(piece, '\\'), piece,
        substring(piece, 2, 1) NOT IN ('x', 'u', 'U'), transform(substring(piece, 2), ['n', 'r', 't'], ['\n', '\r', '\t'], substring(piece, 2)),
        code < 0x80, char(code),
        code < 0x800, char(0xC0 + bitShiftRight(code, 6), 0x80 + bitAnd(code, 63)),
        code < 0x10000, char(0xE0 + bitShiftRight(code, 12), 0x80 + bitAnd(bitShiftRight(code, 6), 63), 0x80 + bitAnd(code, 63)),
        char(0xF0 + bitShiftRight(code, 18), 0x80 + bitAnd(bitShiftRight(code, 12), 63), 0x80 + bitAnd(bitShiftRight(code, 6), 63), 0x80 + bitAnd(code, 63))),
    extractAll(substring(literal, 2, length(literal) - 2), '\\\\x..|\\\\u.{4}|\\\\U.{8}|\\\\.|[^\\\\]+') AS pieces,
    arrayMap(piece -> reinterpretAsUInt32(reverse(unhex(leftPad(substring(piece, 3, 8), 8, '0')))), pieces)))))
            ],
            arrayMap(
                role -> (JSONExtractUInt(ifNull(payload, ''), role, 'id'), JSONExtractString(ifNull(payload, ''), role, 'username')),
                ['owner', 'assignee', 'user'])) AS people
    SELECT least(timestamp, received_at + INTERVAL 1 SECOND) AS moment, arrayJoin(people) AS person
    FROM events
    WHERE (scope IN (
            'create:user', 'delete:user', 'create:organization', 'create:membership', 'create:invitation', 'create:project', 'create:task',
            'create:job', 'create:issue', 'create:comment', 'create:cloudstorage', 'create:webhook')
        OR scope IN ('update:project', 'update:task', 'update:job', 'update:issue') AND obj_name IN ('assignee', 'owner'))
)
WHERE person.1 != 0 AND person.2 != ''
GROUP BY person.1

UNION ALL

-- CVAT's servers write the name of what they create or delete into obj_name and leave it out of the payload; an update
-- has the property in obj_name and its new value in obj_val. A name in the payload is taken where there is no other.
SELECT kind, assumeNotNull(known_id) AS id, argMaxState(known_name, (moment, toUInt8(0), known_name)) AS name, toDateTime(greatest(max(moment), toDateTime64(0, 3, 'Etc/UTC')), 'Etc/UTC') AS told_at
FROM
(
    WITH
        splitByChar(':', toString(scope)) AS parts,
        if(parts[2] = 'project', project_id, task_id) AS own_id,
        toString(ifNull(obj_name, '')) AS object_name
    SELECT
        least(timestamp, received_at + INTERVAL 1 SECOND) AS moment,
        parts[2] AS kind,
        if(own_id IS NULL AND parts[1] != 'update', obj_id, own_id) AS known_id,
        multiIf(
            parts[1] = 'update', if(object_name = 'name', ifNull(obj_val, ''), ''),
            object_name != '', object_name,
            JSONExtractString(ifNull(payload, ''), 'name')) AS known_name
    FROM events
    WHERE (scope IN ('create:project', 'delete:project', 'create:task', 'delete:task') OR scope IN ('update:project', 'update:task') AND obj_name = 'name')
)
WHERE known_id IS NOT NULL AND known_name != ''
GROUP BY kind, id
);

-- Earlier versions kept the names in a table `known_objects`, without what is told of others. It may know names of which the events are
-- gone: they are taken over as the oldest of all, and whatever is known from an event goes before them. By that name queries find the
-- new table now; that all of this is done again with every change of this file changes nothing.
CREATE TABLE IF NOT EXISTS known_objects
(
    kind LowCardinality(String),
    id UInt64,
    name AggregateFunction(argMax, String, DateTime64(3, 'Etc/UTC'))
)
ENGINE = AggregatingMergeTree
ORDER BY (kind, id);
INSERT INTO known_names (kind, id, name, told_at)
SELECT kind, id, argMaxState(known, (toDateTime64(0, 3, 'Etc/UTC'), toUInt8(0), known)) AS name, max(moment) AS told_at
FROM
(
    SELECT kind, id, argMaxMerge(known_objects.name) AS known, max(toDateTime(greatest(0, intDiv(reinterpretAsInt64(substring(unhex(hex(known_objects.name)), 6 + reinterpretAsUInt32(substring(unhex(hex(known_objects.name)), 1, 4)), 8)), 1000)), 'Etc/UTC')) AS moment
    FROM known_objects
    GROUP BY kind, id
)
GROUP BY kind, id;
CREATE OR REPLACE VIEW known_objects AS SELECT kind, id, name FROM known_names;

-- Earlier versions had a table and a view for each kind.
DROP VIEW IF EXISTS known_users_from_events;
DROP VIEW IF EXISTS known_organizations_from_events;
DROP TABLE IF EXISTS known_users;
DROP TABLE IF EXISTS known_organizations;

CREATE OR REPLACE VIEW user_names AS
SELECT
    id AS user_id,
    argMaxMergeIf(known_objects.name, kind = 'user') AS name,
    argMaxMergeIf(known_objects.name, kind = 'email') AS email
FROM known_objects
WHERE kind IN ('email', 'user')
GROUP BY id;

CREATE OR REPLACE VIEW organization_names AS
SELECT id AS org_id, argMaxMerge(known_objects.name) AS slug FROM known_objects WHERE kind = 'organization' GROUP BY id;

CREATE OR REPLACE VIEW project_names AS
SELECT id AS project_id, argMaxMerge(known_objects.name) AS name FROM known_objects WHERE kind = 'project' GROUP BY id;

CREATE OR REPLACE VIEW task_names AS
SELECT id AS task_id, argMaxMerge(known_objects.name) AS name FROM known_objects WHERE kind = 'task' GROUP BY id;
