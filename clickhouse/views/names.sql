-- Names for ids, as far as events reveal them: the latest one known of each. What dashboards join are the four views at
-- the end; `known_objects` keeps one small state per id, which one materialized view brings up to date with every insert (one, because
-- each costs every insert a part of its own).
--
-- A state remembers a name with its time and gives way to a later one, so that repeated, late and shuffled events change
-- nothing. An event from a wrong clock's future counts as of its arrival (known to the second); else its name could never
-- be replaced. When this file changes, the view is made anew and fed with all events. It has its definer's rights:
-- `vector` may insert into `events` and nothing else.

-- kind: user, email (of a user), organization, project or task
CREATE TABLE IF NOT EXISTS known_objects
(
    kind LowCardinality(String),
    id UInt64,
    name AggregateFunction(argMax, String, DateTime64(3, 'Etc/UTC'))
)
ENGINE = AggregatingMergeTree
ORDER BY (kind, id);

-- CVAT's servers write the name of what they create or delete into obj_name and leave it out of the payload; an update
-- has the property in obj_name and its new value in obj_val. A name in the payload is taken where there is no other.
{% macro spoken_of(kind, id, name) %}
SELECT '{{ kind }}' AS kind, assumeNotNull({{ id }}) AS id, argMaxState(known_name, least(timestamp, received_at + INTERVAL 1 SECOND)) AS name
FROM (SELECT {{ id }}, timestamp, received_at, toString(ifNull({{ name }}, '')) AS known_name FROM events)
WHERE {{ id }} IS NOT NULL AND known_name != ''
GROUP BY id
{%- endmacro %}
{# the outermost SELECT is needed: a materialized view does not take a UNION itself -#}
{% set names %}
SELECT kind, id, name
FROM
(
{{ spoken_of("user", "user_id", "user_name") }}

UNION ALL
{{ spoken_of("email", "user_id", "user_email") }}

UNION ALL
{{ spoken_of("organization", "org_id", "org_slug") }}

UNION ALL

SELECT kind, assumeNotNull(known_id) AS id, argMaxState(known_name, least(timestamp, received_at + INTERVAL 1 SECOND)) AS name
FROM
(
    WITH
        splitByChar(':', toString(scope)) AS parts,
        if(parts[2] = 'project', project_id, task_id) AS own_id,
        toString(ifNull(obj_name, '')) AS object_name
    SELECT
        timestamp,
        received_at,
        parts[2] AS kind,
        if(own_id IS NULL AND parts[1] != 'update', obj_id, own_id) AS known_id,
        multiIf(
            parts[1] = 'update', if(object_name = 'name', ifNull(obj_val, ''), ''),
            object_name != '', object_name,
            JSONExtractString(ifNull(payload, ''), 'name')) AS known_name
    FROM events
    WHERE scope IN ('create:project', 'update:project', 'delete:project', 'create:task', 'update:task', 'delete:task')
)
WHERE known_id IS NOT NULL AND known_name != ''
GROUP BY kind, id
)
{%- endset %}
DROP VIEW IF EXISTS known_objects_from_events;
CREATE MATERIALIZED VIEW known_objects_from_events TO known_objects
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS {{ names }};
INSERT INTO known_objects
{{ names }};

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
