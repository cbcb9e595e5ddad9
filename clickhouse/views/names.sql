-- Names for ids, as far as events reveal them: the latest one known of each. What dashboards join are the four views at
-- the end; each `known_…` table keeps one small state per id, which its materialized view brings up to date with every insert.
--
-- A state remembers a name with its time and gives way to a later one, so that repeated, late and shuffled events change
-- nothing. An event from a wrong clock's future counts as of its arrival (known to the second); else its name could never
-- be replaced. When this file changes, each view is made anew and fed with all events. The views have their definer's
-- rights: `vector` may insert into `events` and nothing else.

CREATE TABLE IF NOT EXISTS known_users
(
    user_id UInt64,
    name AggregateFunction(argMaxIf, String, DateTime64(3, 'Etc/UTC'), UInt8),
    email AggregateFunction(argMaxIf, String, DateTime64(3, 'Etc/UTC'), UInt8)
)
ENGINE = AggregatingMergeTree
ORDER BY user_id;

CREATE TABLE IF NOT EXISTS known_organizations
(
    org_id UInt64,
    slug AggregateFunction(argMax, String, DateTime64(3, 'Etc/UTC'))
)
ENGINE = AggregatingMergeTree
ORDER BY org_id;

-- kind: project or task
CREATE TABLE IF NOT EXISTS known_objects
(
    kind LowCardinality(String),
    id UInt64,
    name AggregateFunction(argMax, String, DateTime64(3, 'Etc/UTC'))
)
ENGINE = AggregatingMergeTree
ORDER BY (kind, id);

{% set users %}
WITH
    least(timestamp, received_at + INTERVAL 1 SECOND) AS at,
    toString(ifNull(user_name, '')) AS known_name,
    toString(ifNull(user_email, '')) AS known_email
SELECT
    assumeNotNull(events.user_id) AS user_id,
    argMaxIfState(known_name, at, known_name != '') AS name,
    argMaxIfState(known_email, at, known_email != '') AS email
FROM events
WHERE events.user_id IS NOT NULL AND (known_name != '' OR known_email != '')
GROUP BY user_id
{% endset %}
DROP VIEW IF EXISTS known_users_from_events;
CREATE MATERIALIZED VIEW known_users_from_events TO known_users
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS {{ users }};
INSERT INTO known_users
{{ users }};

{% set organizations %}
WITH
    least(timestamp, received_at + INTERVAL 1 SECOND) AS at,
    toString(ifNull(org_slug, '')) AS known_slug
SELECT
    assumeNotNull(events.org_id) AS org_id,
    argMaxState(known_slug, at) AS slug
FROM events
WHERE events.org_id IS NOT NULL AND known_slug != ''
GROUP BY org_id
{% endset %}
DROP VIEW IF EXISTS known_organizations_from_events;
CREATE MATERIALIZED VIEW known_organizations_from_events TO known_organizations
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS {{ organizations }};
INSERT INTO known_organizations
{{ organizations }};

-- CVAT's servers write the name of what they create or delete into obj_name and leave it out of the payload; an update
-- has the property in obj_name and its new value in obj_val. A name in the payload is taken where there is no other.
{% set objects %}
WITH
    least(timestamp, received_at + INTERVAL 1 SECOND) AS at,
    splitByChar(':', toString(scope)) AS parts,
    if(parts[2] = 'project', project_id, task_id) AS own_id,
    if(own_id IS NULL AND parts[1] != 'update', obj_id, own_id) AS known_id,
    toString(ifNull(obj_name, '')) AS object_name,
    multiIf(
        parts[1] = 'update', if(object_name = 'name', ifNull(obj_val, ''), ''),
        object_name != '', object_name,
        JSONExtractString(ifNull(payload, ''), 'name')) AS known_name
SELECT
    parts[2] AS kind,
    assumeNotNull(known_id) AS id,
    argMaxState(known_name, at) AS name
FROM events
WHERE scope IN ('create:project', 'update:project', 'delete:project', 'create:task', 'update:task', 'delete:task')
    AND known_id IS NOT NULL AND known_name != ''
GROUP BY kind, id
{% endset %}
DROP VIEW IF EXISTS known_objects_from_events;
CREATE MATERIALIZED VIEW known_objects_from_events TO known_objects
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS {{ objects }};
INSERT INTO known_objects
{{ objects }};

CREATE OR REPLACE VIEW user_names AS
SELECT user_id, argMaxIfMerge(name) AS name, argMaxIfMerge(email) AS email FROM known_users GROUP BY user_id;

CREATE OR REPLACE VIEW organization_names AS
SELECT org_id, argMaxMerge(slug) AS slug FROM known_organizations GROUP BY org_id;

CREATE OR REPLACE VIEW project_names AS
SELECT id AS project_id, argMaxMerge(known_objects.name) AS name FROM known_objects WHERE kind = 'project' GROUP BY id;

CREATE OR REPLACE VIEW task_names AS
SELECT id AS task_id, argMaxMerge(known_objects.name) AS name FROM known_objects WHERE kind = 'task' GROUP BY id;
